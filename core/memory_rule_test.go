package traffik

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unique"
)

// check fails t unless what each shard keeps in its books is what it holds.
func (m *Memory) check(t *testing.T) {
	t.Helper()
	for i := range m.shards {
		sh := &m.shards[i]
		if !sh.mu.TryLock() {
			t.Fatalf("shard %d is locked", i)
		}
		live, scopes := 0, map[unique.Handle[string]]int{}
		for j := range sh.used {
			if e := sh.entry(j); e.live() {
				live++
				scopes[e.scope()]++
				if e.marks&reserved != 0 {
					t.Errorf("shard %d: an entry stays reserved", i)
				}
			}
		}
		if live != sh.count || live > sh.maxKeys {
			t.Errorf("shard %d counts %d entries and has %d, bound %d", i, sh.count, live, sh.maxKeys)
		}
		if len(sh.order) != len(sh.holdings) {
			t.Errorf("shard %d: %d scopes in order, %d in all", i, len(sh.order), len(sh.holdings))
		}
		for j, h := range sh.order {
			if h.index != j || sh.holdings[h.scope] != h || h.n != scopes[h.scope] || h.n == 0 && h.overflow == nil {
				t.Errorf("shard %d: scope %d says %+v, and has %d entries", i, j, h, scopes[h.scope])
			}
			delete(scopes, h.scope)
		}
		if len(scopes) > 0 {
			t.Errorf("shard %d: scopes without a holding: %v", i, scopes)
		}
		sh.mu.Unlock()
	}
}

// world is a small store under random draws, with what is known about it from outside.
type world struct {
	*Memory
	t         *testing.T
	rnd       *rand.Rand
	clock     *handClock
	throttles []*Throttle
	ids       []string
	results   []Result
	spilled   map[spilledKey]int64 // units on overflow counters of FixedWindow
}

type spilledKey struct {
	scope         unique.Handle[string]
	window        int64
	counters, one int
}

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 5)), spilled: map[spilledKey]int64{}}
	w.Memory, w.clock = newTestMemory(t, WithMaxKeys(1+w.rnd.IntN(80)))
	strategies := []Strategy{FixedWindow{}, FixedWindow{}, TokenBucket{}, SlidingWindowCounter{}, FixedWindow{}}
	for i, s := range strategies[:2+w.rnd.IntN(4)] {
		rate := Per(1+w.rnd.Int64N(5), []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour}[w.rnd.IntN(4)])
		w.throttles = append(w.throttles, MustNew("t"+strconv.Itoa(i), rate, WithBackend(w.Memory), WithStrategy(s)))
	}
	for i := range 20 + w.rnd.IntN(200) {
		w.ids = append(w.ids, strconv.Itoa(i))
	}
	return w
}

func (w *world) find(set *settings, id string) *entry {
	return w.shards[0].find(w.hash.of(id), Key{Scope: set.scope, ID: id})
}

// records are the unexpired keys of each scope.
func (w *world) records() map[Key]string {
	records := map[Key]string{}
	for _, throttle := range w.throttles {
		set := throttle.settings.Load()
		for _, id := range w.ids {
			if e := w.find(set, id); e != nil && !e.expired(w.clock.Now()) {
				records[Key{Scope: set.scope, ID: id}] = string(e.state(nil))
			}
		}
	}
	return records
}

// held is how many entries each scope has.
func (w *world) held() map[unique.Handle[string]]int {
	held := map[unique.Handle[string]]int{}
	for _, h := range w.shards[0].order {
		held[h.scope] = h.n
	}
	return held
}

