package backendtest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	traffik "github.com/traffik-go/traffik/core"
)

// step is one op on a key of five, and the units that remain then.
type step struct {
	cost, left    int64
	force, denied bool
}

// inTurn is a case that takes steps on one key and looks at it after each.
func inTurn(steps ...step) func(h *harness) {
	return each(func(h *harness, s traffik.Strategy) {
		draw := h.draw(s, 0)
		for i, st := range steps {
			draw.Draw.Cost, draw.Draw.Force = st.cost, st.force
			dec, what := h.take(draw)[0], fmt.Sprintf("%s, step %d", s.ID(), i+1)
			h.wantAllowed(dec, !st.denied, what)
			if dec.Limit != 5 || dec.Remaining != st.left || (dec.RetryAfter > 0) != st.denied {
				h.Errorf("%s: %+v, want limit 5, remaining %d", what, dec, st.left)
			}
			h.wantLeft(draw, st.left)
		}
	})
}

// The cases that take steps on one key: exactly the limit is admitted; a forced charge
// passes it, and the count above it is kept; a refund never leaves more than an untouched
// key; looks and denials charge nothing.
var (
	testLimit                = inTurn(step{cost: 1, left: 4}, step{cost: 1, left: 3}, step{cost: 1, left: 2}, step{cost: 1, left: 1}, step{cost: 1}, step{cost: 1, denied: true})
	testForce                = inTurn(step{cost: 7, force: true}, step{cost: -3, left: 1}, step{cost: 5, left: 1, denied: true})
	testRefundDeletes        = inTurn(step{cost: 2, left: 3}, step{cost: -2, left: 5}, step{cost: -1, left: 5})
	testLookKeeps            = inTurn(step{cost: 3, left: 2}, step{cost: 0, left: 2})
	testDenialChargesNothing = inTurn(slices.Concat([]step{{cost: 3, left: 2}}, slices.Repeat([]step{{cost: 3, left: 2, denied: true}}, 10), []step{{cost: -3, left: 5}})...)
)

// testBothDrawn: two ops that fit are both charged, each on its key.
func testBothDrawn(h *harness, s traffik.Strategy) {
	a, b := h.pair(s, 1, 2)
	out := h.take(a, b)
	if out[0].Remaining != 4 || out[1].Remaining != 3 {
		h.Errorf("%s: remaining %d and %d, want 4 and 3", s.ID(), out[0].Remaining, out[1].Remaining)
	}
	h.wantLeft(a, 4)
	h.wantLeft(b, 3)
}

// testAllOrNothing: if one op denies, the other is not charged, in either order of the ops.
func testAllOrNothing(h *harness, s traffik.Strategy) {
	a, b := h.pair(s, 1, 5)
	h.take(a, b)
	for range 2 { // a first denial that charged would show at the second
		h.wantDenied(a, b)
		h.wantDenied(b, a)
	}
}

// testAllOrNothingAcrossIdentities is the same for keys that a store may hold on different
// servers or under different locks.
func testAllOrNothingAcrossIdentities(h *harness, s traffik.Strategy) {
	a, b := h.draw(s, 1), h.draw(s, 5)
	h.take(a, b)
	h.wantDenied(a, b)
	h.wantDenied(b, a)
}

// wantDenied takes both in this order. The exhausted one, of 5, denies; the other keeps its
// 4.
func (h *harness) wantDenied(first, second traffik.Op) {
	h.Helper()
	const left = 4
	out := h.take(first, second)
	roomy, full := first, 1
	if first.Draw.Cost == 5 {
		roomy, full = second, 0
	}
	h.wantAllowed(out[full], false, "the exhausted op")
	h.wantAllowed(out[1-full], true, "the other op")
	if got := out[1-full].Remaining; got != left {
		h.Errorf("%s: the other op has %d remaining in the answer, want the uncharged %d", first.Strategy.ID(), got, left)
	}
	h.wantLeft(roomy, left)
}

// testDeniedTakeRefundsNothing: refunds and forced charges fit always, but a denied Take
// makes none of them either.
func testDeniedTakeRefundsNothing(h *harness, s traffik.Strategy) {
	full, other := h.pair(s, 5, 3)
	h.take(full, other)
	h.wantAllowed(h.take(full, cost(other, -2))[0], false, "the exhausted op")
	h.wantLeft(other, 2)
	h.wantAllowed(h.take(force(other, 9), full)[1], false, "the exhausted op")
	h.wantLeft(other, 2)
}

