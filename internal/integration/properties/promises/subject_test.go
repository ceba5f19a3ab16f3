package promises

import (
	"math/big"
	"slices"
	"time"

	"pgregory.net/rapid"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

// subject is one strategy under test. To add a strategy, add one.
//
// Promise 9, twin equality, is about stores and tested with them.
type subject struct {
	name string
	// make draws parameters; rate is one it will be used with first.
	make func(t *rapid.T, rate traffik.Rate) traffik.Strategy
	// oracle decides d naively from all that came before.
	oracle func(s traffik.Strategy, past []step, d traffik.Draw) answer
	// bound is the documented envelope: what may be admitted between two
	// instants, length microseconds apart, both included.
	bound func(s traffik.Strategy, rate traffik.Rate, length int64) *big.Rat
	// horizon is the longest RetryAfter and ResetAfter in microseconds.
	horizon func(s traffik.Strategy, rate traffik.Rate) horizon

	// What follows may be left out.

	// rate draws rates; anyRate unless set.
	rate func(t *rapid.T) traffik.Rate
	// starts are instants near which more happens than elsewhere.
	starts []int64
	// class draws from these; "" unless set.
	class []string
	// fungible units have no time of their own: a refund counts when it is given.
	fungible bool
	// delays says that decisions carry a Delay.
	delays bool
	// retryPastReset says that RetryAfter may be later than ResetAfter.
	retryPastReset bool
	// repairs reports whether another rate or parameter can have made stored times
	// lie ahead, as a step of the clock does; never unless set.
	repairs func(w *world) bool
	// carries says that an untouched key has more than the limit.
	carries bool
	// limitVaries with time or with what was drawn.
	limitVaries bool
	// almost, if set, says how far a refund at the instant of the draw restores
	// what before was, a description of the key, where it can't do so exactly. It
	// reports false where it can.
	almost func(w *world, was any, before, after traffik.Decision) (restored, applies bool)
}

// horizon is in microseconds, under a clock that never steps back and one that does.
type horizon struct{ steady, stepped *big.Int }

// answer is what an oracle says.
type answer struct {
	dec  traffik.Decision
	gave *big.Rat // the effect of a refund, nil for none
}

func (s *subject) drawRate(t *rapid.T) traffik.Rate {
	if s.rate != nil {
		return s.rate(t)
	}
	return anyRate(t)
}

func (s *subject) classes() []string {
	if s.class != nil {
		return s.class
	}
	return []string{""}
}

func (s *subject) mayRepair(w *world) bool { return s.repairs != nil && s.repairs(w) }

var subjects = []*subject{
	{
		name:    "FixedWindow",
		make:    func(*rapid.T, traffik.Rate) traffik.Strategy { return traffik.FixedWindow{} },
		oracle:  fixedOracle,
		bound:   boundOfWindows,
		horizon: horizonOfWindows(1),
	},
	bucketSubject("TokenBucket", func(b int64) traffik.Strategy { return traffik.TokenBucket{Burst: b} }),
	bucketSubject("GCRA", func(b int64) traffik.Strategy { return traffik.GCRA{Burst: b} }),
	bucketSubject("LeakyBucket", func(b int64) traffik.Strategy { return traffik.LeakyBucket{Capacity: b} }),
	{
		name: "LeakyBucketWithQueue",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			return traffik.LeakyBucketWithQueue{Capacity: someCapacity(t)}
		},
		oracle: bucketOracle, bound: boundOfBucket, horizon: horizonOfBucket,
		fungible: true, delays: true, almost: startedOrUnknown,
	},
	{
		name: "TokenBucketWithDebt",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			burst := someCapacity(t)
			debt := rapid.OneOf(rapid.Int64Range(0, 10), rapid.Just(maxUnits-burst)).Draw(t, "debt")
			return traffik.TokenBucketWithDebt{Burst: burst, MaxDebt: debt}
		},
		oracle: bucketOracle, bound: boundOfBucket, horizon: horizonOfBucket, fungible: true,
	},
	{
		name:   "SlidingWindowCounter",
		make:   func(*rapid.T, traffik.Rate) traffik.Strategy { return traffik.SlidingWindowCounter{} },
		oracle: slidingOracle, bound: boundOfSliding, horizon: horizonOfWindows(2),
	},
	{
		name: "SlidingWindowLog",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			return traffik.SlidingWindowLog{MaxEntries: rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 4, 7}).Draw(t, "entries")}
		},
		oracle: logOracle, bound: boundOfLog, horizon: horizonOfLog,
		repairs: grainBecameFiner, almost: notRoundedBack,
	},
	{
		name: "Tiered",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			return advanced.Tiered{Tiers: map[string]advanced.PPM{
				"free": advanced.PPM(rapid.Int64Range(1, 1_000_000).Draw(t, "free")),
				"pro":  advanced.PPM(rapid.Int64Range(1, 5_000_000).Draw(t, "pro")),
			}, Default: rapid.SampledFrom([]string{"", "free"}).Draw(t, "default")}
		},
		class:  []string{"free", "pro", "", "unheard of"},
		oracle: tieredOracle, bound: boundOfTiers, horizon: horizonOfWindows(1),
	},
	{
		name: "TimeOfDay", make: someTimeOfDay,
		oracle: timeOfDayOracle, bound: boundOfTimeOfDay, horizon: horizonOfTimeOfDay,
		rate: func(t *rapid.T) traffik.Rate {
			if rapid.Bool().Draw(t, "any") {
				return anyRate(t)
			}
			period := rapid.SampledFrom([]time.Duration{time.Minute, 40 * time.Minute, time.Hour, 5 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour})
			return traffik.Per(rapid.Int64Range(1, 20).Draw(t, "limit"), period.Draw(t, "period"))
		},
		starts: beforeClockChanges(), retryPastReset: true, limitVaries: true,
	},
	{
		name: "Adaptive",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			part := func(name string, least int64) advanced.PPM {
				return advanced.PPM(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(least, 1_000_000)).Draw(t, name))
			}
			return advanced.Adaptive{
				Threshold: part("threshold", 1), Reduction: part("reduction", 1),
				Recovery: part("recovery", 1), Floor: part("floor", 1),
			}
		},
		oracle: adaptiveOracle, bound: boundOfWindows, horizon: horizonOfAdaptive,
	},
	{
		name: "Priority",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			shares := rapid.SliceOfN(rapid.Int64Range(1, 1_000_000), 3, 3).Draw(t, "shares")
			slices.Sort(shares)
			if rapid.IntRange(0, 3).Draw(t, "default") == 0 {
				return advanced.Priority{}
			}
			return advanced.Priority{Low: advanced.PPM(shares[0]), Normal: advanced.PPM(shares[1]), High: advanced.PPM(shares[2])}
		},
		class:  []string{"LOW", "NORMAL", "HIGH", "CRITICAL", "", "low"},
		oracle: priorityOracle, bound: boundOfWindows, horizon: horizonOfWindows(1),
	},
	{
		name: "QuotaWithRollover",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			return advanced.QuotaWithRollover{
				Share: advanced.PPM(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 1_000_000)).Draw(t, "share")),
				Cap:   rapid.OneOf(rapid.Int64Range(0, 12), rapid.Just(int64(maxUnits))).Draw(t, "cap"),
			}
		},
		oracle: rolloverOracle, bound: boundOfRollover, horizon: horizonOfWindows(2), carries: true,
	},
	{
		name: "CostBasedTokenBucket",
		make: func(t *rapid.T, _ traffik.Rate) traffik.Strategy {
			return advanced.CostBasedTokenBucket{
				Burst:  someCapacity(t),
				Window: rapid.SampledFrom([]int{0, 1, 2, 3, 40}).Draw(t, "window"),
				Floor:  advanced.PPM(rapid.SampledFrom([]int64{0, 1, 333_333, 1_000_000}).Draw(t, "floor")),
			}
		},
		oracle: costOracle, bound: boundOfBucket, horizon: horizonOfCosts, fungible: true,
		almost: oldestCostDropped,
	},
}

// someCapacity draws a Burst or Capacity, 0 for the default included.
func someCapacity(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 12), rapid.SampledFrom([]int64{100, 3_000_000, maxUnits})).Draw(t, "capacity")
}

func bucketSubject(name string, of func(capacity int64) traffik.Strategy) *subject {
	return &subject{
		name:     name,
		make:     func(t *rapid.T, _ traffik.Rate) traffik.Strategy { return of(someCapacity(t)) },
		oracle:   bucketOracle,
		bound:    boundOfBucket,
		horizon:  horizonOfBucket,
		fungible: true,
	}
}
