package traffik

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// What the store decides in place and in integers is what the strategy decides
// on its bytes: over random traces of hits, looks and refunds on one key, with a
// clock that stands, runs and steps back, and under two rates in turn.
func TestMemoryDecidesAsTheStrategyDoes(t *testing.T) {
	t.Parallel()
	for _, strategy := range []Strategy{
		FixedWindow{}, TokenBucket{}, TokenBucket{Burst: 3}, GCRA{}, GCRA{Burst: 7}, LeakyBucket{Capacity: 5}, SlidingWindowCounter{},
	} {
		for seed := range uint64(30) {
			traceOnMemory(t, strategy, rand.New(rand.NewPCG(seed, 7)))
		}
	}
}

func traceOnMemory(t *testing.T, strategy Strategy, rnd *rand.Rand) {
	t.Helper()
	m, clock := newTestMemory(t)
	var throttles [2]*Throttle
	for i, rate := range []Rate{Per(7, 3*time.Millisecond), Per(10, time.Millisecond)} {
		throttles[i] = MustNew("u", rate, WithBackend(m), WithStrategy(strategy))
	}
	var state []byte
	for step := range 400 {
		switch rnd.IntN(6) {
		case 0:
			clock.advance(-time.Duration(rnd.IntN(4000)) * time.Microsecond)
		case 1, 2:
			clock.advance(time.Duration(rnd.IntN(1500)) * time.Microsecond)
		}
		draw := Draw{Rate: throttles[rnd.IntN(2)].settings.Load().rate, Now: clock.Now(), Cost: []int64{1, 1, 1, 2, 5, 12, 0, -1, -3}[rnd.IntN(9)]}
		got := drawOnMemory(t, m, throttles, draw)
		next, want := strategy.Decide(nil, state, &draw)
		if got != want {
			t.Fatalf("%T, step %d, %+v:\n got %+v\nwant %+v", strategy, step, draw, got, want)
		}
		if draw.Cost != 0 && len(next) > 0 || draw.Cost < 0 { // a look by Stat writes nothing
			state = next
		}
	}
}

// drawOnMemory draws as a user does: hits by Hit and HitN, looks by Stat; refunds
// by the backend, since a refund needs its result.
func drawOnMemory(t *testing.T, m *Memory, throttles [2]*Throttle, d Draw) Decision {
	t.Helper()
	throttle := throttles[0]
	if d.Rate != throttle.settings.Load().rate {
		throttle = throttles[1]
	}
	var res Result
	var err error
	switch s := throttle.Key("k"); {
	case d.Cost == 1:
		res, err = s.Hit(t.Context())
	case d.Cost > 1:
		res, err = s.HitN(t.Context(), d.Cost)
	case d.Cost == 0:
		res, err = s.Stat(t.Context())
	default:
		set := throttle.settings.Load()
		out := make([]Decision, 1)
		err = m.Take(t.Context(), []Op{{Key: Key{Scope: set.scope, ID: "k"}, Strategy: set.strategy, Draw: d}}, out)
		res.Decision = out[0]
	}
	if err != nil {
		t.Fatal(err)
	}
	return res.Decision
}

// Several limits at once are decided as DecideAll says on the bytes of their
// strategies: some in integers, some in bytes, some that only report, under a
// clock that stands, runs and steps back.
func TestMemoryDecidesGatesAsDecideAllDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		traceGateOnMemory(t, rand.New(rand.NewPCG(seed, 8)))
	}
}

// decideInBytes is what store.DecideAll does, which this package can't import.
func decideInBytes(ops []Op, states [][]byte, out []Decision, next [][]byte) {
	denied := false
	for i := range ops {
		next[i], out[i] = ops[i].Strategy.Decide(nil, states[i], &ops[i].Draw)
		denied = denied || !out[i].Allowed && !ops[i].Advisory
	}
	for i := range ops {
		if look := ops[i].Draw; denied && out[i].Allowed {
			look.Cost = 0
			next[i], out[i] = ops[i].Strategy.Decide(nil, states[i], &look)
		}
	}
}

func traceGateOnMemory(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	m, clock := newTestMemory(t)
	strategies := []Strategy{FixedWindow{}, TokenBucket{Burst: 3}, GCRA{Burst: 7}, SlidingWindowCounter{}, LeakyBucket{}}
	rnd.Shuffle(len(strategies), func(i, j int) { strategies[i], strategies[j] = strategies[j], strategies[i] })
	var limiters []Limiter
	var ops []Op
	for i, strategy := range strategies[:2+rnd.IntN(4)] {
		opts := []Option{WithBackend(m), WithStrategy(strategy)}
		advisory := rnd.IntN(4) == 0
		if advisory {
			opts = append(opts, WithReportOnly())
		}
		throttle := MustNew(string(rune('a'+i)), Per(1+rnd.Int64N(9), time.Duration(1+rnd.IntN(4))*time.Millisecond), opts...)
		set := throttle.settings.Load()
		limiters = append(limiters, throttle)
		ops = append(ops, Op{Key: Key{Scope: set.scope, ID: "k"}, Strategy: strategy, Draw: Draw{Rate: set.rate}, Advisory: advisory})
	}
	gate := All(limiters...)
	states, want, changes := make([][]byte, len(ops)), make([]Decision, len(ops)), make([][]byte, len(ops))
	for step := range 200 {
		switch rnd.IntN(6) {
		case 0:
			clock.advance(-time.Duration(rnd.IntN(4000)) * time.Microsecond)
		case 1, 2:
			clock.advance(time.Duration(rnd.IntN(1500)) * time.Microsecond)
		}
		cost, peek := int64(1+rnd.IntN(4)), rnd.IntN(4) == 0
		for i := range ops {
			ops[i].Draw.Cost, ops[i].Draw.Now = cost, clock.Now()
		}
		decideInBytes(ops, states, want, changes)
		subject := gate.Key("k")
		call := subject.HitN
		if peek {
			call = subject.Check
		}
		verdict, err := call(t.Context(), cost)
		if err != nil {
			t.Fatal(err)
		}
		for i, res := range verdict.Results() {
			if ops[i].Advisory { // what it would have answered is told by the outcome
				res.Allowed = res.Outcome != Denied
			}
			if res.Decision != want[i] {
				t.Fatalf("step %d, %d units, peek %v, %T:\n got %+v\nwant %+v", step, cost, peek, ops[i].Strategy, res.Decision, want[i])
			}
			if !peek && len(changes[i]) > 0 {
				states[i] = changes[i]
			}
		}
	}
	keys := make([]Key, len(ops))
	for i := range ops {
		keys[i] = ops[i].Key
	}
	stored, _, err := m.ReadStates(t.Context(), keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range stored {
		if !bytes.Equal(stored[i], states[i]) {
			t.Fatalf("%T is kept as %x, want %x", ops[i].Strategy, stored[i], states[i])
		}
	}
}
