package traffik

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// Fractions of a unit are kept: 7 in 3 s is one each 428571 3/7 µs.
func TestBucketFractions(t *testing.T) {
	t.Parallel()
	rate := Per(7, 3*time.Second)
	for _, s := range []Strategy{TokenBucket{Burst: 1}, GCRA{}} {
		runSteps(t, s, rate, []takeStep{
			{at: 0, cost: 1, remaining: 0, reset: 428_572},
			{at: 428_571, cost: 1, remaining: 0, retry: 1, reset: 1},
			{at: 428_572, cost: 1, remaining: 0, reset: 428_572},
			{at: 857_143, cost: 1, remaining: 0, retry: 1, reset: 1},
		})
	}
	// In the long run not a single one is lost: drawn at each RetryAfter, the
	// level leaks 4/7 µs too much each time and no more.
	k := &storedKey{strategy: TokenBucket{Burst: 2}}
	admitted, now := 0, testEpoch
	for now < testEpoch+300_000_000 {
		dec := k.draw(Draw{Rate: rate, Cost: 1, Now: now})
		if dec.Allowed {
			admitted++
			continue
		}
		now += Instant(dec.RetryAfter / time.Microsecond)
	}
	if admitted != 701 {
		t.Errorf("%d admitted in 300 s, want 2 and 7 for each 3 s less the last", admitted)
	}
}

// 2^53 units in use at one per 100 years: products of 106 bits, times that stop
// at 2^53 µs, and no sum that overflows.
func TestBucketOverflow(t *testing.T) {
	t.Parallel()
	slow := Per(1, 100*365*24*time.Hour)
	for _, s := range []Strategy{TokenBucket{Burst: MaxUnits}, GCRA{Burst: MaxUnits}} {
		runSteps(t, s, slow, []takeStep{
			{at: 0, cost: MaxUnits, remaining: 0, reset: MaxUnits},
			{at: 0, cost: 1, remaining: 0, retry: 100 * 365 * 86_400_000_000, reset: MaxUnits},
			{at: 0, cost: MaxUnits, remaining: 0, retry: MaxUnits, reset: MaxUnits},
			{at: 0, cost: math.MaxInt64, remaining: 0, retry: never, reset: MaxUnits},
			{at: 0, cost: math.MaxInt64, force: true, remaining: 0, reset: MaxUnits},
			{at: 0, cost: math.MinInt64, remaining: MaxUnits},
		})
		fast := Per(MaxUnits, time.Microsecond)
		runSteps(t, s, fast, []takeStep{
			{at: 0, cost: MaxUnits, remaining: 0, reset: 1},
			{at: 0, cost: 1, remaining: 0, retry: 1, reset: 1},
			{at: 1, cost: MaxUnits, remaining: 0, reset: 1},
		})
	}
	// From one to the other: the level stays, and leaks at today's rate.
	runSteps(t, TokenBucket{Burst: MaxUnits}, slow, []takeStep{
		{at: 0, cost: MaxUnits, remaining: 0, reset: MaxUnits},
		{at: 0, cost: 0, rate: Per(MaxUnits, time.Second), remaining: 0, reset: 1_000_000},
		{at: 500_000, cost: 0, rate: Per(MaxUnits, time.Second), remaining: MaxUnits / 2, reset: 500_000},
	})
}

// A draw denied after a step back, for ever included, repairs the time; otherwise the
// reported RetryAfter would be wrong.
func TestBucketRepairsAfterStepBack(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	for _, s2 := range []Strategy{TokenBucket{Burst: 5}, GCRA{Burst: 5}} {
		for _, repairer := range []takeStep{
			{at: 0, cost: 0, remaining: 0, reset: 5 * s},
			{at: 0, cost: 1, remaining: 0, retry: s, reset: 5 * s},
			{at: 0, cost: 6, remaining: 0, retry: never, reset: 5 * s},
			{at: 0, cost: MaxUnits + 2, remaining: 0, retry: never, reset: 5 * s},
		} {
			runSteps(t, s2, Per(1, time.Second), []takeStep{
				{at: 3600 * s, cost: 5, remaining: 0, reset: 5 * s},
				repairer,
				{at: s - 1, cost: 1, remaining: 0, retry: 1, reset: 4*s + 1},
				{at: s, cost: 1, remaining: 0, reset: 5 * s},
			})
		}
	}
}

