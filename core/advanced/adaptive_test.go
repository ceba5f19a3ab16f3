package advanced

import (
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Above 80 percent of a window's limit the next has half of it, and each other
// window adds 10 percent of the rate's.
func TestAdaptiveSteps(t *testing.T) {
	t.Parallel()
	runSteps(t, Adaptive{}, traffik.Per(100, 10*time.Second), []takeStep{
		{at: 0, cost: 80, remaining: 20, reset: 10 * s}, // not above
		{at: 10 * s, cost: 0, remaining: 100},
		{at: 11 * s, cost: 81, remaining: 19, reset: 59 * s}, // 50, 60 ... 100 from 70 s on
		{at: 11 * s, cost: 30, remaining: 19, retry: 9 * s, reset: 59 * s},
		{at: 11 * s, cost: 71, remaining: 19, retry: 39 * s, reset: 59 * s}, // 80 from 50 s on
		{at: 11 * s, cost: 101, remaining: 19, retry: never, reset: 59 * s},
		{at: 20 * s, cost: 41, limit: 50, remaining: 9, reset: 90 * s}, // 25, 35 ... 95, 100
		{at: 30 * s, cost: 1, limit: 25, remaining: 24, reset: 80 * s}, // not loaded: 35 next
		{at: 40 * s, cost: 0, limit: 35, remaining: 35, reset: 70 * s},
		{at: 109 * s, cost: 0, limit: 95, remaining: 95, reset: s},
		{at: 110 * s, cost: 0, remaining: 100},
	})
}

// Under load for ever the limit stays at the floor, and at 1 at least.
func TestAdaptiveFloor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		floor PPM
		limit int64
	}{{0, 10}, {Percent(30), 30}, {1, 1}} {
		k := &storedKey{strategy: Adaptive{Floor: tc.floor}}
		rate := traffik.Per(100, time.Second)
		for i := range traffik.Instant(40) {
			now := epoch + i*1_000_000
			look := k.draw(traffik.Draw{Rate: rate, Now: now})
			k.draw(traffik.Draw{Rate: rate, Cost: look.Remaining, Now: now})
		}
		if dec := k.draw(traffik.Draw{Rate: rate, Now: epoch + 40_000_000}); dec.Limit != tc.limit {
			t.Errorf("floor %d: a limit of %d, want %d", tc.floor, dec.Limit, tc.limit)
		}
	}
}

// A Floor that is raised holds at once.
func TestAdaptiveFloorIsRaised(t *testing.T) {
	t.Parallel()
	k := &storedKey{strategy: Adaptive{}}
	rate := traffik.Per(100, time.Second)
	for i := range traffik.Instant(10) {
		look := k.draw(traffik.Draw{Rate: rate, Now: epoch + i*1_000_000})
		k.draw(traffik.Draw{Rate: rate, Cost: look.Remaining, Now: epoch + i*1_000_000})
	}
	k.strategy = Adaptive{Floor: Percent(50)}
	if dec := k.draw(traffik.Draw{Rate: rate, Now: epoch + 9_000_001}); dec.Limit != 50 {
		t.Errorf("a limit of %d under a floor of 50 %%, want 50", dec.Limit)
	}
}

// A refund from an earlier window alters nothing: a loaded window stays loaded.
func TestAdaptiveRefundFromAnEarlierWindow(t *testing.T) {
	t.Parallel()
	runSteps(t, Adaptive{}, traffik.Per(100, 10*time.Second), []takeStep{
		{at: s, cost: 100, remaining: 0, reset: 59 * s},
		{at: 10 * s, cost: -100, takenAt: s, limit: 50, remaining: 50, reset: 50 * s},
		{at: 11 * s, cost: 20, limit: 50, remaining: 30, reset: 49 * s},
		{at: 11 * s, cost: -20, limit: 50, remaining: 50, reset: 49 * s},
	})
}

// A recovery of one millionth per window: a million windows, counted at once.
func TestAdaptiveSlowestRecovery(t *testing.T) {
	t.Parallel()
	strategy := Adaptive{Recovery: 1, Floor: 1, Reduction: 1}
	runSteps(t, strategy, traffik.Per(1_000_000, time.Second), []takeStep{
		{at: 0, cost: 1_000_000, remaining: 0, reset: 1_000_000 * s},
		{at: 0, cost: 1_000_000, remaining: 0, retry: 1_000_000 * s, reset: 1_000_000 * s},
		{at: 0, cost: 7, remaining: 0, retry: 7 * s, reset: 1_000_000 * s},
		{at: 999_999 * s, cost: 0, limit: 999_999, remaining: 999_999, reset: s},
		{at: 1_000_000 * s, cost: 0, remaining: 1_000_000},
	})
}

func TestAdaptiveDescribe(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(100, 10*time.Second)
	k := &storedKey{strategy: Adaptive{}}
	k.draw(traffik.Draw{Rate: rate, Cost: 100, Now: epoch})
	d := traffik.Draw{Rate: rate, Cost: 3, Now: epoch + 10_000_000}
	k.draw(d)
	want := AdaptiveInfo{
		WindowInfo: traffik.WindowInfo{Start: d.Now.Time(), End: d.Now.Time().Add(10 * time.Second), Limit: 50, Used: 3},
		Factor:     Percent(50),
	}
	if got := (Adaptive{}).Describe(k.state, &d); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
