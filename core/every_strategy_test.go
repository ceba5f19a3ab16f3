package traffik_test

import (
	"context"
	"math"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/core/traffiktest"
)

const maxUnits = traffik.MaxUnits

// someInstant is 123,457 µs after a full second, 40 s before a full minute.
const someInstant traffik.Instant = 1_790_000_000_123_457

// counter is one strategy of the project, set up to admit as many units at once
// as its rate's limit, unless capacity says otherwise.
type counter struct {
	strategy traffik.Strategy
	class    string
	// waits names how long a drained key denies, one of those of waitsAt.
	waits    string
	capacity int64
}

// everyStrategy is all fourteen, and GCRA once more without a burst.
func everyStrategy(limit int64) []counter {
	return []counter{
		{strategy: traffik.FixedWindow{}, waits: "window", capacity: limit},
		{strategy: traffik.SlidingWindowCounter{}, waits: "sliding", capacity: limit},
		{strategy: traffik.SlidingWindowLog{}, waits: "log", capacity: limit},
		{strategy: traffik.TokenBucket{}, waits: "bucket", capacity: limit},
		{strategy: traffik.TokenBucketWithDebt{}, waits: "bucket", capacity: limit},
		{strategy: traffik.LeakyBucket{}, waits: "bucket", capacity: limit},
		{strategy: traffik.LeakyBucketWithQueue{}, waits: "bucket", capacity: limit},
		{strategy: traffik.GCRA{Burst: limit}, waits: "bucket", capacity: limit},
		{strategy: traffik.GCRA{}, waits: "single", capacity: 1},
		{strategy: advanced.Tiered{Tiers: map[string]advanced.PPM{"pro": advanced.Whole, "free": 1}, Default: "free"}, class: "pro", waits: "window", capacity: limit},
		{strategy: advanced.TimeOfDay{Hours: []advanced.Hours{{From: 0, To: 24, Factor: advanced.Whole}}}, waits: "window", capacity: limit},
		{strategy: advanced.Adaptive{}, waits: "adaptive", capacity: limit},
		{strategy: advanced.Priority{}, class: advanced.Critical, waits: "window", capacity: limit},
		{strategy: advanced.QuotaWithRollover{}, waits: "rollover", capacity: min(maxUnits, limit+limit/2)},
		{strategy: advanced.CostBasedTokenBucket{}, waits: "costs", capacity: limit},
	}
}

// waits is how many microseconds a key drained at someInstant lets one unit
// wait, and how many all that it can hold.
type waits struct{ one, all int64 }

