package traffik

import (
	"testing"
	"time"
)

func TestSlidingWindowCounterSteps(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowCounter{}, Per(10, 10*time.Second), []takeStep{
		{at: 4 * s, cost: 8, remaining: 2, reset: 16 * s},
		{at: 4 * s, cost: 3, remaining: 2, retry: 6*s + 10*s/8, reset: 16 * s},
		{at: 4 * s, cost: 11, remaining: 2, retry: never, reset: 16 * s},
		{at: 10 * s, cost: 0, remaining: 2, reset: 10 * s},
		{at: 12 * s, cost: 0, remaining: 3, reset: 8 * s}, // 8 * 8/10 of it are 6.4, so 7
		{at: 12 * s, cost: 4, remaining: 3, retry: s / 2, reset: 8 * s},
		{at: 12*s + s/2, cost: 4, remaining: 0, reset: 17*s + s/2},
		{at: 15 * s, cost: 2, remaining: 0, reset: 15 * s},
	})
	// More than this window leaves: waits for the next, where this is the previous.
	runSteps(t, SlidingWindowCounter{}, Per(10, 10*time.Second), []takeStep{
		{at: 5 * s, cost: 6, remaining: 4, reset: 15 * s},
		{at: 5 * s, cost: 10, remaining: 4, retry: 15 * s, reset: 15 * s},
		{at: 5 * s, cost: 7, remaining: 4, retry: 10 * s, reset: 15 * s}, // half of 6 is 3
		{at: 15*s - 1, cost: 7, remaining: 6, retry: 1, reset: 5*s + 1},
		{at: 15 * s, cost: 7, remaining: 0, reset: 15 * s},
	})
}

// A refund is taken off the window in which its units were drawn, and never
// spills over into another.
func TestSlidingWindowCounterRefunds(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowCounter{}, Per(10, 10*time.Second), []takeStep{
		{at: 4 * s, cost: 4, remaining: 6, reset: 16 * s},
		{at: 10 * s, cost: 3, remaining: 3, reset: 20 * s},
		{at: 10 * s, cost: -9, takenAt: 4 * s, remaining: 7, reset: 20 * s},
		{at: 10 * s, cost: -1, remaining: 8, reset: 20 * s},
		{at: 20 * s, cost: -9, takenAt: 4 * s, remaining: 8, reset: 10 * s}, // two windows ago
		{at: 20 * s, cost: -2, takenAt: 10 * s, remaining: 10},
	})
}

// Under another period the previous count lies just before the old window, in
// whichever of today's windows that is.
func TestSlidingWindowCounterPeriodChange(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	minute, second, hour := Per(10, time.Minute), Per(10, time.Second), Per(10, time.Hour)
	before := []takeStep{
		{at: 30 * s, cost: 4, rate: minute, remaining: 6, reset: 90 * s},
		{at: 60 * s, cost: 3, rate: minute, remaining: 3, reset: 120 * s},
	}
	runSteps(t, SlidingWindowCounter{}, minute, append(before,
		takeStep{at: 60 * s, rate: hour, remaining: 3, reset: 7140 * s}, // 4 + 3 in one hour
		takeStep{at: 60 * s, rate: second, remaining: 3, reset: 2 * s},  // 4 in the second before
		takeStep{at: 61 * s, rate: second, remaining: 7, reset: s},      // 3 in the second before
		takeStep{at: 61*s + s/2, rate: second, remaining: 8, reset: s / 2},
		takeStep{at: 63 * s, rate: second, remaining: 10},
	))
	// If nothing of the counts is left, neither is their time: the key is
	// untouched also for a clock that is behind.
	runSteps(t, SlidingWindowCounter{}, minute, []takeStep{
		{at: 30 * s, cost: 4, remaining: 6, reset: 90 * s},
		{at: 70 * s, cost: 1, remaining: 5, reset: 110 * s},
		{at: 70 * s, cost: -1, remaining: 6, reset: 50 * s},
		{at: 70 * s, rate: second, remaining: 10},
	})
}

// 10,000 per 30 days: counts times microseconds pass 2^53 on the way.
func TestSlidingWindowCounterSlowProducts(t *testing.T) {
	t.Parallel()
	const day = int64(86_400_000_000)
	rate := Per(10_000, 30*24*time.Hour)
	start := int64(tableEpoch) / (30 * day) * 30 * day // of a window
	at := func(days int64) int64 { return start + days*day - int64(tableEpoch) }
	runSteps(t, SlidingWindowCounter{}, rate, []takeStep{
		{at: at(15), cost: 9_999, remaining: 1, reset: 45 * day},
		{at: at(30) + 1, cost: 0, remaining: 1, reset: 30*day - 1},
		{at: at(30) + 259_225_922, cost: 2, remaining: 1, retry: 1, reset: 30*day - 259_225_922},
		{at: at(30) + 259_225_923, cost: 2, remaining: 0, reset: 60*day - 259_225_923},
		{at: at(45), cost: 0, remaining: 4_998, reset: 45 * day},
	})
}

func TestSlidingWindowCounterDescribe(t *testing.T) {
	t.Parallel()
	rate := Per(10, 10*time.Second)
	k := &storedKey{strategy: SlidingWindowCounter{}}
	k.draw(Draw{Rate: rate, Cost: 8, Now: tableEpoch})
	k.draw(Draw{Rate: rate, Cost: 1, Now: tableEpoch + 15_000_000})
	got := SlidingWindowCounter{}.Describe(k.state, &Draw{Rate: rate, Now: tableEpoch + 15_000_000})
	want := SlidingWindowInfo{
		WindowInfo: WindowInfo{Start: (tableEpoch + 10_000_000).Time(), End: (tableEpoch + 20_000_000).Time(), Limit: 10, Used: 5},
		Current:    1, Previous: 8,
	}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
