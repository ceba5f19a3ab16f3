package benchmarks

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Workload is one pattern of calls.
type Workload struct {
	Name     string
	Limit    Limit
	Keys     int
	Parallel bool
	// Fresh makes a new limiter for each round, so that every key is new.
	Fresh bool
	// Exhausted uses every key up before the time is taken.
	Exhausted bool
	// Gate is how many limits are asked at once, all of which have to admit; 0 means one
	// limit without a gate.
	Gate int
	// Refund refunds a part of each decision.
	Refund bool
}

// The limits of workloads that deny nobody are never reached. Yet each unit takes longer to
// come back than the time until its key is used again: otherwise a limiter that frees
// untouched keys would be measured with an empty store.
var (
	plentyForOne  = Limit{Units: 1_000_000_000, Period: 24 * time.Hour}
	plentyForMany = Limit{Units: 10_000, Period: 24 * time.Hour}
)

// scarce is used up at once and does not come back while it is measured.
var scarce = Limit{Units: 1, Period: 24 * time.Hour}

// Workloads are all workloads of single decisions.
var Workloads = []Workload{
	{Name: "hot-key", Limit: plentyForOne, Keys: 1},
	{Name: "hot-key-parallel", Limit: plentyForOne, Keys: 1, Parallel: true},
	{Name: "10000-keys", Limit: plentyForMany, Keys: 10_000},
	{Name: "10000-keys-parallel", Limit: plentyForMany, Keys: 10_000, Parallel: true},
	{Name: "1000000-keys", Limit: plentyForMany, Keys: 1_000_000},
	{Name: "1000000-keys-parallel", Limit: plentyForMany, Keys: 1_000_000, Parallel: true},
	{Name: "denied-hot-key", Limit: scarce, Keys: 1, Exhausted: true},
	{Name: "denied-10000-keys-parallel", Limit: scarce, Keys: 10_000, Parallel: true, Exhausted: true},
	{Name: "five-limits", Limit: plentyForMany, Keys: 1000, Gate: 5},
	{Name: "gate-of-one", Limit: plentyForOne, Keys: 1, Gate: 1},
	{Name: "hit-and-refund", Limit: plentyForOne, Keys: 1, Refund: true},
	{Name: "new-keys", Limit: plentyForMany, Keys: 200_000, Fresh: true},
}

// Bench is a contender ready for a workload.
type Bench struct {
	workload Workload
	allow    func(string) bool
	stop     func()
	remake   func() (func(string) bool, func())
	keys     []string
	at       []int // where each worker goes on
}

// Prepare makes c ready for w: all keys are known to it, unless the workload is
// about new ones.
func Prepare(c Contender, w Workload, keys []string) *Bench {
	b := &Bench{workload: w, keys: keys[:w.Keys]}
	workers := 1
	if w.Parallel {
		workers = runtime.GOMAXPROCS(0)
	}
	for worker := range workers {
		b.at = append(b.at, worker*len(b.keys)/workers)
	}
	b.remake = func() (func(string) bool, func()) {
		switch {
		case w.Gate > 0:
			return c.Gate(w.Limit, w.Keys, w.Gate)
		case w.Refund:
			return c.Refund(w.Limit, w.Keys)
		}
		return c.New(w.Limit, w.Keys)
	}
	b.allow, b.stop = b.remake()
	if w.Fresh {
		return b
	}
	for _, key := range b.keys {
		b.allow(key)
		if w.Exhausted {
			b.allow(key)
		}
	}
	// Callers don't come back in the order in which they first came.
	b.keys = slices.Clone(b.keys)
	shuffle := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same order for all
	shuffle.Shuffle(len(b.keys), func(i, j int) { b.keys[i], b.keys[j] = b.keys[j], b.keys[i] })
	// Each request brings a fresh copy of its key, never the very string that a store
	// has kept since it first saw the key. Comparing a string with itself reads no
	// bytes.
	for i, key := range b.keys {
		b.keys[i] = strings.Clone(key)
	}
	return b
}

// Check reports a key whose answer is not the one that the workload expects. It checks up
// to a thousand keys.
func (b *Bench) Check() error {
	for i := 0; i < len(b.keys); i += max(1, len(b.keys)/1000) {
		if got := b.allow(b.keys[i]); got == b.workload.Exhausted {
			return fmt.Errorf("%s: allowed is %v", b.workload.Name, got)
		}
	}
	return nil
}

// Close frees the contender.
func (b *Bench) Close() { b.stop() }

// lap is how many keys are used, at most, before the time is taken: the previous contender
// has filled the caches with its data.
const lap = 10_000

// Round calls n times, or once for each key if they are to be new, and returns
// the nanoseconds of one call.
func (b *Bench) Round(n int) float64 {
	if b.workload.Fresh {
		b.stop()
		b.allow, b.stop = b.remake()
		b.at[0] = 0
		n = len(b.keys)
		runtime.GC()
	} else {
		b.run(min(lap, len(b.keys)))
	}
	start := time.Now()
	calls := b.run(n)
	return float64(time.Since(start)) / float64(calls)
}

// run spreads n calls over the workers, and returns how many there were.
func (b *Bench) run(n int) int {
	each := max(1, n/len(b.at))
	if len(b.at) == 1 {
		b.calls(0, each)
		return each
	}
	var wg sync.WaitGroup
	for worker := range b.at {
		wg.Go(func() { b.calls(worker, each) })
	}
	wg.Wait()
	return each * len(b.at)
}

// calls lets a worker call n times, one key after the other from where it
// stopped.
func (b *Bench) calls(worker, n int) {
	at := b.at[worker]
	for range n {
		if at >= len(b.keys) {
			at = 0
		}
		b.allow(b.keys[at])
		at++
	}
	b.at[worker] = at
}
