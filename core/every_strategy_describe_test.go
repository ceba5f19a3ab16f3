package traffik_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

// Descriptions of 20 per minute, with 5 units taken in the window before and 8 in this one,
// 20.123457 s into it.
func TestEveryStrategyDescribesItself(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(20, time.Minute)
	now := someInstant.Time()
	window := func(limit, used int64) traffik.WindowInfo {
		start := now.Truncate(time.Minute)
		return traffik.WindowInfo{Start: start, End: start.Add(time.Minute), Limit: limit, Used: used}
	}
	bucket := func(capacity, level int64) traffik.BucketInfo {
		return traffik.BucketInfo{Capacity: capacity, Level: level, Tokens: capacity - level, EmptyAt: now.Add(time.Duration(level) * 3 * time.Second)}
	}
	plain := advanced.Hours{From: 0, To: 24, Factor: advanced.Percent(150)}
	for _, tc := range []struct {
		strategy traffik.Strategy
		class    string
		want     any
	}{
		{traffik.FixedWindow{}, "", window(20, 8)},
		{traffik.SlidingWindowCounter{}, "", traffik.SlidingWindowInfo{WindowInfo: window(20, 12), Current: 8, Previous: 5}},
		{traffik.SlidingWindowLog{}, "", traffik.LogInfo{Limit: 20, Used: 13, Entries: 2, Oldest: now.Add(-30 * time.Second), Newest: now}},
		{traffik.TokenBucket{}, "", bucket(20, 8)},
		{traffik.TokenBucketWithDebt{Burst: 6, MaxDebt: 10}, "", traffik.DebtInfo{Burst: 6, MaxDebt: 10, Tokens: -2, FullAt: now.Add(24 * time.Second)}},
		{traffik.LeakyBucket{Capacity: 15}, "", bucket(15, 8)},
		{traffik.LeakyBucketWithQueue{}, "", bucket(20, 8)},
		{traffik.GCRA{Burst: 10}, "", bucket(10, 8)},
		{advanced.Tiered{Tiers: map[string]advanced.PPM{"pro": advanced.Times(3)}}, "pro", advanced.TierInfo{WindowInfo: window(60, 8), Tier: "pro", Multiplier: advanced.Times(3)}},
		{advanced.TimeOfDay{Hours: []advanced.Hours{plain}}, "", advanced.HoursInfo{WindowInfo: window(30, 8), Hours: plain}},
		{advanced.Adaptive{Threshold: advanced.Percent(20)}, "", advanced.AdaptiveInfo{WindowInfo: window(10, 8), Factor: advanced.Percent(50)}},
		{advanced.Priority{}, advanced.High, advanced.PriorityInfo{
			WindowInfo: window(20, 8),
			Low:        advanced.LevelInfo{Ceiling: 10}, Normal: advanced.LevelInfo{Ceiling: 15},
			High: advanced.LevelInfo{Ceiling: 18, Used: 8}, Critical: advanced.LevelInfo{Ceiling: 20},
		}},
		{advanced.QuotaWithRollover{}, "", advanced.RolloverInfo{WindowInfo: window(27, 8), Carried: 7, Carries: 6}},
		{advanced.CostBasedTokenBucket{Floor: advanced.Percent(25)}, "", advanced.CostInfo{
			BucketInfo: traffik.BucketInfo{Capacity: 20, Level: 11, Tokens: 9, EmptyAt: now.Add(126 * time.Second)},
			Refill:     advanced.Percent(25), Recent: []int64{5, 8},
		}},
	} {
		k := newKeptKey(t, counter{strategy: tc.strategy, class: tc.class}, rate)
		k.clock.Set(someInstant.Add(-30 * time.Second))
		k.draw(5)
		k.clock.Set(someInstant)
		k.draw(8)
		if got := k.describe(); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%T\n got %+v\nwant %+v", tc.strategy, got, tc.want)
		}
	}
}

func (k *keptKey) describe() any {
	k.t.Helper()
	states, now, err := k.backend.ReadStates(k.t.Context(), []traffik.Key{k.op.Key}, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	d := k.op.Draw
	d.Now = now
	describer, ok := k.op.Strategy.(traffik.Describer)
	if !ok {
		k.t.Fatalf("%T describes nothing", k.op.Strategy)
	}
	return describer.Describe(states[0], &d)
}

// Each writes states up to the size that it announces, and none longer.
func TestEveryStrategyAnnouncesItsLargestState(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(20, time.Minute)
	every := everyStrategy(20)
	every = append(every, counter{strategy: traffik.SlidingWindowLog{MaxEntries: 100}}, counter{strategy: advanced.CostBasedTokenBucket{Window: 40}})
	for _, c := range every {
		if c.waits == "log" {
			continue // one of 100 entries is full sooner than one of 8192
		}
		sizer, ok := c.strategy.(traffik.StateSizer)
		if !ok {
			t.Errorf("%T announces no size", c.strategy)
			continue
		}
		largest, state := 0, []byte(nil)
		d := traffik.Draw{Rate: rate, Cost: 1, Class: c.class, Now: someInstant, Force: true}
		for range 1000 {
			if next, _ := c.strategy.Decide(nil, state, &d); len(next) > 0 {
				state = next
			}
			largest = max(largest, len(state))
			d.Now += 100_000 // 600 instants in a period
		}
		if want := sizer.MaxStateBytes(rate); largest != want {
			t.Errorf("%+v: states of up to %d bytes, announced are %d", c.strategy, largest, want)
		}
	}
}

// State layouts are kept in stores and read by other versions: no two
// strategies have the same ID, and only those of the bucket kernel one layout.
func TestEveryStrategyHasItsOwnID(t *testing.T) {
	t.Parallel()
	var ids []string
	for _, c := range everyStrategy(20) {
		if c.waits == "single" {
			continue // GCRA again
		}
		if id := c.strategy.ID(); slices.Contains(ids, id) {
			t.Errorf("%q twice", id)
		} else {
			ids = append(ids, id)
		}
	}
	if len(ids) != 14 {
		t.Errorf("%d strategies are tested, want 14", len(ids))
	}
}
