package promises

import (
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// everySubject runs one property for every strategy of the table.
func everySubject(t *testing.T, property func(t *rapid.T, s *subject)) {
	t.Parallel()
	for _, s := range subjects {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { property(t, s) })
		})
	}
}

// Each strategy answers what a plain model in big numbers answers, for which
// the whole past is looked at again each time.
func TestAnswersAreThoseOfTheOracle(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			want := s.oracle(w.strategy, w.past, d)
			if got := w.take(d); got != want.dec {
				t.Fatalf("%+v: %+v\n got %+v\nwant %+v", w.strategy, d, got, want.dec)
			}
		})
	})
}

// event is units admitted, or refunded.
type event struct {
	progress int64
	net      *big.Rat
	of       int // of a refund: the event that drew, -1 for none; it counts with that
	stretch  int // number of steps back before it
}

// traceOfBound makes a trace at a constant rate, or at two in turn of which it is
// the more generous one, and returns what was admitted and refunded in it.
func traceOfBound(w *world, f features) (events []event) {
	drawnBy := map[int]int{} // by step: its event
	record := func(d traffik.Draw, of int) {
		var gave *big.Rat
		if d.Cost < 0 {
			gave = w.subject.oracle(w.strategy, w.past[w.forgotten:], d).gave
		}
		at := len(w.past)
		dec := w.take(d)
		e := event{progress: w.progress, net: gave, of: -1, stretch: len(w.cuts)}
		switch {
		case d.Cost > 0 && dec.Allowed && !d.Force:
			drawnBy[at] = len(events)
			e.net = frac(d.Cost)
		case gave == nil:
			return
		default:
			e.net = new(big.Rat).Neg(gave)
			if source, ok := drawnBy[of]; ok {
				e.of = source
			}
		}
		events = append(events, e)
	}
	rates := []traffik.Rate{w.rate}
	if f.turns {
		fewer := rapid.Int64Range(1, w.rate.Limit()).Draw(w.t, "other limit")
		rates = append(rates, traffik.Per(fewer, w.rate.Period()))
	}
	for range rapid.IntRange(1, 2*maxSteps).Draw(w.t, "steps") {
		w.move(f)
		w.rate = rapid.SampledFrom(rates).Draw(w.t, "rate in turn")
		if f.refunds && rapid.IntRange(0, 4).Draw(w.t, "give") == 0 {
			if d, of, ok := w.honestRefund(); ok {
				record(d, of)
				continue
			}
		}
		// No count stops at 2^53 here, at which units get lost.
		record(w.someDraw(features{force: f.force && rates[0].Limit() < 1<<50}), -1)
	}
	w.rate = rates[0]
	return events
}

// counts reports whether e counts in an interval that begins with events[from].
// Units drawn before the interval don't, and so neither does their return;
// units of the kernel are all alike, and so are those of a window in which the
// clock may have been twice.
func (e event) counts(w *world, from int) bool {
	return e.net.Sign() > 0 || e.of >= from || w.subject.fungible || e.stretch > 0
}

// checkBound compares what was admitted less what was refunded between any two
// events with the bound of the progress between them.
func checkBound(w *world, events []event, bound func(from, to event) *big.Rat) {
	w.t.Helper()
	for i := range events {
		sum := frac(0)
		for _, e := range events[i:] {
			if e.counts(w, i) {
				sum.Add(sum, e.net)
			}
			if most := bound(events[i], e); sum.Cmp(most) > 0 {
				w.t.Fatalf("%v units in %d µs at %v by %+v; the bound is %v", sum, e.progress-events[i].progress, w.rate, w.strategy, most)
			}
		}
	}
}

// ofProgress is the documented bound, whatever the clock did.
func (w *world) ofProgress(from, to event) *big.Rat {
	return w.subject.bound(w.strategy, w.rate, to.progress-from.progress)
}

// ofStretches is the sum of the documented bounds of each stretch of time
// between two steps back.
func (w *world) ofStretches(from, to event) *big.Rat {
	sum, begin := frac(0), from.progress
	for _, cut := range w.cuts[from.stretch:to.stretch] {
		sum.Add(sum, w.subject.bound(w.strategy, w.rate, cut-begin))
		begin = cut
	}
	return sum.Add(sum, w.subject.bound(w.strategy, w.rate, to.progress-begin))
}

func TestPromise1Bound(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		f := features{force: true, refunds: true}
		w := newWorld(t, s)
		checkBound(w, traceOfBound(w, f), w.ofProgress)
	})
}

