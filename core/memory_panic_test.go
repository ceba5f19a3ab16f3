package traffik

import (
	"context"
	"strconv"
	"testing"
	"time"
)

// panicky is a strategy that panics on demand, for states in bytes.
type panicky struct {
	SlidingWindowCounter
	now *bool
}

func (p panicky) Decide(dst, state []byte, d *Draw) ([]byte, Decision) {
	if *p.now {
		panic("a defect in a strategy")
	}
	return p.SlidingWindowCounter.Decide(dst, state, d)
}

// panickyClock is a clock that panics on demand.
type panickyClock struct {
	handClock
	now bool
}

func (c *panickyClock) Now() Instant {
	if c.now {
		panic("a defect in a clock")
	}
	return c.handClock.Now()
}

// Whatever panics, and in whatever call: no lock stays held, no entry reserved, nothing is half
// stored, and the store goes on.
func TestMemoryPanicsLeaveNoLock(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"strategy", "clock"} {
		panics := false
		clock := &panickyClock{handClock: handClock{now: testEpoch}}
		m, err := NewMemory(WithClock(clock), WithMaxKeys(2), silent)
		if err != nil {
			t.Fatal(err)
		}
		bad := MustNew("bad", "2/h", WithBackend(m), WithStrategy(panicky{now: &panics}))
		good := MustNew("good", "2/h", WithBackend(m))
		third := MustNew("third", "2/h", WithBackend(m))
		for i := range 2 { // full of used up keys
			if _, err := bad.Key(strconv.Itoa(i)).HitN(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
		res, err := bad.Key("overflows").Hit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := m.Stats()
		ctx := context.Background()
		for name, call := range map[string]func(){
			"known key":        func() { _, _ = bad.Key("0").Hit(ctx) },
			"look":             func() { _, _ = bad.Key("0").Check(ctx, 1) },
			"overflow":         func() { _, _ = bad.Key("new").Hit(ctx) },
			"look at overflow": func() { _, _ = bad.Key("new").Check(ctx, 1) },
			"gate":             func() { _, _ = All(good, bad, third).Key("0").Hit(ctx) },
			"gate, overflow":   func() { _, _ = All(good, bad, third).Key("new").Hit(ctx) },
			"look of a gate":   func() { _, _ = All(good, bad, third).Key("new").Check(ctx, 1) },
			"refund":           func() { _ = bad.Refund(ctx, res, 1) },
			"sweep":            func() { m.Sweep() },
			"states":           func() { _, _ = bad.Key("0").Describe(ctx) },
		} {
			panics, clock.now = of == "strategy", of == "clock"
			panicked := true
			func() {
				defer func() { _ = recover() }()
				call()
				panicked = false
			}()
			panics, clock.now = false, false
			if mayNot := of == "strategy" && (name == "sweep" || name == "states"); panicked == mayNot {
				t.Errorf("%s, %s: panicked %v", of, name, panicked)
			}
			m.check(t)
			if t.Failed() {
				t.Fatalf("after a panic of a %s in %s", of, name)
			}
			if after := m.Stats(); after.MemoryThrottleStats != before.MemoryThrottleStats {
				t.Errorf("%s, %s: %+v, before the panic %+v", of, name, after, before)
			}
		}
		if res := hit(t, good, "k"); !res.Allowed {
			t.Errorf("%+v after the panics, want it admitted", res.Decision)
		}
		_ = m.Close()
	}
}

// No identity leads outside of an empty table, also where an int has 32 bits: the search ends there
// before it begins.
func TestMemoryEmptyTable(t *testing.T) {
	t.Parallel()
	var sh shard
	for _, hash := range []uint64{0, 1 << 31, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		if home := sh.home(hash); home < 0 {
			t.Errorf("hash %x starts at slot %d", hash, home)
		}
		if e := sh.find(hash, Key{ID: "k"}); e != nil {
			t.Errorf("hash %x finds an entry", hash)
		}
	}
	m, _ := newTestMemory(t, WithMaxKeys(100_000))
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	for i := range 500 { // each shard is empty for the first of its keys
		hit(t, throttle, strconv.Itoa(i))
	}
	m.Sweep()
	m.check(t)
}

// A long sweep lets others have the lock between its chunks, and misses nothing that had expired
// before.
func TestMemorySweepsInChunks(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t, WithMaxKeys(2000)) // one shard
	throttle := newTestThrottle(t, "5/min", WithBackend(m))
	long := MustNew("long", "5/h", WithBackend(m))
	for i := range 900 {
		hit(t, throttle, strconv.Itoa(i))
		hit(t, long, strconv.Itoa(i))
	}
	clock.advance(2 * time.Minute)
	readings, free := 0, 0
	freed := m.shards[0].sweep(func() Instant {
		if m.shards[0].mu.TryLock() {
			free++
			m.shards[0].mu.Unlock()
		}
		readings++
		return clock.Now()
	})
	if freed != 900 || m.Len() != 900 || readings != free || readings < 1800/sweepChunk {
		t.Errorf("freed %d, %d left, %d chunks, the lock free before %d of them", freed, m.Len(), readings, free)
	}
	m.check(t)
}
