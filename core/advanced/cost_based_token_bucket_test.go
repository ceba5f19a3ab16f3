package advanced

import (
	"reflect"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Draws of 4 refill at a quarter of the rate; cheap ones speed it up again.
func TestCostBasedTokenBucketSteps(t *testing.T) {
	t.Parallel()
	runSteps(t, CostBasedTokenBucket{Burst: 10, Window: 2}, traffik.Per(1, time.Second), []takeStep{
		{at: 0, cost: 4, limit: 10, remaining: 6, reset: 16 * s},
		{at: 0, cost: 4, limit: 10, remaining: 2, reset: 32 * s},
		{at: 0, cost: 3, limit: 10, remaining: 2, retry: 4 * s, reset: 32 * s},
		{at: 0, cost: 11, limit: 10, remaining: 2, retry: never, reset: 32 * s},
		{at: 4 * s, cost: 1, limit: 10, remaining: 2, reset: 20 * s}, // 4 and 1: 0.4 of the rate
		{at: 4 * s, cost: 1, limit: 10, remaining: 1, reset: 9 * s},  // 1 and 1: all of it
		{at: 13 * s, cost: 10, limit: 10, remaining: 0, reset: 100 * s},
		{at: 113 * s, cost: 0, limit: 10, remaining: 10}, // full: forgotten
		{at: 113 * s, cost: 1, limit: 10, remaining: 9, reset: s},
	})
}

// The refill is never slower than the floor.
func TestCostBasedTokenBucketFloor(t *testing.T) {
	t.Parallel()
	for floor, reset := range map[PPM]int64{0: 1000 * s, Percent(50): 200 * s, Whole: 100 * s, 1: 10_000 * s} {
		runSteps(t, CostBasedTokenBucket{Floor: floor}, traffik.Per(100, 100*time.Second), []takeStep{
			{at: 0, cost: 100, remaining: 0, reset: reset},
		})
	}
}

// A refund shrinks the newest costs, so drawing and refunding leaves the speed unchanged.
func TestCostBasedTokenBucketRefunds(t *testing.T) {
	t.Parallel()
	strategy := CostBasedTokenBucket{Burst: 10}
	k := &storedKey{strategy: strategy}
	rate := traffik.Per(1, time.Second)
	recent := func(want ...int64) {
		t.Helper()
		got, ok := strategy.Describe(k.state, &traffik.Draw{Rate: rate, Now: epoch}).(CostInfo)
		if !ok || !reflect.DeepEqual(got.Recent, want) {
			t.Errorf("recent costs are %v, want %v", got.Recent, want)
		}
	}
	for _, cost := range []int64{2, 3, 4} {
		k.draw(traffik.Draw{Rate: rate, Cost: cost, Now: epoch})
	}
	recent(2, 3, 4)
	k.draw(traffik.Draw{Rate: rate, Cost: -1, Now: epoch})
	recent(2, 3, 3)
	k.draw(traffik.Draw{Rate: rate, Cost: -4, Now: epoch})
	recent(2, 2)
	k.draw(traffik.Draw{Rate: rate, Cost: -9, Now: epoch, TakenAt: epoch - 20_000_000}) // leaked since
	recent(2, 2)
	k.draw(traffik.Draw{Rate: rate, Cost: -9, Now: epoch})
	if len(k.state) > 0 {
		t.Errorf("all refunded leaves %x", k.state)
	}
}

// The units that a draw holds leak at the slowed rate while nobody else draws. Once others
// have drawn, only units that it holds at every possible speed come back.
func TestCostBasedTokenBucketLateRefunds(t *testing.T) {
	t.Parallel()
	bucket := CostBasedTokenBucket{Burst: 10, Floor: Percent(25)}
	runSteps(t, bucket, traffik.Per(1, time.Second), []takeStep{
		{at: 0, cost: 4, limit: 10, remaining: 6, reset: 16 * s},
		{at: 8 * s, cost: -4, of: 1, limit: 10, remaining: 10}, // 2 of the 4 leaked, 2 are left
	})
	runSteps(t, bucket, traffik.Per(1, time.Second), []takeStep{
		{at: 0, cost: 4, limit: 10, remaining: 6, reset: 16 * s},
		{at: 16 * s, cost: 10, limit: 10, remaining: 0, reset: 40 * s},
		{at: 16 * s, cost: -4, of: 1, limit: 10, remaining: 0, reset: 40 * s},
	})
	// The draw of 8 made the bucket slow, and cheap ones make it fast again: at 17 s it is
	// free, long before it said.
	runSteps(t, CostBasedTokenBucket{Burst: 10, Window: 1}, traffik.Per(1, time.Second), []takeStep{
		{at: 0, cost: 8, limit: 10, remaining: 2, reset: 64 * s},
		{at: 0, cost: 1, limit: 10, remaining: 1, reset: 9 * s},
		{at: 9 * s, cost: 10, limit: 10, remaining: 0, reset: 100 * s},
		{at: 9 * s, cost: -8, of: 1, limit: 10, remaining: 0, reset: 100 * s},
	})
	// The first second may have leaked at the full rate.
	runSteps(t, bucket, traffik.Per(1, time.Second), []takeStep{
		{at: 0, cost: 4, limit: 10, remaining: 6, reset: 16 * s},
		{at: s, cost: 1, limit: 10, remaining: 5, reset: 11_875_000},
		{at: s, cost: -4, of: 1, limit: 10, remaining: 8, reset: 3_500_000},
	})
}

// A cost above 2^32 is recorded as 2^32, and refunding it takes nothing off the costs before
// it.
func TestCostBasedTokenBucketRefundOfAHugeCost(t *testing.T) {
	t.Parallel()
	k := &storedKey{strategy: CostBasedTokenBucket{Burst: maxUnits}}
	d := traffik.Draw{Rate: traffik.Per(1, time.Second), Cost: 2, Now: epoch}
	before := k.draw(d)
	for _, cost := range []int64{1 << 33, 1<<40 + 1} {
		d.Cost = cost
		k.draw(d)
		d.Cost = -cost
		if after := k.draw(d); after != before {
			t.Errorf("%d drawn and refunded: %+v, want %+v", cost, after, before)
		}
	}
}

func TestCostBasedTokenBucketDescribe(t *testing.T) {
	t.Parallel()
	strategy := CostBasedTokenBucket{Burst: 10}
	d := traffik.Draw{Rate: traffik.Per(1, time.Second), Cost: 5, Now: epoch}
	next, _ := strategy.Decide(nil, nil, &d)
	want := CostInfo{
		BucketInfo: traffik.BucketInfo{Capacity: 10, Level: 5, Tokens: 5, EmptyAt: epoch.Time().Add(25 * time.Second)},
		Refill:     Percent(20), Recent: []int64{5},
	}
	if got := strategy.Describe(next, &d); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	untouched := CostInfo{BucketInfo: traffik.BucketInfo{Capacity: 10, Tokens: 10, EmptyAt: epoch.Time()}, Refill: Whole}
	if got := strategy.Describe(nil, &d); !reflect.DeepEqual(got, untouched) {
		t.Errorf("untouched: %+v", got)
	}
}
