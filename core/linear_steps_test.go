package traffik

import (
	"math"
	"testing"
	"time"
)

// Fractions of a unit are kept: 7 in 3 s is one each 428571 3/7 µs.
func TestLinearFractions(t *testing.T) {
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
func TestLinearOverflow(t *testing.T) {
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

// Whoever is denied after a step back, for ever included, repairs the time, or
// the reported RetryAfter would be wrong.
func TestLinearHealsAfterStepBack(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	for _, s2 := range []Strategy{TokenBucket{Burst: 5}, GCRA{Burst: 5}} {
		for _, healer := range []takeStep{
			{at: 0, cost: 0, remaining: 0, reset: 5 * s},
			{at: 0, cost: 1, remaining: 0, retry: s, reset: 5 * s},
			{at: 0, cost: 6, remaining: 0, retry: never, reset: 5 * s},
			{at: 0, cost: MaxUnits + 2, remaining: 0, retry: never, reset: 5 * s},
		} {
			runSteps(t, s2, Per(1, time.Second), []takeStep{
				{at: 3600 * s, cost: 5, remaining: 0, reset: 5 * s},
				healer,
				{at: s - 1, cost: 1, remaining: 0, retry: 1, reset: 4*s + 1},
				{at: s, cost: 1, remaining: 0, reset: 5 * s},
			})
		}
	}
}

// What has leaked since the draw can't be given back, and no level goes below
// zero.
func TestLinearGifts(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, TokenBucket{Burst: 5}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 5, remaining: 0, reset: 5 * s},
		{at: 4 * s, cost: 4, remaining: 0, reset: 5 * s},
		{at: 4 * s, cost: -5, takenAt: 1, remaining: 2, reset: 3 * s}, // 3 of the 5 leaked
		{at: 4 * s, cost: -5, takenAt: -2 * s, remaining: 2, reset: 3 * s},
		{at: 4 * s, cost: -1, takenAt: 9 * s, remaining: 3, reset: 2 * s},
		{at: 4*s + 1, cost: -9, remaining: 5},
	})
	// A forced charge above the capacity is given back in full at its instant.
	runSteps(t, TokenBucket{Burst: 5}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 50, force: true, remaining: 0, reset: 50 * s},
		{at: 0, cost: 1, remaining: 0, retry: 46 * s, reset: 50 * s},
		{at: 0, cost: -50, remaining: 5},
	})
}
