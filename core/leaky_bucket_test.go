package traffik

import (
	"testing"
	"time"
)

func TestLeakyBucketSteps(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, LeakyBucket{Capacity: 3}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 3, remaining: 0, reset: 3 * s},
		{at: s / 2, cost: 1, remaining: 0, retry: s / 2, reset: 5 * s / 2},
		{at: s, cost: 1, remaining: 0, reset: 3 * s},
		{at: s, cost: 4, remaining: 0, retry: never, reset: 3 * s},
		{at: 9 * s, cost: 0, remaining: 3},
	})
	k := &storedKey{strategy: LeakyBucket{}}
	k.draw(Draw{Rate: Per(10, time.Second), Cost: 4, Now: tableEpoch})
	d := Draw{Rate: Per(10, time.Second), Now: tableEpoch + 100_000}
	want := BucketInfo{Capacity: 10, Level: 3, Tokens: 7, EmptyAt: (tableEpoch + 400_000).Time()}
	if got := (LeakyBucket{}).Describe(k.state, &d); got != want {
		t.Errorf("%+v, want a level of 3 of 10", got)
	}
}

// Each draw waits until all before it have leaked; the queue is as long as the capacity.
func TestLeakyBucketWithQueueSteps(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, LeakyBucketWithQueue{Capacity: 4}, Per(2, time.Second), []takeStep{
		{at: 0, cost: 1, remaining: 3, reset: s / 2},
		{at: 0, cost: 2, remaining: 1, reset: 3 * s / 2, delay: s / 2},
		{at: 0, cost: 1, remaining: 0, reset: 2 * s, delay: 3 * s / 2},
		{at: 0, cost: 1, remaining: 0, retry: s / 2, reset: 2 * s},
		{at: 0, cost: 0, remaining: 0, reset: 2 * s},
		{at: s / 2, cost: 1, remaining: 0, reset: 2 * s, delay: 3 * s / 2},
		{at: s / 2, cost: -1, of: 6, remaining: 1, reset: 3 * s / 2}, // the last of the queue leaves it
		{at: 9 * s, cost: 1, remaining: 3, reset: s / 2},
	})
}

// Callers that wait their Delay start in the order of admission, and in any interval no more
// than the largest cost and the units that leak in it.
func TestLeakyBucketWithQueueStarts(t *testing.T) {
	t.Parallel()
	type start struct{ at, cost int64 }
	const l, p, most = 7, 3_000_000, 3
	k := &storedKey{strategy: LeakyBucketWithQueue{Capacity: 20}}
	var starts []start
	for i := range int64(400) {
		at := i*i*7919%300_000 + i*300_000
		cost := 1 + i*i%most
		dec := k.draw(Draw{Rate: Per(l, 3*time.Second), Cost: cost, Now: tableEpoch + Instant(at)})
		if !dec.Allowed {
			continue
		}
		s := start{at + dec.Delay.Microseconds(), cost}
		if len(starts) > 0 && s.at < starts[len(starts)-1].at {
			t.Fatalf("draw %d starts at %d, before the one admitted before it", i, s.at)
		}
		starts = append(starts, s)
	}
	for i := range starts {
		sum := int64(0)
		for j := i; j < len(starts); j++ {
			sum += starts[j].cost
			if bound := most + (starts[j].at-starts[i].at+1)*l/p; sum > bound {
				t.Fatalf("%d units start within %d µs, want %d at most", sum, starts[j].at-starts[i].at, bound)
			}
		}
	}
	if len(starts) < 100 {
		t.Errorf("only %d admitted", len(starts))
	}
}