// waitsAt has the rates that broke other limiters. The numbers were worked out
// with fractions of any size.
var waitsAt = []struct {
	name string
	rate traffik.Rate
	of   map[string]waits
}{
	{"limit 1", traffik.Per(1, time.Minute), map[string]waits{
		"window": {39_876_543, 39_876_543}, "sliding": {99_876_543, 99_876_543}, "log": {60_000_000, 60_000_000},
		"bucket": {60_000_000, 60_000_000}, "single": {60_000_000, 60_000_000},
		"adaptive": {39_876_543, 39_876_543}, "rollover": {39_876_543, 39_876_543}, "costs": {60_000_000, 60_000_000},
	}},
	{"limit 2^53", traffik.Per(maxUnits, time.Second), map[string]waits{
		"window": {876_543, 876_543}, "sliding": {876_544, 1_876_543}, "log": {1_000_000, 1_000_000},
		"bucket": {1, 1_000_000}, "single": {1, 1},
		"adaptive": {876_543, 5_876_543}, "rollover": {876_543, 876_543}, "costs": {10, 10_000_000},
	}},
	{"3,000,000 per second", traffik.Per(3_000_000, time.Second), map[string]waits{
		"window": {876_543, 876_543}, "sliding": {876_544, 1_876_543}, "log": {1_000_000, 1_000_000},
		"bucket": {1, 1_000_000}, "single": {1, 1},
		"adaptive": {876_543, 5_876_543}, "rollover": {876_543, 1_876_543}, "costs": {10, 10_000_000},
	}},
	{"7 per 3 s", traffik.Per(7, 3*time.Second), map[string]waits{
		"window": {876_543, 876_543}, "sliding": {1_305_115, 3_876_543}, "log": {3_000_000, 3_000_000},
		"bucket": {428_572, 3_000_000}, "single": {428_572, 428_572},
		"adaptive": {876_543, 15_876_543}, "rollover": {876_543, 3_876_543}, "costs": {3_000_008, 21_000_022},
	}},
	{"10,000 per 30 days", traffik.Per(10_000, 30*24*time.Hour), map[string]waits{
		"window": {1_071_999_876_543, 1_071_999_876_543}, "sliding": {1_072_259_076_543, 3_663_999_876_543},
		"log": {2_592_000_000_000, 2_592_000_000_000}, "bucket": {259_200_000, 2_592_000_000_000}, "single": {259_200_000, 259_200_000},
		"adaptive": {1_071_999_876_543, 14_031_999_876_543}, "rollover": {1_071_999_876_543, 3_663_999_876_543},
		"costs": {2_592_000_000, 25_920_000_000_000},
	}},
	{"period of 1 ms", traffik.Per(5, time.Millisecond), map[string]waits{
		"window": {543, 543}, "sliding": {743, 1543}, "log": {1000, 1000}, "bucket": {200, 1000}, "single": {200, 200},
		"adaptive": {543, 5543}, "rollover": {543, 1543}, "costs": {1000, 5000},
	}},
	{"period of 100 years", traffik.Per(100, 100*365*24*time.Hour), map[string]waits{
		"window": {1_363_599_999_876_543, 1_363_599_999_876_543}, "sliding": {1_395_135_999_876_543, 4_517_199_999_876_543},
		"log": {3_153_600_000_000_000, 3_153_600_000_000_000}, "bucket": {31_536_000_000_000, 3_153_600_000_000_000},
		"single": {31_536_000_000_000, 31_536_000_000_000}, "adaptive": {1_363_599_999_876_543, maxUnits},
		"rollover": {1_363_599_999_876_543, 4_517_199_999_876_543}, "costs": {315_360_000_000_000, maxUnits},
	}},
}

// keptKey is one key on a backend in process whose clock is set by hand.
type keptKey struct {
	t       *testing.T
	backend *traffik.Memory
	clock   *traffiktest.Clock
	op      traffik.Op
}

func newKeptKey(t *testing.T, c counter, rate traffik.Rate) *keptKey {
	t.Helper()
	clock := new(traffiktest.Clock)
	clock.Set(someInstant)
	backend, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		t.Fatal(err)
	}
	return &keptKey{t: t, backend: backend, clock: clock, op: traffik.Op{
		Key:      traffik.Key{Scope: store.ScopeOf("every", c.strategy.ID()), ID: "user:42"},
		Strategy: c.strategy,
		Draw:     traffik.Draw{Rate: rate, Class: c.class},
	}}
}

func (k *keptKey) draw(cost int64) traffik.Decision {
	k.t.Helper()
	return k.ask(k.backend.Take, cost)
}

func (k *keptKey) peek(cost int64) traffik.Decision {
	k.t.Helper()
	return k.ask(k.backend.Peek, cost)
}

func (k *keptKey) ask(call func(context.Context, []traffik.Op, []traffik.Decision) error, cost int64) traffik.Decision {
	k.t.Helper()
	op := k.op
	op.Draw.Cost = cost
	out := make([]traffik.Decision, 1)
	if err := call(k.t.Context(), []traffik.Op{op}, out); err != nil {
		k.t.Fatal(err)
	}
	return out[0]
}

// All fourteen at all these rates, with every kind of cost, on an untouched key
// and on a drained one.
func TestEveryStrategyAtEveryRateAndCost(t *testing.T) {
	t.Parallel()
	for _, at := range waitsAt {
		for _, c := range everyStrategy(at.rate.Limit()) {
			t.Run(at.name+"/"+c.strategy.ID()+"/"+c.waits, func(t *testing.T) {
				t.Parallel()
				untouched(newKeptKey(t, c, at.rate), c.capacity)
				drained(newKeptKey(t, c, at.rate), c.capacity, at.of[c.waits])
				emptied(newKeptKey(t, c, at.rate), c.capacity)
			})
		}
	}
}

