package backendtest

import (
	"math/rand/v2"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// testRandomTraces compares every answer with the model's, over Takes, Peeks and Resets of
// one to three keys of few callers, with refunds, forces, advisory ops, changing rates and a
// clock that moves both ways.
func testRandomTraces(h *harness) {
	const seeds, steps = 20, 150
	for seed := range uint64(seeds) {
		h.setNow(epoch)
		tr := newTrace(h, seed)
		for step := range steps {
			if !tr.step(step) {
				return
			}
		}
	}
}

// trace plays one seed on a backend and on the model.
type trace struct {
	*harness
	seed  uint64
	rnd   *rand.Rand
	model *model
	keys  []traffik.Op // key and strategy of each; the draw is made per step
	past  []traffik.Decision
}

func newTrace(h *harness, seed uint64) *trace {
	tr := &trace{harness: h, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)), model: newModel(h.features)} //nolint:gosec // a trace must be repeatable
	for range 2 {
		id := unique("id")
		for _, s := range []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.GCRA{Burst: 3}, counter{}, traffik.LeakyBucketWithQueue{}} {
			tr.keys = append(tr.keys, op(h.keyOf(s, id), s, 1))
		}
	}
	if h.features.NotAtomicAcrossIdentities {
		tr.keys = tr.keys[:5]
	}
	return tr
}

// step moves the clock and makes one call. It reports whether the answers agree: after the
// first difference all later ones would differ too.
func (tr *trace) step(step int) bool {
	tr.moveClock()
	ops := tr.ops()
	switch tr.rnd.IntN(12) {
	case 0:
		key := tr.keys[tr.rnd.IntN(len(tr.keys))].Key
		tr.model.forget(key)
		tr.reset(key)
		return true
	case 1, 2:
		return tr.same(step, "Peek", ops, tr.peek(ops...), tr.model.run(ops, false))
	}
	want := tr.model.run(ops, true)
	tr.past = append(tr.past, want...)
	return tr.same(step, "Take", ops, tr.take(ops...), want)
}

// same compares whole Decisions, times included: the clock is set by hand.
func (tr *trace) same(step int, call string, ops []traffik.Op, got, want []traffik.Decision) bool {
	for i := range want {
		if got[i] != want[i] {
			tr.Errorf("seed %d, step %d, %s of %d ops, op %d: %s %+v advisory=%v\n got %+v\nwant %+v",
				tr.seed, step, call, len(ops), i, ops[i].Strategy.ID(), ops[i].Draw, ops[i].Advisory, got[i], want[i])
			return false
		}
	}
	return true
}

// moveClock mostly stands or moves by less than a period, around its ends, and steps back
// now and then.
func (tr *trace) moveClock() {
	steps := []time.Duration{0, 0, 1, 999, 1e6, 7e6, 59e6, 60e6, 61e6, 200e6}
	d := steps[tr.rnd.IntN(len(steps))] * time.Microsecond
	if tr.rnd.IntN(8) == 0 {
		d = -d
	}
	tr.model.now = tr.model.now.Add(d)
	tr.setNow(tr.model.now)
	tr.forgetExpired()
}

// forgetExpired drops expired states on both sides: a store may forget them or not, and a
// later change of rate or step back of the clock would show which.
func (tr *trace) forgetExpired() {
	for key, reset := range tr.model.resets {
		if reset > tr.model.now {
			continue
		}
		tr.model.forget(key)
		tr.reset(key)
	}
}

// ops returns draws on one to three distinct keys.
func (tr *trace) ops() []traffik.Op {
	var ops []traffik.Op
	for _, k := range tr.rnd.Perm(len(tr.keys))[:1+tr.rnd.IntN(3)] {
		o := tr.keys[k]
		o.Advisory = tr.rnd.IntN(6) == 0
		o.Draw = traffik.Draw{
			Rate: []traffik.Rate{traffik.Per(5, time.Minute), traffik.Per(7, 3*time.Second), traffik.Per(3, time.Hour)}[tr.rnd.IntN(3)],
			Cost: []int64{0, 1, 1, 1, 1, 2, 3, 5, 9, -1, -2, -5}[tr.rnd.IntN(12)],
		}
		if _, custom := o.Strategy.(counter); custom && tr.rnd.IntN(4) == 0 {
			o.Draw.Class = repairClass
		}
		if o.Draw.Cost < 0 && len(tr.past) > 0 && tr.rnd.IntN(4) > 0 {
			advisory := o.Advisory
			o = o.Refund(&tr.past[max(0, len(tr.past)-1-tr.rnd.IntN(6))], -o.Draw.Cost)
			o.Advisory = advisory
			if tr.rnd.IntN(4) == 0 {
				o.Draw.FreeAt = 0
			}
		}
		o.Draw.Force = o.Draw.Cost > 0 && tr.rnd.IntN(10) == 0
		ops = append(ops, o)
	}
	return ops
}
