package promises

import (
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	traffik "github.com/traffik-go/traffik/core"
)

// movement is units that were drawn, or refunded, at a constant rate.
type movement struct {
	at    int64
	units *big.Rat // more than 0 drawn, less than 0 restored
	of    int      // the step that drew them, or this one
	force bool
}

// traceOfRefunds makes draws and refunds under a clock that never steps back, the
// refunds of draws that were made at any time before, whole or in parts that add up to no more than what was drawn.
// after is called after each step with what moved, nil for nothing.
func traceOfRefunds(w *world, force bool, after func(d traffik.Draw, a answer, moved *movement)) {
	for range rapid.IntRange(1, 2*maxSteps).Draw(w.t, "steps") {
		w.move(features{})
		d, of, refund := traffik.Draw{}, len(w.past), false
		if rapid.IntRange(0, 2).Draw(w.t, "refund") == 0 {
			d, of, refund = w.honestRefund()
		}
		if !refund {
			d, of = w.someDraw(features{force: force}), len(w.past)
		}
		want := w.subject.oracle(w.strategy, w.past, d)
		if got := w.take(d); got != want.dec {
			w.t.Fatalf("%+v: %+v\n got %+v\nwant %+v", w.strategy, d, got, want.dec)
		}
		var moved *movement
		switch {
		case want.gave != nil && want.gave.Sign() > 0:
			moved = &movement{at: w.now, units: new(big.Rat).Neg(want.gave), of: of}
		case d.Cost > 0 && want.dec.Allowed:
			moved = &movement{at: w.now, units: frac(min(d.Cost, maxUnits)), of: of, force: d.Force}
		}
		after(d, want, moved)
	}
}

// farFromTheEnd reports whether no forced charge can make a count stop at 2^53, at which units
// get lost.
func farFromTheEnd(w *world) bool {
	look := w.peek(traffik.Draw{Rate: w.rate, Now: traffik.Instant(w.now)})
	return w.rate.Limit() < 1<<50 && look.Limit < 1<<50
}

// movedForward is by how many units draws that were made before moves[from] and refunded
// between it and moves[to] may have held fewer than their FreeAt says: units that were
// refunded before them of draws as old or older. The units of the younger ones took
// their place in the bucket. No state of constant size can tell.
func movedForward(moves []movement, from, to int) *big.Rat {
	sum := frac(0)
	for i, r := range moves[:to+1] {
		if r.units.Sign() > 0 {
			continue
		}
		for _, later := range moves[max(from, i+1) : to+1] {
			if later.units.Sign() < 0 && later.of >= r.of && later.of < moves[from].of && drawnBefore(moves[:i], later.of) {
				sum.Sub(sum, r.units)
				break
			}
		}
	}
	return sum
}

func drawnBefore(moves []movement, step int) bool {
	return slices.ContainsFunc(moves, func(m movement) bool { return m.of == step && m.units.Sign() > 0 })
}

// checkLateRefunds checks that what was drawn between any two moves, less what was
// refunded of it, is within the envelope. Refunds of what was drawn before don't count:
// they make room for nothing.
func checkLateRefunds(t *rapid.T, moves []movement, envelope func(from, to int) *big.Rat) {
	t.Helper()
	for from := range moves {
		if moves[from].units.Sign() < 0 {
			continue
		}
		sum, counted := frac(0), map[int]bool{}
		for to := from; to < len(moves); to++ {
			m := moves[to]
			if m.units.Sign() > 0 && !m.force {
				counted[m.of] = true
			}
			if counted[m.of] {
				sum.Add(sum, m.units)
			}
			if most := envelope(from, to); sum.Cmp(most) > 0 {
				t.Fatalf("%v units in %d µs from move %d to %d; the envelope is %v\n%+v", sum, m.at-moves[from].at, from, to, most, moves)
			}
		}
	}
}

// The bound holds whenever draws are refunded. Of a bucket, by no more than the units of
// older draws that were refunded while the refunded ones were in flight; a queue and the
// windows have no such exception.
func TestPromise1LateRefunds(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		var moves []movement
		traceOfRefunds(w, farFromTheEnd(w), func(_ traffik.Draw, _ answer, moved *movement) {
			if moved != nil {
				moves = append(moves, *moved)
			}
		})
		checkLateRefunds(t, moves, func(from, to int) *big.Rat {
			bound := s.bound(w.strategy, w.rate, moves[to].at-moves[from].at)
			if s.fungible && !s.delays {
				bound = add(bound, movedForward(moves, from, to))
			}
			return bound
		})
	})
}

// start is when a draw from a queue is told to begin, in the order of the turns.
type start struct {
	at, cost int64
	of       int
}