// untouched draws what leaves an untouched key untouched.
func untouched(k *keptKey, capacity int64) {
	k.t.Helper()
	want := traffik.Decision{Allowed: true, Limit: capacity, Remaining: capacity, At: someInstant}
	for _, cost := range []int64{0, -1, -capacity, math.MinInt64, capacity + 1, maxUnits + 1, math.MaxInt64} {
		want.Allowed, want.RetryAfter = true, 0
		if cost > capacity {
			want.Allowed, want.RetryAfter = false, traffik.Never
		}
		if got := k.draw(cost); got != want {
			k.t.Errorf("a cost of %d on an untouched key: %+v, want %+v", cost, got, want)
		}
	}
}

// drained draws all that the key holds, and then what it denies.
func drained(k *keptKey, capacity int64, w waits) {
	k.t.Helper()
	if dec := k.draw(capacity); !dec.Allowed || dec.Remaining != 0 || dec.Limit != capacity || dec.At != someInstant {
		k.t.Errorf("all that fits: %+v", dec)
	}
	look := k.draw(0)
	if !look.Allowed || look.Remaining != 0 || look.ResetAfter < time.Duration(w.all)*time.Microsecond {
		k.t.Errorf("a look at a drained key: %+v", look)
	}
	for cost, wait := range map[int64]time.Duration{
		1:             time.Duration(w.one) * time.Microsecond,
		capacity:      time.Duration(w.all) * time.Microsecond,
		capacity + 1:  traffik.Never,
		maxUnits + 1:  traffik.Never,
		math.MaxInt64: traffik.Never,
	} {
		if cost == 1 && capacity == 1 {
			wait = time.Duration(w.all) * time.Microsecond
		}
		want := look
		want.Allowed, want.RetryAfter = false, wait
		if got := k.draw(cost); got != want {
			k.t.Errorf("a cost of %d on a drained key: %+v, want %+v", cost, got, want)
		}
		k.admits(cost, wait)
	}
}

// admits checks that cost fits after wait and no microsecond earlier.
func (k *keptKey) admits(cost int64, wait time.Duration) {
	k.t.Helper()
	if wait > maxUnits*time.Microsecond || wait.Microseconds() > maxUnits-int64(someInstant) {
		return // past the end of all clocks
	}
	k.clock.Set(someInstant.Add(wait))
	if dec := k.peek(cost); !dec.Allowed {
		k.t.Errorf("a cost of %d is denied after %v: %+v", cost, wait, dec)
	}
	k.clock.Set(someInstant.Add(wait - time.Microsecond))
	if dec := k.peek(cost); dec.Allowed {
		k.t.Errorf("a cost of %d is admitted before %v: %+v", cost, wait, dec)
	}
	k.clock.Set(someInstant)
}

// emptied refunds a part, and more than all. The draw on a queue has started.
func emptied(k *keptKey, capacity int64) {
	k.t.Helper()
	drawn := k.draw(capacity)
	if _, queues := k.op.Strategy.(traffik.LeakyBucketWithQueue); queues {
		if dec := k.draw(-capacity); dec != drawn {
			k.t.Errorf("refunding what has started: %+v, want %+v", dec, drawn)
		}
		return
	}
	if dec := k.draw(-1); !dec.Allowed || dec.Remaining != 1 {
		k.t.Errorf("one refunded: %+v", dec)
	}
	want := traffik.Decision{Allowed: true, Limit: capacity, Remaining: capacity, At: someInstant}
	if dec := k.draw(math.MinInt64); dec != want {
		k.t.Errorf("all refunded: %+v, want %+v", dec, want)
	}
	states, _, err := k.backend.ReadStates(k.t.Context(), []traffik.Key{k.op.Key}, nil)
	if err != nil || len(states[0]) > 0 {
		k.t.Errorf("all refunded leaves %x, %v", states, err)
	}
}