func TestPromise2RetryAfterIsExact(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			dec := w.take(d)
			if dec.Allowed || dec.RetryAfter == traffik.Never {
				return
			}
			at := w.now + dec.RetryAfter.Microseconds()
			if dec.RetryAfter.Microseconds() == maxUnits || at > lastInstant {
				return // stopped counting
			}
			d.Now = traffik.Instant(at)
			if again := w.peek(d); !again.Allowed {
				t.Fatalf("%+v: denied at its RetryAfter: %+v: %+v, then %+v", w.strategy, d, dec, again)
			}
			d.Now--
			if again := w.peek(d); again.Allowed {
				t.Fatalf("%+v: admitted before its RetryAfter: %+v: %+v, then %+v", w.strategy, d, dec, again)
			}
		})
	})
}

// A draw denied for ever is not even admitted by an untouched key, and any
// other is.
func TestPromise2NeverMeansNever(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			dec := w.take(d)
			if dec.Allowed || s.limitVaries {
				return
			}
			fresh := decideOn(t, w.strategy, nil, d).dec
			if fresh.Allowed != (dec.RetryAfter != traffik.Never) {
				t.Fatalf("%+v: %+v: %+v, on an untouched key %+v", w.strategy, d, dec, fresh)
			}
		})
	})
}

func TestPromise3RemainingIsTrue(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			dec := w.take(d)
			d.Force, d.TakenAt, d.Cost = false, 0, dec.Remaining
			if rest := w.peek(d); !rest.Allowed {
				t.Fatalf("%+v: %d remaining and denied: %+v", w.strategy, d.Cost, rest)
			}
			d.Cost = store.ClampCost(dec.Remaining + 1)
			if more := w.peek(d); more.Allowed {
				t.Fatalf("%+v: %d remaining and %d admitted: %+v", w.strategy, dec.Remaining, d.Cost, more)
			}
		})
	})
}

// A store that is asked in vain as well answers like one that is not, and a
// draw that takes nothing stores nothing. Only a log repairs without a step of the
// clock, when its grain has become finer; the other store repairs with it then.
func TestPromise4DeniedDrawsChangeNothing(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		quiet := *w
		w.trace(features{force: true, refunds: true, changes: true}, func(d traffik.Draw) {
			a := decideOn(t, w.strategy, w.state, d)
			took := d.Cost < 0 || d.Cost > 0 && a.dec.Allowed
			repaired := !took && len(a.next) > 0
			if repaired && !s.mayRepair(w) {
				t.Fatalf("%+v: stored %x for nothing: %+v: %+v", w.strategy, a.next, d, a.dec)
			}
			quiet.strategy = w.strategy
			if other := quiet.peek(d); other != a.dec {
				t.Fatalf("%+v: %+v\n%+v, but without the denied draws\n%+v", w.strategy, d, a.dec, other)
			}
			w.commit(d, a)
			if took || repaired {
				quiet.take(d)
			}
		})
	})
}

// What a look or a denied draw stores after a step back answers, then and
// there, like what it replaces.
func TestPromise4RepairChangesNoAnswer(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			a := decideOn(t, w.strategy, w.state, d)
			if took := d.Cost < 0 || d.Cost > 0 && a.dec.Allowed; !took && len(a.next) > 0 {
				if !w.stepped && !s.mayRepair(w) {
					t.Fatalf("%+v: repaired under a clock that never stepped back: %+v", w.strategy, d)
				}
				repaired := decideOn(t, w.strategy, a.next, d)
				if repaired.dec != a.dec {
					t.Fatalf("%+v: %+v: %+v, repaired %+v", w.strategy, d, a.dec, repaired.dec)
				}
				if len(repaired.next) > 0 && !slices.Equal(repaired.next, a.next) {
					t.Fatalf("%+v: repaired twice: %x, then %x", w.strategy, a.next, repaired.next)
				}
			}
			w.commit(d, a)
		})
	})
}

func TestPromise5RefundIsTheInverse(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			look := traffik.Draw{Rate: w.rate, Now: d.Now, Class: d.Class}
			before, was := w.peek(look), w.describe(look)
			dec := w.take(d)
			if d.Cost <= 0 || !dec.Allowed {
				return
			}
			refund := look
			refund.Cost = -min(d.Cost, maxUnits)
			refunds := []traffik.Draw{refund}
			w.past[len(w.past)-1].named(&refund)
			refunds = append(refunds, refund)
			if s.delays { // a queue has to know the draw
				refunds = refunds[1:]
			}
			for _, refund := range refunds {
				given := decideOn(t, w.strategy, w.state, refund)
				after := decideOn(t, w.strategy, given.next, look).dec
				if !s.restored(w, d, was, before, after) {
					t.Fatalf("%+v: drew and refunded %+v\nbefore %+v\nafter  %+v", w.strategy, d, before, after)
				}
			}
		})
	})
}