// Units that have leaked since the draw can't be refunded, and no level goes below zero.
func TestBucketRefunds(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, TokenBucket{Burst: 5}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 5, remaining: 0, reset: 5 * s},
		{at: 4 * s, cost: 4, remaining: 0, reset: 5 * s},
		{at: 4 * s, cost: -5, of: 1, remaining: 1, reset: 4 * s}, // 4 of the 5 leaked
		{at: 4 * s, cost: -1, takenAt: 9 * s, remaining: 2, reset: 3 * s},
		{at: 4*s + 1, cost: -9, remaining: 5},
	})
	// Behind others a draw holds all of its units until theirs have leaked.
	runSteps(t, TokenBucket{Burst: 9}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 5, remaining: 4, reset: 5 * s},
		{at: 0, cost: 4, remaining: 0, reset: 9 * s},
		{at: 5 * s, cost: -4, of: 2, remaining: 9},
	})
	// A forced charge above the capacity is refunded in full at its instant.
	runSteps(t, TokenBucket{Burst: 5}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 50, force: true, remaining: 0, reset: 50 * s},
		{at: 0, cost: 1, remaining: 0, retry: 46 * s, reset: 50 * s},
		{at: 0, cost: -50, of: 1, remaining: 5},
	})
	// Where the bucket has run empty in between, nothing comes back: the unit of 0.5 s
	// leaked at 2 s.
	runSteps(t, GCRA{Burst: 2}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 1, remaining: 1, reset: s},
		{at: s / 2, cost: 1, remaining: 0, reset: 3 * s / 2},
		{at: 12 * s / 5, cost: 1, remaining: 1, reset: s},
		{at: 12 * s / 5, cost: -1, of: 2, remaining: 1, reset: s},
	})
}

// A draw of half the bucket that is refunded after the key was untouched again must not
// restore later draws.
func TestBucketRefundAfterTheKeyWasFree(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	for _, b := range []Strategy{TokenBucket{}, GCRA{Burst: 100}, LeakyBucket{}, TokenBucketWithDebt{Burst: 100}} {
		runSteps(t, b, Per(100, time.Minute), []takeStep{
			{at: 0, cost: 50, remaining: 50, reset: 30 * s},
			{at: 30 * s, cost: 100, remaining: 0, reset: 60 * s},
			{at: 30 * s, cost: -50, of: 1, remaining: 0, reset: 60 * s},
			{at: 30*s - 1, cost: -50, of: 1, remaining: 0, reset: 60 * s}, // a clock that stepped back
		})
		// Half of it has leaked.
		runSteps(t, b, Per(100, time.Minute), []takeStep{
			{at: 0, cost: 50, remaining: 50, reset: 30 * s},
			{at: 15 * s, cost: 75, remaining: 0, reset: 60 * s},
			{at: 15 * s, cost: -50, of: 1, remaining: 25, reset: 45 * s},
			{at: 15 * s, cost: 26, remaining: 25, retry: 600_000, reset: 45 * s},
		})
	}
}

// Without FreeAt a refund assumes that the draw found its key untouched.
func TestBucketRefundOfAnUnknownDraw(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, TokenBucket{Burst: 9}, Per(1, time.Second), []takeStep{
		{at: s, cost: 5, remaining: 4, reset: 5 * s},
		{at: s, cost: 4, remaining: 0, reset: 9 * s},
		{at: 3 * s, cost: -4, takenAt: s, remaining: 4, reset: 5 * s}, // 2 of the 4 may have leaked
		{at: 3 * s, cost: -4, takenAt: 3 * s, remaining: 8, reset: s},
		{at: 3 * s, cost: 8, remaining: 0, reset: 9 * s},
		{at: 8 * s, cost: -4, takenAt: s, remaining: 5, reset: 4 * s},
	})
}

