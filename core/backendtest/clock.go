package backendtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

func testRefundTakenAt(h *harness) {
	s := traffik.FixedWindow{}
	draw := op(h.key(s), s, 5)
	draw.Draw.Rate = traffik.Per(5, time.Minute)
	old := h.take(draw)[0].At
	h.setNow(epoch.Add(time.Minute))
	now := h.take(draw)[0].At
	refund := draw
	refund.Draw.Cost, refund.Draw.TakenAt = -5, old
	h.take(refund)
	h.wantLeft(draw, 0) // what was drawn in the window before is gone
	refund.Draw.TakenAt = now
	h.take(refund)
	h.wantLeft(draw, 5)
}

// testLateRefund: what has leaked since its draw can't be refunded, and a refund that
// comes when the key is free again leaves alone what was drawn since.
func testLateRefund(h *harness) {
	for _, s := range []traffik.Strategy{
		traffik.TokenBucket{}, traffik.GCRA{Burst: 100}, traffik.LeakyBucket{}, traffik.TokenBucketWithDebt{Burst: 60, MaxDebt: 40},
	} {
		h.setNow(epoch)
		draw := op(h.key(s), s, 50)
		draw.Draw.Rate = traffik.Per(100, time.Minute)
		first := h.take(draw)[0]
		rest := draw
		rest.Draw.Cost = 75
		h.setNow(epoch.Add(15 * time.Second))
		h.wantAllowed(h.take(rest)[0], true, s.ID()+", beside the half of a draw that has not leaked")
		refund := draw.Refund(&first, 50)
		h.take(refund)
		h.wantLeft(draw, 25)

		h.setNow(epoch.Add(time.Minute)) // of 75 units 45 s ago none is left
		h.take(draw)
		behind := h.take(draw)[0] // holds all of its units until those before it have leaked
		h.setNow(epoch.Add(90 * time.Second))
		h.take(draw.Refund(&behind, 50))
		h.wantLeft(draw, 100)

		h.setNow(epoch.Add(3 * time.Minute))
		first = h.take(draw)[0]
		h.setNow(first.FreeAt())
		rest.Draw.Cost = 100
		h.wantAllowed(h.take(rest)[0], true, s.ID()+", once the draw has leaked")
		refund = draw.Refund(&first, 50)
		h.take(refund)
		h.wantLeft(draw, 0)
		refund.Draw.FreeAt = 0 // as a caller that does not know it
		h.take(refund)
		h.wantLeft(draw, 0)
		refund.Draw.FreeAt, refund.Draw.TakenAt = -5, -5 // no instants
		h.take(refund)
		h.wantLeft(draw, 0)
	}
}

// testQueueRefund: a queue takes a draw back that waits at its end, as a whole, and no other.
func testQueueRefund(h *harness) {
	s := traffik.LeakyBucketWithQueue{Capacity: 5}
	draw := op(h.key(s), s, 1)
	draw.Draw.Rate = traffik.Per(1, time.Second)
	first, second := h.take(draw)[0], h.take(draw)[0]
	third := draw
	third.Draw.Cost = 2
	last := h.take(third)[0]
	h.take(draw.Refund(&first, 1))
	h.wantLeft(draw, 1) // it has started
	h.take(draw.Refund(&second, 1))
	h.wantLeft(draw, 1) // somebody waits behind it
	h.take(third.Refund(&last, 1))
	h.wantLeft(draw, 1) // a part of it
	h.take(third.Refund(&last, 2))
	h.wantLeft(draw, 3)
	h.setNow(second.At.Add(second.Delay))
	h.take(draw.Refund(&second, 1))
	h.wantLeft(draw, 4) // its turn has come
}

// testStepBack: a stored time far ahead of the clock is brought back by the
// first draw, even a denied one, so that the wait it was told is true.
func testStepBack(h *harness) {
	if h.features.LatestTime {
		testLatestTime(h)
		return
	}
	for _, s := range []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.GCRA{Burst: 5}} {
		draw := op(h.key(s), s, 5)
		draw.Draw.Rate = traffik.Per(5, time.Minute)
		h.setNow(epoch.Add(time.Hour))
		h.take(draw)
		h.setNow(epoch)
		dec := h.take(draw)[0]
		h.wantAllowed(dec, false, s.ID()+", after the clock stepped back")
		h.setNow(epoch.Add(dec.RetryAfter - time.Microsecond))
		h.wantAllowed(h.peek(draw)[0], false, s.ID()+", a microsecond before RetryAfter")
		h.setNow(epoch.Add(dec.RetryAfter))
		h.wantAllowed(h.take(draw)[0], true, s.ID()+", at RetryAfter")
	}
}