func TestPromise5NothingGoesBelowZero(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			w.take(d)
			// All is refunded, and more; nothing can be better than untouched.
			refund := traffik.Draw{Rate: w.rate, Now: d.Now, Class: d.Class, Cost: -maxUnits}
			a := decideOn(t, w.strategy, w.state, refund)
			fresh := decideOn(t, w.strategy, nil, traffik.Draw{Rate: w.rate, Now: d.Now, Class: d.Class}).dec
			if a.dec.Remaining > fresh.Remaining {
				t.Fatalf("%+v: %d remain after a refund, %d of an untouched key", w.strategy, a.dec.Remaining, fresh.Remaining)
			}
			// And a refund to an untouched key has no effect.
			if b := decideOn(t, w.strategy, nil, refund); len(b.next) > 0 || b.dec.Remaining != fresh.Remaining {
				t.Fatalf("%+v: a refund to an untouched key: %+v, %x", w.strategy, b.dec, b.next)
			}
		})
	})
}

func TestPromise5WhatHasExpiredCannotBeRefunded(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(features{}, func(d traffik.Draw) {
			w.take(d)
			longAgo := s.horizon(w.strategy, w.rate).steady
			for _, old := range w.past {
				if old.dec.At <= 0 || big.NewInt(w.now-int64(old.dec.At)).Cmp(longAgo) < 0 {
					continue
				}
				refund := traffik.Draw{Rate: w.rate, Now: d.Now, Cost: -max(1, old.charged())}
				old.named(&refund)
				unknown := refund
				unknown.FreeAt = 0
				look := w.peek(traffik.Draw{Rate: w.rate, Now: d.Now, Class: old.draw.Class})
				for _, refund := range []traffik.Draw{refund, unknown} {
					if a := decideOn(t, w.strategy, w.state, refund); a.dec != look {
						t.Fatalf("%+v: %+v\ngave  %+v\nuntouched %+v", w.strategy, refund, a.dec, look)
					}
				}
			}
		})
	})
}

func TestPromise6ResetAfterIsTrue(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			dec := w.take(d)
			reset := w.now + dec.ResetAfter.Microseconds()
			if dec.ResetAfter.Microseconds() == maxUnits || reset > lastInstant {
				return
			}
			later := min(lastInstant, reset+rapid.SampledFrom([]int64{0, 1, w.period(), 3*w.period() + 1}).Draw(t, "later"))
			for _, cost := range []int64{0, 1, dec.Limit, dec.Limit + 1} {
				d := traffik.Draw{Rate: w.rate, Now: traffik.Instant(later), Class: d.Class, Cost: store.ClampCost(cost)}
				kept, fresh := decideOn(t, w.strategy, w.state, d), decideOn(t, w.strategy, nil, d)
				if kept.dec != fresh.dec || !slices.Equal(kept.next, fresh.next) {
					t.Fatalf("%+v: after the reset: %+v\nkept  %+v, %x\nfresh %+v, %x", w.strategy, d, kept.dec, kept.next, fresh.dec, fresh.next)
				}
			}
			look := traffik.Draw{Rate: w.rate, Now: traffik.Instant(reset - 1), Class: d.Class}
			if before := w.peek(look); dec.ResetAfter > 0 && before.ResetAfter != time.Microsecond {
				t.Fatalf("%+v: one microsecond before the reset of %+v: %+v", w.strategy, dec, before)
			}
		})
	})
}

// A store that drops each state at its reset answers like one that keeps it.
func TestPromise6ForgettingAtTheReset(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		forgetful := *w
		w.trace(features{force: true, refunds: true}, func(d traffik.Draw) {
			if forgetful.expires <= w.now {
				forgetful.state = nil
			}
			kept := w.take(d)
			dropped := forgetful.take(d)
			if kept != dropped {
				t.Fatalf("%+v: %+v\nkept    %+v\ndropped %+v", w.strategy, d, kept, dropped)
			}
		})
	})
}

func TestPromise7BoundUnderAnyClock(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		f := features{force: true, stepsBack: true, refunds: s.fungible}
		w := newWorld(t, s)
		checkBound(w, traceOfBound(w, f), w.ofProgress)
	})
}

// A key whose state is gone, since all was refunded or since the store dropped
// it at its reset, is untouched for a clock that then steps back, too. Each
// stretch between two such steps has the bound of its own length then, and
// refunds after a step count when they are given.
func TestPromise7BoundOfStretches(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		f := features{force: true, stepsBack: true, refunds: true}
		w := newWorld(t, s)
		w.forgets = rapid.Bool().Draw(t, "forgets")
		checkBound(w, traceOfBound(w, f), w.ofStretches)
	})
}