// testAdvisory: an advisory op is charged if it fits. If not, it is answered as denied and
// not charged, but stops no other op.
func testAdvisory(h *harness, s traffik.Strategy) {
	advisory, firm := h.pair(s, 3, 1)
	advisory.Advisory = true
	h.wantAllowed(h.take(advisory, firm)[0], true, "an advisory op that fits")
	h.wantLeft(advisory, 2)
	out := h.take(advisory, firm)
	h.wantAllowed(out[0], false, "an advisory op that does not fit")
	h.wantAllowed(out[1], true, "the op beside it")
	h.wantLeft(advisory, 2)
	h.wantLeft(firm, 3)
	h.wantAllowed(h.take(advisory)[0], false, "a lone advisory op")
}

// testAdvisoryRollback: an advisory op is not charged if another op denies, though it fits.
func testAdvisoryRollback(h *harness, s traffik.Strategy) {
	advisory, firm := h.pair(s, 1, 5)
	advisory.Advisory = true
	h.take(firm)
	if dec := h.take(advisory, firm)[0]; !dec.Allowed || dec.Remaining != 5 {
		h.Errorf("%s: %+v for the advisory op beside a denial, want 5 remaining", s.ID(), dec)
	}
	h.wantLeft(advisory, 5)
}

// testRefund: a refund of a part restores that part. A refund of more than was drawn
// restores no more than that.
func testRefund(h *harness, s traffik.Strategy) {
	draw := h.draw(s, 4)
	drawn := h.take(draw)[0]
	refund := draw.Refund(&drawn, 3)
	if dec := h.take(refund)[0]; !dec.Allowed || dec.Remaining != 4 {
		h.Errorf("%s: %+v for a refund of 3 of 4, want 4 remaining", s.ID(), dec)
	}
	h.take(cost(refund, -100))
	h.wantLeft(draw, 5)
	h.wantAllowed(h.take(draw)[0], true, s.ID()+", a draw after refunds")
	h.wantLeft(draw, 1)
}

// testHugeCost: costs at the ends of int64 neither overflow nor wrap: they are clamped
// before a store computes with them.
func testHugeCost(h *harness, s traffik.Strategy) {
	for _, units := range []int64{math.MaxInt64, traffik.MaxUnits + 1, 6} {
		if dec := h.take(h.draw(s, units))[0]; dec.Allowed || dec.RetryAfter != traffik.Never {
			h.Errorf("%s, cost %d: %+v, want Never", s.ID(), units, dec)
		}
	}
	draw := h.draw(s, 5)
	h.take(draw)
	h.take(cost(draw, math.MinInt64))
	h.wantLeft(draw, 5)
}

// testConcurrency: whatever the interleaving, exactly the limit is admitted.
func testConcurrency(h *harness) {
	const limit, callers, times = 100, 64, 4
	for _, s := range []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.GCRA{Burst: limit}, counter{}} {
		draw := at(traffik.Per(limit, forever), h.draw(s, 1))
		admitted := h.flood(callers, times, func() []traffik.Op { return []traffik.Op{draw} })
		if admitted != limit {
			h.Errorf("%s: %d callers were admitted %d times, want exactly %d", s.ID(), callers, admitted, limit)
		}
	}
}

// testConcurrentTakes: two keys drawn together in either order stay equal, and no two
// callers block each other.
func testConcurrentTakes(h *harness) {
	const limit = 60
	rate := traffik.Per(limit, forever)
	for _, s := range []traffik.Strategy{traffik.FixedWindow{}, counter{}} {
		a, b := at(rate, h.draw(s, 1)), at(rate, h.draw(s, 1))
		var calls atomic.Int64
		admitted := h.flood(16, 8, func() []traffik.Op {
			if calls.Add(1)%2 == 0 {
				return []traffik.Op{a, b}
			}
			return []traffik.Op{b, a}
		})
		switch atomically := !h.features.NotAtomic && !h.features.NotAtomicAcrossIdentities; {
		case admitted > limit, admitted < limit && atomically:
			h.Errorf("%s: %d admitted, want %d", s.ID(), admitted, limit)
		}
		h.wantLeft(a, limit-admitted)
		h.wantLeft(b, limit-admitted)
	}
}

// flood lets callers take at the same time and returns how many Takes were admitted.
func (h *harness) flood(callers, times int, next func() []traffik.Op) int64 {
	h.Helper()
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range times {
				ops := next()
				out := make([]traffik.Decision, len(ops))
				err := h.backend.Take(h.Context(), ops, out)
				// Giving up under contention is allowed. Such a call has drawn nothing, so
				// it may be repeated.
				for errors.Is(err, traffik.ErrContention) {
					err = h.backend.Take(h.Context(), ops, out)
				}
				if err != nil {
					h.Errorf("Take: %v", err)
					return
				}
				all := true
				for _, dec := range out {
					all = all && dec.Allowed
				}
				if all {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return admitted.Load()
}
