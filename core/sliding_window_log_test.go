package traffik

import (
	"testing"
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

func TestSlidingWindowLogSteps(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowLog{}, Per(5, 10*time.Second), []takeStep{
		{at: 3 * s, cost: 2, remaining: 3, reset: 10 * s},
		{at: 5 * s, cost: 2, remaining: 1, reset: 10 * s},
		{at: 5 * s, cost: 1, remaining: 0, reset: 10 * s},
		{at: 6 * s, cost: 1, remaining: 0, retry: 7 * s, reset: 9 * s},
		{at: 6 * s, cost: 3, remaining: 0, retry: 9 * s, reset: 9 * s},
		{at: 6 * s, cost: 6, remaining: 0, retry: never, reset: 9 * s},
		{at: 13*s - 1, cost: 1, remaining: 0, retry: 1, reset: 2*s + 1},
		{at: 13 * s, cost: 1, remaining: 1, reset: 10 * s},
		{at: 15 * s, cost: 4, remaining: 0, reset: 10 * s},
		{at: 25 * s, cost: 0, remaining: 5},
	})
}

// No period, wherever it begins, admits more than the limit: not across a
// boundary either, where FixedWindow admits twice.
func TestSlidingWindowLogBoundary(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowLog{}, Per(5, 10*time.Second), []takeStep{
		{at: 10*s - 1, cost: 5, remaining: 0, reset: 10 * s},
		{at: 10 * s, cost: 1, remaining: 0, retry: 10*s - 1, reset: 10*s - 1},
		{at: 20*s - 1, cost: 5, remaining: 0, reset: 10 * s},
	})
}

func TestSlidingWindowLogRefunds(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowLog{}, Per(5, 10*time.Second), []takeStep{
		{at: 1 * s, cost: 2, remaining: 3, reset: 10 * s},
		{at: 2 * s, cost: 2, remaining: 1, reset: 10 * s},
		{at: 3 * s, cost: -1, remaining: 1, reset: 9 * s},                 // nothing drawn now
		{at: 3 * s, cost: -1, takenAt: s + 1, remaining: 1, reset: 9 * s}, // nor then
		{at: 3 * s, cost: -9, takenAt: 2 * s, remaining: 3, reset: 8 * s}, // not more than drawn
		{at: 3 * s, cost: -1, takenAt: 1 * s, remaining: 4, reset: 8 * s}, // part of it
		{at: 11 * s, cost: -1, takenAt: 1 * s, remaining: 5},              // expired
		{at: 11 * s, cost: 1, remaining: 4, reset: 10 * s},                //
		{at: 11 * s, cost: -1, takenAt: 99 * s, remaining: 5},             // the future is now
	})
}

// Entries that a step back leaves more than the grain ahead become entries of
// now, so that nobody waits longer than a period.
func TestSlidingWindowLogClockStepsBack(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowLog{}, Per(5, 10*time.Second), []takeStep{
		{at: 7200 * s, cost: 3, remaining: 2, reset: 10 * s},
		{at: 7201 * s, cost: 2, remaining: 0, reset: 10 * s},
		{at: 0, cost: 6, remaining: 0, retry: never, reset: 10 * s},
		{at: 1 * s, cost: 1, remaining: 0, retry: 9 * s, reset: 9 * s},
		{at: 10 * s, cost: 5, remaining: 0, reset: 10 * s},
	})
	// Within the grain of 1221 µs they stay as they are.
	runSteps(t, SlidingWindowLog{}, Per(5, 10*time.Second), []takeStep{
		{at: 2000, cost: 5, remaining: 0, reset: 10 * s},
		{at: 1000, cost: 1, remaining: 0, retry: 10*s + 1000, reset: 10*s + 1000},
		{at: 1000, cost: -5, takenAt: 2000, remaining: 5},
	})
}