// Callers that start when their turn comes, and leave before it or not at all, never
// start closer together than the rate says, whatever is refunded and when.
func TestQueueKeepsItsDistance(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		if !s.delays {
			return
		}
		w := newWorld(t, s)
		var starts []start
		traceOfRefunds(w, farFromTheEnd(w), func(d traffik.Draw, a answer, moved *movement) {
			switch of := len(w.past) - 1; {
			case d.Cost > 0 && a.dec.Allowed:
				starts = append(starts, start{at: w.now + a.dec.Delay.Microseconds(), cost: min(d.Cost, maxUnits), of: of})
			case moved != nil:
				// Only what has not started can come back.
				i := slices.IndexFunc(starts, func(s start) bool { return s.of == moved.of })
				if starts[i].at <= w.now {
					t.Fatalf("%+v: %v units come back of a draw that started at %d", w.strategy, moved.units, starts[i].at)
				}
				if starts[i].cost += moved.units.Num().Int64(); starts[i].cost == 0 {
					starts = slices.Delete(starts, i, i+1)
				}
			}
		})
		for i, later := range starts {
			for _, earlier := range starts[:max(0, i)] {
				// A turn is told in whole microseconds, rounded up.
				if room := mul(frac(later.at+1-earlier.at), perMicro(w.rate)); later.at < maxUnits && room.Cmp(frac(earlier.cost)) < 0 {
					t.Fatalf("%+v at %v: starts of %d units at %d and %d at %d", w.strategy, w.rate, earlier.cost, earlier.at, later.cost, later.at)
				}
			}
		}
	})
}

// epochs notes at which level the rate of a bucket changed.
type epochs struct {
	rates  []traffik.Rate
	levels *big.Rat // sum of the levels at the changes
}

// A draw is refunded at its own rate, also when others draw at another one meanwhile.
// Each change of the rate adds no more than what was in use then, and so at most one capacity.
func TestPromise10LateRefundsAcrossRates(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		if !s.fungible || s.delays || s.name == "CostBasedTokenBucket" {
			return
		}
		w := newWorld(t, s)
		rates := []traffik.Rate{w.rate, w.subject.drawRate(t)}
		var moves []movement
		var leaked, changed []*big.Rat // before each move, in all
		e, gone, capacity := epochs{levels: frac(0)}, frac(0), int64(0)
		for range rapid.IntRange(1, 2*maxSteps).Draw(t, "steps") {
			w.move(features{})
			if rapid.IntRange(0, 9).Draw(t, "change") == 0 {
				w.rate = rapid.SampledFrom(rates).Draw(t, "rate")
			}
			d, of, refund := traffik.Draw{}, len(w.past), false
			if rapid.IntRange(0, 2).Draw(t, "refund") == 0 {
				if d, of, refund = w.honestRefund(); refund {
					d.Rate = w.past[of].draw.Rate
				}
			}
			if !refund {
				d, of = w.someDraw(features{}), len(w.past)
			}
			was := bucketAfter(w.past)
			want := s.oracle(w.strategy, w.past, d)
			if got := w.take(d); got != want.dec {
				t.Fatalf("%+v: %+v\n got %+v\nwant %+v", w.strategy, d, got, want.dec)
			}
			var units *big.Rat
			switch {
			case want.gave != nil && want.gave.Sign() > 0:
				units = new(big.Rat).Neg(want.gave)
			case d.Cost > 0 && want.dec.Allowed:
				units = frac(d.Cost)
				capacity = max(capacity, capacityOf(w.strategy, d.Rate))
			}
			if d.Cost < 0 || units != nil { // the state was written at this rate
				if n := len(e.rates); n > 0 && e.rates[n-1] != d.Rate {
					e.levels = add(e.levels, add(was.level, frac(1))) // and what the remainder is rounded up by
				}
				e.rates = append(e.rates, d.Rate)
				gone = add(gone, most(frac(0), sub(was.level, was.seen(w.now, d.Rate).level)))
			}
			if units == nil {
				continue
			}
			moves = append(moves, movement{at: w.now, units: units, of: of})
			leaked, changed = append(leaked, gone), append(changed, e.levels)
		}
		checkLateRefunds(t, moves, func(from, to int) *big.Rat {
			bound := add(frac(capacity), sub(leaked[to], leaked[from]))
			return add(add(bound, changed[to]), movedForward(moves, from, to))
		})
	})
}

// Half of a bucket, refunded once it has leaked, lifts nothing above the burst.
func TestRefundOfWhatHasLeaked(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(100, time.Minute)
	for _, s := range []traffik.Strategy{traffik.TokenBucket{}, traffik.GCRA{Burst: 100}, traffik.LeakyBucket{}, traffik.TokenBucketWithDebt{Burst: 100}} {
		const now = 1_790_000_000_000_000
		first := decideOn(t, s, nil, traffik.Draw{Rate: rate, Now: now, Cost: 50})
		free := traffik.Instant(now + first.dec.ResetAfter.Microseconds())
		second := decideOn(t, s, first.next, traffik.Draw{Rate: rate, Now: free, Cost: 100})
		refund := traffik.Draw{Rate: rate, Now: free, Cost: -50, TakenAt: first.dec.At, FreeAt: free}
		if got := decideOn(t, s, second.next, refund); got.dec.Remaining != 0 {
			t.Errorf("%T: %d remain after a refund of what has leaked, want 0", s, got.dec.Remaining)
		}
	}
}