// The microsecond that FreeAt is rounded up to holds no units.
func TestBucketRefundAtAFastRate(t *testing.T) {
	t.Parallel()
	runSteps(t, TokenBucket{Burst: 10}, Per(3_000_000, time.Second), []takeStep{
		{at: 0, cost: 4, remaining: 6, reset: 2},
		{at: 1, cost: 9, remaining: 0, reset: 4},
		{at: 1, cost: -4, of: 1, remaining: 1, reset: 3}, // 3 of the 4 leaked
		{at: 1, cost: -9, of: 2, remaining: 10},
	})
}

// The limits of what an instant can tell: a refund at the instant of its draw is its
// inverse all the same.
func TestBucketRefundAtTheEndOfTime(t *testing.T) {
	t.Parallel()
	for _, at := range []int64{0, int64(MaxUnits - tableEpoch)} {
		runSteps(t, TokenBucket{}, Per(7, 100*365*24*time.Hour), []takeStep{
			{at: at, cost: 7, remaining: 0, reset: 100 * 365 * 86_400_000_000},
			{at: at, cost: -7, of: 1, remaining: 7},
		})
	}
}

// Only the last draw that waits can leave the queue.
func TestQueueRefunds(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	queue := LeakyBucketWithQueue{Capacity: 5}
	runSteps(t, queue, Per(1, time.Second), []takeStep{
		{at: 0, cost: 1, remaining: 4, reset: s},
		{at: 0, cost: -1, of: 1, remaining: 4, reset: s}, // it has started
		{at: 0, cost: 1, remaining: 3, reset: 2 * s, delay: s},
		{at: 0, cost: 2, remaining: 1, reset: 4 * s, delay: 2 * s},
		{at: 0, cost: -1, of: 3, remaining: 1, reset: 4 * s}, // somebody waits behind it
		{at: 0, cost: -1, of: 4, remaining: 1, reset: 4 * s}, // a part of it
		{at: 0, cost: -2, takenAt: 1, remaining: 1, reset: 4 * s},
		{at: 2*s - 1, cost: -2, of: 4, remaining: 4, reset: 1},
		{at: 2*s - 1, cost: 2, remaining: 2, reset: 2*s + 1, delay: 1},
		{at: 2 * s, cost: -2, of: 9, remaining: 3, reset: 2 * s}, // its turn has come
	})
	// The last one leaves, and then the one before it.
	runSteps(t, queue, Per(1, time.Second), []takeStep{
		{at: 0, cost: 1, remaining: 4, reset: s},
		{at: 0, cost: 1, remaining: 3, reset: 2 * s, delay: s},
		{at: 0, cost: 1, remaining: 2, reset: 3 * s, delay: 2 * s},
		{at: s / 2, cost: -1, of: 3, remaining: 3, reset: 3 * s / 2},
		{at: s / 2, cost: -1, of: 2, remaining: 4, reset: s / 2},
		{at: s / 2, cost: 1, remaining: 3, reset: 3 * s / 2, delay: s / 2},
	})
}

// More than 2^53 units are no state.
func TestMoreThanAllUnitsIsUntouched(t *testing.T) {
	t.Parallel()
	for _, parts := range []int64{1, 11_999_999} {
		state := (&count.Bucket{T: int64(tableEpoch), N: MaxUnits, R: parts, P: 12_000_000}).Append(nil)
		for _, s := range []Strategy{
			TokenBucket{}, GCRA{}, LeakyBucket{}, LeakyBucketWithQueue{}, TokenBucketWithDebt{MaxDebt: 3}, GCRA{Burst: MaxUnits},
		} {
			for _, now := range []Instant{tableEpoch - 1, tableEpoch, tableEpoch + 1} {
				for _, cost := range []int64{-1, 0, 1} {
					d := Draw{Rate: Per(5, time.Minute), Cost: cost, Now: now}
					next, got := s.Decide(nil, state, &d)
					fresh, want := s.Decide(nil, nil, &d)
					if got != want || !slices.Equal(next, fresh) {
						t.Errorf("%s, cost %d: %+v, an untouched key %+v", s.ID(), cost, got, want)
					}
				}
			}
		}
	}
}