// draw draws n units of id on some throttles at once, after a look at what that would answer,
// and checks the rule.
func (w *world) draw(throttles []*Throttle, id string, n int64) {
	w.t.Helper()
	var ops []Op
	newcomers := map[unique.Handle[string]]bool{}
	for _, throttle := range throttles {
		set := throttle.settings.Load()
		ops = append(ops, Op{Key: Key{Scope: set.scope, ID: id}, Strategy: set.strategy, Draw: Draw{Rate: set.rate, Cost: n}})
		newcomers[set.scope] = true
	}
	before, held := w.records(), w.held()
	peek := make([]Decision, len(ops))
	if err := w.Peek(w.t.Context(), slices.Clone(ops), peek); err != nil {
		w.t.Fatal(err)
	}
	if after := w.records(); !maps.Equal(before, after) || !maps.Equal(held, w.held()) {
		w.t.Errorf("a look changed the store")
	}
	spills := make([]spill, len(ops))
	for i := range ops {
		spills[i] = w.shards[0].spill(ops[i].Key.Scope, w.hash.of(id), w.clock.Now())
	}
	results := w.take(throttles, id, n)
	for i, res := range results {
		if res.Decision != peek[i] {
			w.t.Errorf("Peek said %+v, Take %+v", peek[i], res.Decision)
		}
		w.results = append(w.results, res)
		w.limited(res, ops[i].Key, spills[i])
	}
	w.nobodyLost(before, held, newcomers)
}

// take draws as users do: alone or by a gate.
func (w *world) take(throttles []*Throttle, id string, n int64) []Result {
	w.t.Helper()
	if len(throttles) == 1 {
		res, err := throttles[0].Key(id).HitN(w.t.Context(), n)
		if err != nil {
			w.t.Fatal(err)
		}
		return []Result{res}
	}
	var limiters []Limiter
	for _, throttle := range throttles {
		limiters = append(limiters, throttle)
	}
	v, err := All(limiters...).Key(id).HitN(w.t.Context(), n)
	if err != nil {
		w.t.Fatal(err)
	}
	return v.Results()
}

// limited checks that an overflow counter of a FixedWindow admits no more than the limit.
func (w *world) limited(res Result, key Key, s spill) {
	w.t.Helper()
	set := res.settings
	if _, fixed := set.strategy.(FixedWindow); !fixed || res.Outcome != Admitted || w.find(set, key.ID) != nil {
		return
	}
	at := spilledKey{key.Scope, int64(res.At) / set.rate.period.Microseconds(), s.counters, s.index}
	w.spilled[at] += res.cost
	if w.spilled[at] > set.rate.limit {
		w.t.Errorf("overflow counter %d of %d admitted %d units of %v", s.index, s.counters, w.spilled[at], set.rate)
	}
}

// nobodyLost checks that no throttle was brought below its share by another.
func (w *world) nobodyLost(before map[Key]string, held map[unique.Handle[string]]int, newcomers map[unique.Handle[string]]bool) {
	w.t.Helper()
	scopes := len(held)
	for scope := range newcomers {
		if _, known := held[scope]; !known {
			scopes++
		}
	}
	share := w.shards[0].maxKeys / scopes
	after := w.records()
	lost := map[unique.Handle[string]]int{}
	for key := range before {
		if _, still := after[key]; !still && !newcomers[key.Scope] {
			lost[key.Scope]++
		}
	}
	for scope, n := range lost {
		if held[scope]-n < share {
			w.t.Errorf("a throttle with %d keys lost %d of them to another, though its share is %d", held[scope], n, share)
		}
	}
}

// refund refunds an earlier result, and checks that no overflow counter is lowered by what was
// counted elsewhere: then its units would be admitted twice.
func (w *world) refund() {
	w.t.Helper()
	if len(w.results) == 0 {
		return
	}
	i := w.rnd.IntN(len(w.results))
	res := w.results[i]
	w.results = slices.Delete(w.results, i, i+1)
	if res.Outcome != Admitted {
		return
	}
	set := res.settings
	before := w.shards[0].spill(set.scope, w.hash.of(res.id), w.clock.Now())
	var was string
	if before.e != nil {
		was = string(before.e.state(nil))
	}
	if err := set.owner.Refund(w.t.Context(), res, res.cost); err != nil {
		w.t.Fatal(err)
	}
	if before.e == nil || string(before.e.state(nil)) == was {
		return
	}
	if _, fixed := set.strategy.(FixedWindow); fixed {
		at := spilledKey{set.scope, int64(res.At) / set.rate.period.Microseconds(), before.counters, before.index}
		if w.spilled[at] -= res.cost; w.spilled[at] < 0 {
			w.t.Errorf("a refund took units off an overflow counter that were not counted there")
		}
	}
}

