package main

import (
	"slices"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

// subject is one picture.
type subject struct {
	name, title string
	strategy    traffik.Strategy
	// rows are the classes drawn apart from each other; one without a name
	// unless set.
	rows []string
	// run is the common one unless set.
	run   func() run
	start time.Time
	// length of the run; that of the common one unless set.
	length time.Duration
	// notes are written above the time at which they begin.
	notes []note
}

type note struct {
	at   time.Duration
	text string
}

// arrivals in the order of time.
func (s subject) arrivals() []arrival {
	all := common(arrival{})
	if s.run != nil {
		all = s.run()
	}
	slices.SortStableFunc(all, func(a, b arrival) int { return int(a.at - b.at) })
	return all
}

func (s subject) duration() time.Duration {
	if s.length > 0 {
		return s.length
	}
	return length
}

// subjects are all pictures, in the order of docs/strategies.md.
var subjects = []subject{
	{name: "fixed_window", title: "FixedWindow, 10 per 10 s", strategy: traffik.FixedWindow{}},
	{name: "sliding_window_counter", title: "SlidingWindowCounter, 10 per 10 s", strategy: traffik.SlidingWindowCounter{}},
	{name: "sliding_window_log", title: "SlidingWindowLog, 10 per 10 s", strategy: traffik.SlidingWindowLog{}},
	{name: "token_bucket", title: "TokenBucket, 10 per 10 s, burst 10", strategy: traffik.TokenBucket{}},
	{name: "token_bucket_with_debt", title: "TokenBucketWithDebt, 10 per 10 s, burst 5, debt 5: costs of 4", strategy: traffik.TokenBucketWithDebt{Burst: 5, MaxDebt: 5}, run: costly},
	{name: "leaky_bucket", title: "LeakyBucket, 10 per 10 s, capacity 5", strategy: traffik.LeakyBucket{Capacity: 5}},
	{name: "leaky_bucket_with_queue", title: "LeakyBucketWithQueue, 10 per 10 s, capacity 5", strategy: traffik.LeakyBucketWithQueue{Capacity: 5}},
	{name: "gcra", title: "GCRA, 10 per 10 s, no burst", strategy: traffik.GCRA{}},
	{
		name: "tiered", title: "Tiered, 10 per 10 s: free has half of it, pro one and a half", rows: []string{"free", "pro"},
		strategy: advanced.Tiered{Tiers: map[string]advanced.PPM{"free": advanced.Percent(50), "pro": advanced.Percent(150)}, Default: "free"},
		run: func() run {
			return append(common(arrival{row: "free", caller: "free"}), common(arrival{row: "pro", caller: "pro"})...)
		},
	},
	{
		name: "time_of_day", title: "TimeOfDay, 10 per 10 s, half of it at night",
		strategy: advanced.TimeOfDay{Hours: []advanced.Hours{
			{From: 6, To: 22, Factor: advanced.Whole}, {From: 22, To: 6, Factor: advanced.Percent(50)},
		}},
		start: time.Date(2026, 3, 2, 21, 59, 35, 0, time.UTC).Truncate(10 * time.Second),
		run:   func() run { return run{}.every(410*time.Millisecond, 0, length, arrival{cost: 1}) },
		notes: []note{{0, "until 22:00"}, {30 * time.Second, "from 22:00"}},
	},
	{
		name: "adaptive", title: "Adaptive, 10 per 10 s, floor 30 %",
		strategy: advanced.Adaptive{Floor: advanced.Percent(30)},
		length:   120 * time.Second,
		run: func() run {
			return run{}.every(500*time.Millisecond, 0, 40*time.Second, arrival{cost: 1}).
				every(5*time.Second, 41*time.Second, 100*time.Second, arrival{cost: 1}).
				every(500*time.Millisecond, 100*time.Second, 120*time.Second, arrival{cost: 1})
		},
		notes: []note{{0, "overload"}, {40 * time.Second, "little load"}, {100 * time.Second, "overload"}},
	},
	{
		name: "priority", title: "Priority, 10 per 10 s: a flood of LOW beside the others", strategy: advanced.Priority{},
		rows: []string{advanced.Critical, advanced.High, advanced.Normal, advanced.Low},
		run: func() run {
			return run{}.every(250*time.Millisecond, 100*time.Millisecond, length, arrival{row: advanced.Low, cost: 1}).
				every(2*time.Second, 1700*time.Millisecond, length, arrival{row: advanced.Normal, cost: 1}).
				every(4*time.Second, 2300*time.Millisecond, length, arrival{row: advanced.High, cost: 1}).
				every(5*time.Second, 3600*time.Millisecond, length, arrival{row: advanced.Critical, cost: 1})
		},
	},
	{
		name: "quota_with_rollover", title: "QuotaWithRollover, 10 per 10 s, half of what is left carries", strategy: advanced.QuotaWithRollover{},
		length: 50 * time.Second,
		run: func() run {
			return run{}.every(5*time.Second, 2*time.Second, 10*time.Second, arrival{cost: 1}).
				every(333*time.Millisecond, 10*time.Second, 30*time.Second, arrival{cost: 1}).
				every(2*time.Second, 30*time.Second, 40*time.Second, arrival{cost: 1}).
				every(333*time.Millisecond, 40*time.Second, 50*time.Second, arrival{cost: 1})
		},
		notes: []note{{0, "2 used, 4 carried"}, {20 * time.Second, "nothing left to carry"}, {30 * time.Second, "5 used, 2 carried"}},
	},
	{
		name: "cost_based_token_bucket", title: "CostBasedTokenBucket, 10 per 10 s, burst 10", strategy: advanced.CostBasedTokenBucket{Window: 4},
		length: 60 * time.Second,
		run: func() run {
			return run{}.every(800*time.Millisecond, 0, 20*time.Second, arrival{cost: 1}).
				every(800*time.Millisecond, 20*time.Second, 40*time.Second, arrival{cost: 3}).
				every(800*time.Millisecond, 40*time.Second, 60*time.Second, arrival{cost: 1})
		},
		notes: []note{{0, "costs of 1"}, {20 * time.Second, "costs of 3: a third of the refill"}, {40 * time.Second, "costs of 1"}},
	},
}

// costly is a run of few but large requests.
func costly() run {
	return run{}.every(2*time.Second, time.Second, 12*time.Second, arrival{cost: 4}).
		every(time.Second, 22*time.Second, length, arrival{cost: 4})
}
