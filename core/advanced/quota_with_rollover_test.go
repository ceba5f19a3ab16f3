package advanced

import (
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Half of the units that a window left is added to the next, once.
func TestQuotaWithRolloverSteps(t *testing.T) {
	t.Parallel()
	runSteps(t, QuotaWithRollover{}, traffik.Per(100, 10*time.Second), []takeStep{
		{at: 0, cost: 0, limit: 150, remaining: 150}, // never seen: as if one had been unused
		{at: 0, cost: 60, limit: 150, remaining: 90, reset: 20 * s},
		{at: 0, cost: 130, limit: 150, remaining: 90, retry: 20 * s, reset: 20 * s},
		{at: 0, cost: 120, limit: 150, remaining: 90, retry: 10 * s, reset: 20 * s},
		{at: 0, cost: 151, limit: 150, remaining: 90, retry: never, reset: 20 * s},
		{at: 10 * s, cost: 110, limit: 120, remaining: 10, reset: 20 * s},
		{at: 20 * s, cost: 0, limit: 100, remaining: 100, reset: 10 * s}, // nothing left to carry
		{at: 30 * s, cost: 0, limit: 150, remaining: 150},
		{at: 35 * s, cost: 1, limit: 150, remaining: 149, reset: 15 * s},
		{at: 35 * s, cost: -1, limit: 150, remaining: 150},
	})
	runSteps(t, QuotaWithRollover{Share: Whole, Cap: 7}, traffik.Per(100, 10*time.Second), []takeStep{
		{at: 0, cost: 93, limit: 107, remaining: 14, reset: 10 * s}, // 7 left: the cap is reached
		{at: 10 * s, cost: 95, limit: 107, remaining: 12, reset: 20 * s},
		{at: 20 * s, cost: 0, limit: 105, remaining: 105, reset: 10 * s},
	})
}

// A refund from an earlier window does not alter what that one carried.
func TestQuotaWithRolloverRefundFromAnEarlierWindow(t *testing.T) {
	t.Parallel()
	runSteps(t, QuotaWithRollover{}, traffik.Per(100, 10*time.Second), []takeStep{
		{at: 0, cost: 100, limit: 150, remaining: 50, reset: 20 * s},
		{at: 10 * s, cost: -100, takenAt: 1, limit: 100, remaining: 100, reset: 10 * s},
	})
}

// m windows admit m limits and the carry of an unused one, whatever is drawn.
func TestQuotaWithRolloverBound(t *testing.T) {
	t.Parallel()
	for _, share := range []PPM{Percent(10), Percent(50), Whole} {
		for pattern := range 64 {
			k := &storedKey{strategy: QuotaWithRollover{Share: share}}
			var sum int64
			for window := range 6 {
				rate, now := traffik.Per(100, time.Second), epoch+traffik.Instant(window)*1_000_000
				remaining := k.draw(traffik.Draw{Rate: rate, Now: now}).Remaining
				if pattern>>window&1 == 0 {
					remaining /= 3
				}
				if remaining > 0 && k.draw(traffik.Draw{Rate: rate, Cost: remaining, Now: now}).Allowed {
					sum += remaining
				}
			}
			if most := 6*100 + share.of(100); sum > most {
				t.Errorf("share %d, pattern %b: %d admitted, want %d at most", share, pattern, sum, most)
			}
		}
	}
}

func TestQuotaWithRolloverDescribe(t *testing.T) {
	t.Parallel()
	d := traffik.Draw{Rate: traffik.Per(100, 10*time.Second), Cost: 40, Now: epoch}
	next, _ := QuotaWithRollover{}.Decide(nil, nil, &d)
	want := RolloverInfo{
		WindowInfo: traffik.WindowInfo{Start: epoch.Time(), End: epoch.Time().Add(10 * time.Second), Limit: 150, Used: 40},
		Carried:    50, Carries: 30,
	}
	if got := (QuotaWithRollover{}).Describe(next, &d); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