// Random draws, gates, looks, refunds, resets and sweeps on small stores: the bound holds, no
// throttle within its share loses a record to another, overflow counters admit no more than their
// limit, and Peek tells what Take does.
func TestMemoryRule(t *testing.T) {
	t.Parallel()
	seeds, steps := 24, 400
	if testing.Short() {
		seeds = 8
	}
	for seed := range uint64(seeds) {
		w := newWorld(t, seed)
		for range steps {
			w.step()
			w.check(t)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		w.clock.advance(100 * 24 * time.Hour)
		w.Sweep()
		if sh := &w.shards[0]; w.Len() != 0 || len(sh.order) != 0 || sh.pages != nil {
			t.Errorf("seed %d: %d keys and %d scopes after all have expired and a sweep", seed, w.Len(), len(sh.order))
		}
	}
}

func (w *world) step() {
	w.t.Helper()
	if w.rnd.IntN(4) == 0 {
		w.clock.advance(time.Duration(w.rnd.Int64N([]int64{1e3, 1e9, 2e11, 2e12}[w.rnd.IntN(4)])))
	}
	id := w.ids[w.rnd.IntN(len(w.ids))]
	i := w.rnd.IntN(len(w.throttles))
	switch w.rnd.IntN(12) {
	case 0:
		w.refund()
	case 1:
		if err := w.throttles[i].Key(id).Reset(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	case 2:
		if w.rnd.IntN(20) == 0 {
			w.Sweep()
		}
	case 3, 4, 5:
		w.draw(w.throttles[:1+i], id, 1+w.rnd.Int64N(3))
	default:
		w.draw(w.throttles[i:i+1], id, 1+w.rnd.Int64N(3))
	}
}

// countingClock goes on by twenty microseconds at each reading, however fast the machine is.
type countingClock struct{ readings atomic.Int64 }

func (c *countingClock) Now() Instant { return testEpoch + Instant(20*c.readings.Add(1)) }

// All calls at once, on a store that is soon full and stays so.
func TestMemoryFullUnderConcurrency(t *testing.T) {
	t.Parallel()
	m, err := NewMemory(WithClock(new(countingClock)), WithMaxKeys(3000), WithSweepInterval(time.Millisecond), silent)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	var throttles []*Throttle
	for i, s := range []Strategy{FixedWindow{}, TokenBucket{}, SlidingWindowLog{}} {
		throttles = append(throttles, MustNew("t"+strconv.Itoa(i), "1/s", WithBackend(m), WithStrategy(s)))
	}
	gate := All(throttles[0], throttles[1], throttles[2])
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 6))
			for range 3000 {
				id := strconv.Itoa(rnd.IntN(20_000))
				throttle := throttles[rnd.IntN(len(throttles))]
				switch rnd.IntN(20) {
				case 0:
					_, _ = throttle.Key(id).Stat(t.Context())
				case 1:
					_ = throttle.Key(id).Reset(t.Context())
				case 2:
					if stats := m.Stats(); stats.Keys > stats.MaxKeys {
						t.Errorf("%+v", stats)
					}
				case 3, 4, 5, 6:
					v, _ := gate.Key(id).Hit(t.Context())
					_ = v.Refund(t.Context())
				default:
					_, _ = throttle.Key(id).Hit(t.Context())
				}
			}
		})
	}
	all.Wait()
	_ = m.Close()
	m.check(t)
	if m.Len() > 3000 {
		t.Errorf("%d keys, bound 3000", m.Len())
	}
	if stats := m.Stats(); stats.Evictions == 0 || stats.OverflowDraws == 0 {
		t.Errorf("%+v: the store was never full", stats)
	}
}
