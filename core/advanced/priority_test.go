package advanced

import (
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

func TestPrioritySteps(t *testing.T) {
	t.Parallel()
	runSteps(t, Priority{}, traffik.Per(100, 10*time.Second), []takeStep{
		{at: 0, cost: 40, class: Low, limit: 50, remaining: 10, reset: 10 * s},
		{at: 0, cost: 11, class: Low, limit: 50, remaining: 10, retry: 10 * s, reset: 10 * s},
		{at: 0, cost: 51, class: Low, limit: 50, remaining: 10, retry: never, reset: 10 * s},
		{at: 0, cost: 30, limit: 75, remaining: 5, reset: 10 * s}, // Normal, over what Low has used
		{at: 0, cost: 0, class: Low, limit: 50, remaining: 5, reset: 10 * s},
		{at: 0, cost: 20, class: High, limit: 90, remaining: 0, reset: 10 * s},
		{at: 0, cost: 0, class: Low, limit: 50, remaining: 0, reset: 10 * s},
		{at: s, cost: 10, class: Critical, remaining: 0, reset: 9 * s}, // the sum is 100
		{at: s, cost: 1, class: Critical, remaining: 0, retry: 9 * s, reset: 9 * s},
		{at: s, cost: -5, class: Low, limit: 50, remaining: 5, reset: 9 * s}, // off Low's own
		{at: s, cost: 5, class: Critical, remaining: 0, reset: 9 * s},
		{at: 10 * s, cost: 0, class: "nobody", limit: 75, remaining: 75},
	})
}

// A flood of lower classes leaves to those above each class what its ceiling reserves: 50, 25
// and 10 of 100.
func TestPriorityFloodLeavesTheReserve(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(100, time.Minute)
	for _, tc := range []struct {
		flood    []string
		class    string
		reserved int64
	}{
		{[]string{Low}, Critical, 50},
		{[]string{Low}, High, 40},
		{[]string{Low}, Normal, 25},
		{[]string{Low, Normal, ""}, Critical, 25},
		{[]string{Low, Normal, High}, Critical, 10},
		{[]string{Normal, High, Low}, High, 0},
	} {
		k := &storedKey{strategy: Priority{}}
		for i := range 3000 {
			class := tc.flood[i%len(tc.flood)]
			k.draw(traffik.Draw{Rate: rate, Cost: int64(1 + i%3), Class: class, Now: epoch + traffik.Instant(i)})
		}
		var got int64
		for k.draw(traffik.Draw{Rate: rate, Cost: 1, Class: tc.class, Now: epoch + 5000}).Allowed {
			got++
		}
		if got != tc.reserved {
			t.Errorf("after a flood of %q: %d for %s, want %d", tc.flood, got, tc.class, tc.reserved)
		}
	}
}

// Units that the classes above have used are not available below: the sum never passes the
// limit.
func TestPriorityFloodFromAbove(t *testing.T) {
	t.Parallel()
	k := &storedKey{strategy: Priority{}}
	rate := traffik.Per(100, time.Minute)
	var sum int64
	for _, class := range []string{Critical, High, Normal, Low} {
		for k.draw(traffik.Draw{Rate: rate, Cost: 1, Class: class, Now: epoch}).Allowed {
			sum++
		}
	}
	if sum != 100 {
		t.Errorf("%d admitted, want 100", sum)
	}
}

// A limit of 1 has no reserve.
func TestPriorityLimitOfOne(t *testing.T) {
	t.Parallel()
	runSteps(t, Priority{}, traffik.Per(1, time.Second), []takeStep{
		{at: 0, cost: 1, class: Low, remaining: 0, reset: s},
		{at: 0, cost: 1, class: Critical, remaining: 0, retry: s, reset: s},
	})
}

func TestPriorityDescribe(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(100, 10*time.Second)
	k := &storedKey{strategy: Priority{}}
	k.draw(traffik.Draw{Rate: rate, Cost: 3, Class: Low, Now: epoch})
	d := traffik.Draw{Rate: rate, Cost: 4, Class: High, Now: epoch}
	k.draw(d)
	want := PriorityInfo{
		WindowInfo: traffik.WindowInfo{Start: epoch.Time(), End: epoch.Time().Add(10 * time.Second), Limit: 100, Used: 7},
		Low:        LevelInfo{Ceiling: 50, Used: 3}, Normal: LevelInfo{Ceiling: 75},
		High: LevelInfo{Ceiling: 90, Used: 4}, Critical: LevelInfo{Ceiling: 100},
	}
	if got := (Priority{}).Describe(k.state, &d); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