func TestPromise7RetryAfterHasAHorizon(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(features{stepsBack: true, refunds: true}, func(d traffik.Draw) {
			dec := w.take(d)
			h := s.horizon(w.strategy, w.rate)
			limit := h.steady
			if w.stepped {
				limit = h.stepped
			}
			if limit.Cmp(big.NewInt(maxUnits)) > 0 {
				limit = big.NewInt(maxUnits)
			}
			if dec.RetryAfter != traffik.Never && big.NewInt(dec.RetryAfter.Microseconds()).Cmp(limit) > 0 {
				t.Fatalf("%+v: RetryAfter %v of %+v is past the horizon of %v µs", w.strategy, dec.RetryAfter, d, limit)
			}
			if big.NewInt(dec.ResetAfter.Microseconds()).Cmp(limit) > 0 && !s.limitVaries {
				t.Fatalf("%+v: ResetAfter %v of %+v is past the horizon of %v µs", w.strategy, dec.ResetAfter, d, limit)
			}
		})
	})
}

func TestPromise8DamagedStateIsUntouched(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			w.take(d)
			if len(w.state) == 0 {
				return
			}
			state := slices.Clone(w.state)
			switch rapid.SampledFrom([]string{"tag", "short", "long", "field"}).Draw(t, "damage") {
			case "tag":
				state[0] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
			case "short":
				state = state[:len(state)-rapid.IntRange(1, min(7, len(state))).Draw(t, "by")]
			case "long":
				state = append(state, make([]byte, rapid.IntRange(1, 7).Draw(t, "by"))...)
			case "field":
				field := rapid.IntRange(0, (len(state)-1)/8-1).Draw(t, "field")
				bad := rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0.5, maxUnits + 2, 1e300}).Draw(t, "bad")
				binary.LittleEndian.PutUint64(state[1+8*field:], math.Float64bits(bad))
			}
			a, fresh := decideOn(t, w.strategy, state, d), decideOn(t, w.strategy, nil, d)
			if a.dec != fresh.dec || !slices.Equal(a.next, fresh.next) {
				t.Fatalf("%+v: %+v on %x\n     %+v\nfresh %+v", w.strategy, d, state, a.dec, fresh.dec)
			}
		})
	})
}

// Half of the states have the right tag, length and ranges, and no sense.
func TestPromise8AnyBytes(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		// A state that was stored shows what one looks like.
		w.take(traffik.Draw{Rate: w.rate, Now: traffik.Instant(w.now), Cost: 1, Force: true})
		state := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "bytes")
		if rapid.Bool().Draw(t, "plausible") {
			fields := (len(w.state) - 1) / 8
			state = append([]byte(nil), w.state[0])
			for range fields {
				v := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(0, maxUnits), rapid.Int64Range(max(0, w.now-w.period()), min(lastInstant, w.now+w.period())),
					rapid.SampledFrom([]int64{maxUnits, maxUnits - 1, w.now, w.period()})).Draw(t, "field")
				state = binary.LittleEndian.AppendUint64(state, math.Float64bits(float64(v)))
			}
		}
		w.state = state
		w.trace(everything, func(d traffik.Draw) { w.take(d) })
	})
}

// What was taken just now stays taken, whichever rate looks at it next.
func TestPromise10ChangesHandOutNoQuota(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		w := newWorld(t, s)
		w.trace(everything, func(d traffik.Draw) {
			dec := w.take(d)
			if d.Cost <= 0 || !dec.Allowed {
				return
			}
			changed := *w
			changed.change()
			look := traffik.Draw{Rate: changed.rate, Now: d.Now, Class: d.Class}
			fresh := decideOn(t, changed.strategy, nil, look).dec
			got := changed.peek(look)
			if want := max(0, fresh.Remaining-min(d.Cost, maxUnits)); got.Remaining > want {
				t.Fatalf("%+v: %d remain at %v after %d were taken at %v; an untouched key has %d", changed.strategy, got.Remaining, changed.rate, d.Cost, w.rate, fresh.Remaining)
			}
			// And back again: nothing is lost by the change as such.
			if back := w.peek(traffik.Draw{Rate: w.rate, Now: d.Now, Class: d.Class}); back.Remaining != dec.Remaining {
				t.Fatalf("%+v: %d remain, then %d", w.strategy, dec.Remaining, back.Remaining)
			}
		})
	})
}

// Two processes that disagree about the limit, as during a deployment, admit no
// more than the more generous one alone. A key that a refund leaves untouched at one
// limit is so at the other, where a rollover has a larger carry then.
func TestPromise10TwoLimitsInTurn(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		f := features{force: true, refunds: !s.carries, turns: true}
		w := newWorld(t, s)
		checkBound(w, traceOfBound(w, f), w.ofProgress)
	})
}