// A full log is rounded up: it stays short, admits no more, and units come back at most one
// quantum later. A refund still finds its entry.
func TestSlidingWindowLogRounding(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowLog{MaxEntries: 4}, Per(100, 8*time.Second), []takeStep{
		{at: s / 10, cost: 10, remaining: 90, reset: 8 * s},
		{at: s, cost: 20, remaining: 70, reset: 8 * s},
		{at: 2 * s, cost: 5, remaining: 65, reset: 8 * s},
		{at: 3 * s, cost: 5, remaining: 60, reset: 8 * s},
		{at: 5 * s, cost: 60, remaining: 0, reset: 9 * s}, // 35 at 2 s, 5 at 4 s, 60 at 6 s
		{at: 5 * s, cost: 1, remaining: 0, retry: 5 * s, reset: 9 * s},
		{at: 5 * s, cost: -20, takenAt: s, remaining: 20, reset: 9 * s},
		{at: 5 * s, cost: -60, takenAt: 6 * s, remaining: 80, reset: 7 * s},
		{at: 10 * s, cost: 0, remaining: 95, reset: 2 * s},
	})
	// However many instants are drawn at, also by force.
	strategy := SlidingWindowLog{MaxEntries: 50}
	k := &storedKey{strategy: strategy}
	rate := Per(1000, time.Second)
	for i := range Instant(5000) {
		k.draw(Draw{Rate: rate, Cost: 1, Now: tableEpoch + i*777, Force: i%2 == 0})
		if len(k.state) > strategy.MaxStateBytes(rate) {
			t.Fatalf("%d bytes, want %d at most", len(k.state), strategy.MaxStateBytes(rate))
		}
	}
}

func TestSlidingWindowLogDescribe(t *testing.T) {
	t.Parallel()
	rate := Per(10, time.Second)
	k := &storedKey{strategy: SlidingWindowLog{}}
	k.draw(Draw{Rate: rate, Cost: 2, Now: tableEpoch})
	k.draw(Draw{Rate: rate, Cost: 3, Now: tableEpoch + 500_000})
	d := Draw{Rate: rate, Now: tableEpoch + 600_000}
	want := LogInfo{Limit: 10, Used: 5, Entries: 2, Oldest: tableEpoch.Time(), Newest: (tableEpoch + 500_000).Time()}
	if got := (SlidingWindowLog{}).Describe(k.state, &d); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := (SlidingWindowLog{}).Describe(nil, &d); got != (LogInfo{Limit: 10}) {
		t.Errorf("untouched: %+v", got)
	}
}

// An entry that was never rounded and has expired can't be refunded, though
// the grain has another entry where it would have been rounded to.
func TestSlidingWindowLogRefundOfAnExpiredNeighbor(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, SlidingWindowLog{MaxEntries: 4}, Per(10, 8*time.Second), []takeStep{
		{at: 3 * s, cost: 2, remaining: 8, reset: 8 * s},
		{at: 4 * s, cost: 5, remaining: 3, reset: 8 * s},
		{at: 11 * s, cost: -2, takenAt: 3 * s, remaining: 5, reset: s},
	})
}

// Entries out of order, twice at one instant, without units or cut off: the key
// is untouched.
func TestSlidingWindowLogDamaged(t *testing.T) {
	t.Parallel()
	d := Draw{Rate: Per(10, time.Second), Now: 100}
	for name, fields := range map[string][]int64{
		"order":     {20, 1, 10, 1},
		"twice":     {20, 1, 20, 1},
		"no units":  {20, 1, 30, 0},
		"half":      {20, 1, 30},
		"no fields": {},
	} {
		state := []byte{logTag}
		for _, field := range fields {
			state = count.AppendField(state, field)
		}
		if _, dec := (SlidingWindowLog{}).Decide(nil, state, &d); dec.Remaining != 10 || dec.ResetAfter != 0 {
			t.Errorf("%s: %+v, want an untouched key", name, dec)
		}
	}
}
