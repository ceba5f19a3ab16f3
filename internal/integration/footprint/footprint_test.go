//go:build !race

package footprint

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

const (
	keys = 1_000_000
	// A quarter fills tables of a quarter to the same degree, and shows the same.
	fewer = keys / 4
	// mostBytes is what a key may cost, its own name included.
	mostBytes = 200
)

// It measures a million keys with a state in integers, a million with a state in bytes,
// and fewer of each other strategy whose state has a constant size. The figure includes
// the table, entries and identities. The tests don't run in parallel, since each would
// measure the others too. The file is built without the race detector, which finds the
// same but takes minutes.
func TestBytesPerKey(t *testing.T) {
	for _, strategy := range []traffik.Strategy{
		traffik.FixedWindow{},
		traffik.SlidingWindowCounter{},
		traffik.TokenBucket{},
		traffik.TokenBucketWithDebt{},
		traffik.LeakyBucket{},
		traffik.LeakyBucketWithQueue{},
		traffik.GCRA{},
		advanced.Tiered{Tiers: map[string]advanced.PPM{"free": advanced.Whole}, Default: "free"},
		advanced.TimeOfDay{Hours: []advanced.Hours{{From: 0, To: 24, Factor: advanced.Whole}}},
		advanced.Adaptive{},
		advanced.Priority{},
		advanced.QuotaWithRollover{},
	} {
		t.Run(strategy.ID(), func(t *testing.T) {
			n := fewer
			switch strategy.(type) {
			case traffik.FixedWindow, traffik.SlidingWindowCounter:
				n = keys
			}
			testBytesPerKey(t, strategy, n, func(i int) string { return "user:" + strconv.Itoa(i) })
		})
	}
}

// Identities may be longer, and tables emptier: one of a state in integers, one of a
// state in bytes.
func TestBytesPerKeyOfAnyKind(t *testing.T) {
	for _, strategy := range []traffik.Strategy{traffik.FixedWindow{}, traffik.SlidingWindowCounter{}} {
		for kind, id := range map[string]func(i int) string{
			"IPv6": func(i int) string { return fmt.Sprintf("ip:2001:db8:%x:%x::/64", i>>16, i&0xffff) },
			"UUID": func(i int) string { return fmt.Sprintf("user:%08x-9b1d-4d3b-8f5a-%012x", i, i) },
		} {
			t.Run(strategy.ID()+" "+kind, func(t *testing.T) { testBytesPerKey(t, strategy, fewer, id) })
		}
		t.Run(strategy.ID()+" in emptier tables", func(t *testing.T) {
			testBytesPerKey(t, strategy, fewer*4/5, func(i int) string { return "user:" + strconv.Itoa(i) })
		})
	}
}

func testBytesPerKey(t *testing.T, strategy traffik.Strategy, keys int, id func(i int) string) {
	t.Helper()
	if got := bytesPerKey(t, strategy, keys, id); got > mostBytes {
		t.Errorf("%d bytes a key, want %d at most", got, mostBytes)
	} else {
		t.Logf("%d bytes a key", got)
	}
}

func bytesPerKey(t *testing.T, strategy traffik.Strategy, keys int, id func(i int) string) int64 {
	t.Helper()
	before := heap()
	backend, err := traffik.NewMemory(traffik.WithMaxKeys(2 * keys)) // room for all in every shard
	if err != nil {
		t.Fatal(err)
	}
	throttle, err := traffik.New("footprint", traffik.Per(100, time.Hour), traffik.WithBackend(backend), traffik.WithStrategy(strategy))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for i := range keys {
		if res, err := throttle.Key(id(i)).Hit(ctx); err != nil || !res.Allowed {
			t.Fatalf("%+v, %v", res, err)
		}
	}
	grown := heap() - before
	// They are still there: none was given up for another.
	for i := 0; i < keys; i += 101 {
		if res, err := throttle.Key(id(i)).Stat(ctx); err != nil || res.ResetAfter == 0 {
			t.Fatalf("key %d is forgotten: %+v, %v", i, res, err)
		}
	}
	return grown / int64(keys)
}

// heap is the memory in use once all garbage is gone.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