// testLatestTime: a clock that stepped back is answered at the time before, denied and
// admitted draws alike, and what it is told counts from its own reading. A key that
// refunds left untouched is no exception; one that was reset is.
func testLatestTime(h *harness) {
	const back = 10 * time.Second
	for _, s := range []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.GCRA{Burst: 5}} {
		draw := op(h.key(s), s, 5)
		draw.Draw.Rate = traffik.Per(5, time.Minute)
		refund, look := draw, draw
		refund.Draw.Cost, look.Draw.Cost = -5, 0
		h.setNow(epoch)
		h.take(draw)
		want := h.peek(draw)[0]
		h.setNow(epoch.Add(-back))
		want.RetryAfter += back
		want.ResetAfter += back
		want.Ahead = back
		for _, got := range []traffik.Decision{h.peek(draw)[0], h.take(draw)[0]} {
			if got != want {
				h.Errorf("%s, after the clock stepped back: %+v, want %+v", s.ID(), got, want)
			}
		}
		h.setNow(epoch.Add(-back + want.RetryAfter - time.Microsecond))
		h.wantAllowed(h.peek(draw)[0], false, s.ID()+", a microsecond before RetryAfter")
		h.setNow(epoch.Add(-back + want.RetryAfter))
		h.wantAllowed(h.peek(draw)[0], true, s.ID()+", at RetryAfter")

		h.setNow(epoch.Add(-back))
		h.take(refund)
		dec := h.take(look)[0]
		if dec.Remaining != 5 || dec.At != epoch || dec.Ahead != back || dec.ResetAfter != back {
			h.Errorf("%s, untouched after a refund: %+v, want five remaining at the latest time %d", s.ID(), dec, epoch)
		}
		if err := h.backend.Reset(h.Context(), draw.Key); err != nil {
			h.Fatalf("Reset: %v", err)
		}
		if dec = h.take(draw)[0]; !dec.Allowed || dec.At != epoch.Add(-back) || dec.Ahead != 0 {
			h.Errorf("%s, after a Reset: %+v, want five admitted at the clock's own time", s.ID(), dec)
		}
	}
}

func testExpiry(h *harness) {
	for _, s := range []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.GCRA{Burst: 5}} {
		h.setNow(epoch)
		draw := op(h.key(s), s, 1)
		draw.Draw.Rate = traffik.Per(5, time.Minute)
		h.take(draw)
		dec := h.take(draw)[0]
		h.setNow(epoch.Add(dec.ResetAfter - time.Microsecond))
		h.wantLeft(draw, map[bool]int64{true: 3, false: 4}[s == traffik.FixedWindow{}])
		h.setNow(epoch.Add(dec.ResetAfter))
		h.wantLeft(draw, 5)
		h.wantAllowed(h.take(draw)[0], true, s.ID())
		h.wantLeft(draw, 4)
	}
}

// testClockOutOfRange: a clock before 1970 reads as 0, one beyond 2^53 as that; the
// limit holds there too.
func testClockOutOfRange(h *harness) {
	for _, now := range []traffik.Instant{math.MinInt64, -5_000_000, -1, traffik.MaxUnits + 2, math.MaxInt64} {
		h.setNow(now)
		want := now.Add(0)
		for _, s := range strategies {
			draw := op(h.key(s), s, 1)
			draw.Draw.Rate = traffik.Per(5, time.Minute)
			for n := range 7 {
				dec := h.take(draw)[0]
				h.wantAllowed(dec, n < 5, fmt.Sprintf("%s, draw %d of five at %d", s.ID(), n+1, now))
				if dec.At != want {
					h.Errorf("%s at %d: the decision is of %d, want %d", s.ID(), now, dec.At, want)
				}
			}
		}
		h.wantReading(want)
	}
}

// wantReading checks what ReadStates says of the clock, where there is such.
func (h *harness) wantReading(want traffik.Instant) {
	h.Helper()
	reader, ok := h.backend.(traffik.StateReader)
	if !ok {
		return
	}
	_, now, err := reader.ReadStates(h.Context(), []traffik.Key{h.key(counter{})}, nil)
	if err == nil && now != want {
		h.Errorf("ReadStates read the clock as %d, want %d", now, want)
	}
}

// testRandomTraces compares every answer with the model's, over Takes, Peeks
// and Resets of one to three keys of few callers, with refunds, forces, advisory
// ops, changing rates and a clock that moves both ways.
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

func (tr *trace) step(step int) bool {
	tr.moveClock()
	ops := tr.ops()
	switch tr.rnd.IntN(12) {
	case 0:
		key := tr.keys[tr.rnd.IntN(len(tr.keys))].Key
		tr.model.forget(key)
		if err := tr.backend.Reset(tr.Context(), key); err != nil {
			tr.Fatalf("Reset: %v", err)
		}
		return true
	case 1, 2:
		return tr.same(step, "Peek", ops, tr.peek(ops...), tr.model.run(ops, false))
	}
	want := tr.model.run(ops, true)
	tr.past = append(tr.past, want...)
	return tr.same(step, "Take", ops, tr.take(ops...), want)
}

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

// forgetExpired drops what has expired on both sides: a store may forget it or
// not, and a later change of rate or step back of the clock would show which.
func (tr *trace) forgetExpired() {
	for key, reset := range tr.model.resets {
		if reset > tr.model.now {
			continue
		}
		tr.model.forget(key)
		if err := tr.backend.Reset(tr.Context(), key); err != nil {
			tr.Fatalf("Reset: %v", err)
		}
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
			o.Draw.Class = "repair"
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
