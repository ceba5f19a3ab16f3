package promises

import (
	"math"
	"slices"
	"time"

	"pgregory.net/rapid"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

const (
	maxUnits = 1 << 53
	// lastInstant is the end of the time that strategies can store.
	lastInstant = maxUnits
	// maxSteps is the length of the longest trace.
	maxSteps = 30
)

// world is one key in a store that keeps what it is told, under a clock that
// the trace moves.
type world struct {
	t        *rapid.T
	subject  *subject
	strategy traffik.Strategy
	rate     traffik.Rate
	now      int64
	progress int64 // sum of the clock's steps forward
	stepped  bool  // the clock went back at least once
	// cuts is the progress at each step back.
	cuts []int64
	// forgets makes the store drop a state at its reset; forgotten is how many
	// steps of the past were.
	forgets   bool
	expires   int64
	forgotten int
	state     []byte
	past      []step
}

// step is one draw that was made, denied ones and looks included.
type step struct {
	strategy traffik.Strategy
	draw     traffik.Draw
	dec      traffik.Decision
	progress int64
	returned int64 // how much of it was refunded so far
}

// charged is the cost that the step added.
func (s *step) charged() int64 {
	if s.draw.Cost > 0 && s.dec.Allowed {
		return s.draw.Cost
	}
	return 0
}

// features choose what a trace may contain.
type features struct {
	stepsBack, force, refunds, changes bool
	// turns makes each step choose between two limits.
	turns bool
	// overflow allows forced charges after which the count stops at 2^53.
	overflow bool
}

var everything = features{stepsBack: true, force: true, refunds: true, changes: true, overflow: true}

func newWorld(t *rapid.T, s *subject) *world {
	w := &world{t: t, subject: s}
	w.rate = s.drawRate(t)
	w.strategy = s.make(t, w.rate)
	starts := []int64{1_790_000_000_123_457, 1_790_000_000_000_000, 0, 1, 9_999}
	start := rapid.SampledFrom(append(starts, s.starts...)).Draw(t, "start")
	w.now = min(lastInstant, start+rapid.Int64Range(0, 4*w.period()).Draw(t, "offset"))
	return w
}

func (w *world) period() int64 { return w.rate.Period().Microseconds() }

// anyRate is the rates of most subjects: tiny ones, whose corners a trace
// finds, and the extremes.
func anyRate(t *rapid.T) traffik.Rate {
	limit := rapid.OneOf(rapid.Int64Range(1, 12), rapid.SampledFrom([]int64{
		1, 100, 10_000, 3_000_000, maxUnits - 1, maxUnits,
	})).Draw(t, "limit")
	period := rapid.OneOf(rapid.Int64Range(1, 40), rapid.SampledFrom([]int64{
		1000, 1_000_000, 3_000_000, 60_000_000, 30 * 86_400_000_000, 100 * 365 * 86_400_000_000,
		200 * 365 * 86_400_000_000, maxUnits,
	})).Draw(t, "period in µs")
	return traffik.Per(limit, time.Duration(period)*time.Microsecond)
}

// move lets the clock run, or step back.
func (w *world) move(f features) {
	p := w.period()
	kinds := []string{"stay", "stay", "tick", "tick", "unit", "part", "edge", "far", "answer"}
	if f.stepsBack {
		kinds = append(kinds, "back a tick", "back", "back far")
	}
	var by int64
	switch rapid.SampledFrom(kinds).Draw(w.t, "clock") {
	case "tick":
		by = 1
	case "unit":
		by = rapid.Int64Range(0, 1+3*(p/w.rate.Limit())).Draw(w.t, "by")
	case "part":
		by = rapid.Int64Range(0, p).Draw(w.t, "by")
	case "edge":
		by = p - w.now%p + rapid.Int64Range(-1, 1).Draw(w.t, "by")
	case "far":
		by = rapid.Int64Range(0, 3*p).Draw(w.t, "by")
	case "answer": // what the last decision named, or one less
		if len(w.past) > 0 {
			dec := w.past[len(w.past)-1].dec
			wait := rapid.SampledFrom([]time.Duration{dec.RetryAfter, dec.ResetAfter}).Draw(w.t, "after")
			if wait != traffik.Never {
				by = max(0, wait.Microseconds()-rapid.Int64Range(0, 1).Draw(w.t, "early"))
			}
		}
	case "back a tick":
		by = -1
	case "back":
		by = -rapid.Int64Range(0, p).Draw(w.t, "by")
	case "back far":
		by = -rapid.Int64Range(0, 5*p).Draw(w.t, "by")
	}
	to := min(max(0, w.now+by), lastInstant)
	w.progress += max(0, to-w.now)
	if to < w.now {
		w.stepped = true
		w.cuts = append(w.cuts, w.progress)
	}
	w.now = to
	if w.forgets && w.expires <= w.now {
		w.state, w.forgotten = nil, len(w.past)
	}
}

// change sets another rate, other parameters or both.
func (w *world) change() {
	switch rapid.SampledFrom([]string{"none", "none", "none", "rate", "limit", "parameters", "both"}).Draw(w.t, "change") {
	case "rate":
		w.rate = w.subject.drawRate(w.t)
	case "limit":
		w.rate = traffik.Per(rapid.Int64Range(1, 12).Draw(w.t, "limit"), w.rate.Period())
	case "parameters":
		w.strategy = w.subject.make(w.t, w.rate)
	case "both":
		w.rate = w.subject.drawRate(w.t)
		w.strategy = w.subject.make(w.t, w.rate)
	}
}

// someDraw chooses the next draw.
func (w *world) someDraw(f features) traffik.Draw {
	class := rapid.SampledFrom(w.subject.classes()).Draw(w.t, "class")
	kinds := []string{"take", "take", "take", "take", "take", "look", "huge"}
	if f.refunds {
		kinds = append(kinds, "refund", "refund")
	}
	if f.force && (f.overflow || w.rate.Limit() < 1<<50) {
		kinds = append(kinds, "force")
	}
	d := traffik.Draw{Rate: w.rate, Now: traffik.Instant(w.now), Class: class}
	switch rapid.SampledFrom(kinds).Draw(w.t, "kind") {
	case "take":
		d.Cost = w.someCost(class)
	case "huge":
		d.Cost = rapid.SampledFrom([]int64{maxUnits, maxUnits + 1, math.MaxInt64}).Draw(w.t, "cost")
	case "force":
		d.Cost = w.someCost(class)
		if f.overflow && rapid.IntRange(0, 5).Draw(w.t, "far over") == 0 {
			d.Cost = rapid.SampledFrom([]int64{maxUnits - 1, maxUnits, math.MaxInt64}).Draw(w.t, "cost")
		}
		d.Force = true
	case "refund":
		w.someRefund(&d)
	}
	d.Cost = store.ClampCost(d.Cost)
	return d
}

// someCost is a cost near what matters: what remains and what the limit is.
func (w *world) someCost(class string) int64 {
	look := w.peek(traffik.Draw{Rate: w.rate, Now: traffik.Instant(w.now), Class: class})
	switch rapid.SampledFrom([]string{"one", "few", "any", "rest", "more", "limit", "over"}).Draw(w.t, "size") {
	case "few":
		return rapid.Int64Range(1, 5).Draw(w.t, "cost")
	case "any":
		return rapid.Int64Range(1, look.Limit).Draw(w.t, "cost")
	case "rest":
		return max(1, look.Remaining)
	case "more":
		return look.Remaining + 1
	case "limit":
		return look.Limit
	case "over":
		return look.Limit + 1
	}
	return 1
}

// someRefund makes d a refund of anything, rightful or not.
func (w *world) someRefund(d *traffik.Draw) {
	d.Cost = -rapid.SampledFrom([]int64{1, 2, 5, 100, maxUnits, math.MaxInt64}).Draw(w.t, "given")
	switch rapid.SampledFrom([]string{"now", "past", "past", "near", "future", "earlier"}).Draw(w.t, "taken") {
	case "past", "near":
		if len(w.past) == 0 {
			return
		}
		s := &w.past[rapid.IntRange(0, len(w.past)-1).Draw(w.t, "of")]
		s.named(d)
		if rapid.IntRange(0, 3).Draw(w.t, "free at is not known") == 0 {
			d.FreeAt = 0
		}
		if s.charged() > 0 && rapid.Bool().Draw(w.t, "all of it") {
			d.Cost = -s.charged()
		}
	case "future":
		d.TakenAt = d.Now + traffik.Instant(rapid.Int64Range(1, w.period()).Draw(w.t, "ahead"))
	case "earlier":
		d.TakenAt = max(0, d.Now-traffik.Instant(rapid.Int64Range(0, 3*w.period()).Draw(w.t, "before")))
		if rapid.Bool().Draw(w.t, "free at some instant") {
			d.FreeAt = min(lastInstant, d.Now+traffik.Instant(rapid.Int64Range(0, 3*w.period()).Draw(w.t, "free")))
		}
	}
}

// named makes d say which draw it refunds: s.
func (s *step) named(d *traffik.Draw) {
	d.Class, d.TakenAt, d.Delay = s.draw.Class, s.dec.At, s.dec.Delay
	d.FreeAt = min(lastInstant, s.dec.At+traffik.Instant(s.dec.ResetAfter.Microseconds()))
}

// honestRefund makes a refund of units that were drawn and not refunded yet, and
// reports which step drew them.
func (w *world) honestRefund() (d traffik.Draw, of int, ok bool) {
	var able []int
	for i := range w.past {
		// An instant of 0 would mean now.
		if w.past[i].charged() > w.past[i].returned && w.past[i].dec.At > 0 {
			able = append(able, i)
		}
	}
	if len(able) == 0 {
		return d, 0, false
	}
	of = rapid.SampledFrom(able).Draw(w.t, "of")
	s := &w.past[of]
	units := min(maxUnits, s.charged()) - s.returned
	if units <= 0 {
		return d, 0, false
	}
	if rapid.Bool().Draw(w.t, "part of it") {
		units = rapid.Int64Range(1, units).Draw(w.t, "given")
	}
	s.returned += units
	d = traffik.Draw{Rate: w.rate, Now: traffik.Instant(w.now), Cost: -units}
	s.named(&d)
	return d, of, true
}

// peek decides d and changes nothing.
func (w *world) peek(d traffik.Draw) traffik.Decision {
	return decideOn(w.t, w.strategy, w.state, d).dec
}

// take makes the draw and stores what the strategy says.
func (w *world) take(d traffik.Draw) traffik.Decision {
	a := decideOn(w.t, w.strategy, w.state, d)
	checkDecision(w.t, w.subject, w.strategy, w.state, d, a)
	w.commit(d, a)
	return a.dec
}

func (w *world) commit(d traffik.Draw, a outcome) {
	switch {
	case len(a.next) > 0:
		w.state = a.next
		w.expires = expiry(d, a.dec)
	case d.Cost < 0:
		w.state = nil
	}
	w.past = append(w.past, step{strategy: w.strategy, draw: d, dec: a.dec, progress: w.progress})
}

// expiry is when a store may drop what was written with dec.
func expiry(d traffik.Draw, dec traffik.Decision) int64 {
	if dec.ResetAfter.Microseconds() == maxUnits {
		return math.MaxInt64 // stopped counting
	}
	return int64(d.Now) + dec.ResetAfter.Microseconds()
}

// trace makes draws, each after a move of the clock.
func (w *world) trace(f features, each func(d traffik.Draw)) {
	for range rapid.IntRange(1, maxSteps).Draw(w.t, "steps") {
		w.move(f)
		if f.changes {
			w.change()
		}
		each(w.someDraw(f))
	}
}

// outcome is all that Decide returns.
type outcome struct {
	next []byte
	dec  traffik.Decision
}

// fataler is what checks need of rapid.T and testing.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// decideOn calls Decide and sees to it that state and the front of dst are left
// alone.
func decideOn(t fataler, s traffik.Strategy, state []byte, d traffik.Draw) outcome {
	t.Helper()
	given, drawn := slices.Clone(state), d
	front := []byte("front")
	next, dec := s.Decide(slices.Clone(front), given, &drawn)
	switch {
	case !slices.Equal(given, state):
		t.Fatalf("%T wrote to the state it was given for %+v", s, d)
	case drawn != d:
		t.Fatalf("%T wrote to its draw: %+v became %+v", s, d, drawn)
	case len(next) < len(front) || !slices.Equal(next[:len(front)], front):
		t.Fatalf("%T did not append: %q", s, next)
	}
	return outcome{next: next[len(front):], dec: dec}
}

// checkDecision checks what holds for every decision on any state.
func checkDecision(t fataler, sub *subject, s traffik.Strategy, before []byte, d traffik.Draw, a outcome) {
	t.Helper()
	dec := a.dec
	bad := func(what string) {
		t.Helper()
		t.Fatalf("%s\nstrategy %+v\ndraw %+v\ndecision %+v\nnext %x", what, s, d, dec, a.next)
	}
	whole := func(x time.Duration) bool { return x >= 0 && x%time.Microsecond == 0 && x.Microseconds() <= maxUnits }
	switch {
	case dec.Limit < 1:
		bad("no limit")
	case dec.Remaining < 0 || dec.Remaining > dec.Limit:
		bad("Remaining is out of range")
	case dec.Allowed && dec.RetryAfter != 0:
		bad("allowed with a RetryAfter")
	case !dec.Allowed && dec.RetryAfter <= 0:
		bad("denied without a RetryAfter")
	case !dec.Allowed && (d.Cost <= 0 || d.Force):
		bad("denied what is always allowed")
	case dec.RetryAfter != traffik.Never && !whole(dec.RetryAfter), !whole(dec.ResetAfter), !whole(dec.Delay):
		bad("a time is no whole number of microseconds in range")
	case dec.RetryAfter != traffik.Never && dec.RetryAfter > dec.ResetAfter && !sub.retryPastReset:
		bad("RetryAfter is past ResetAfter")
	case dec.Delay != 0 && (!sub.delays || !dec.Allowed || d.Cost <= 0):
		bad("a Delay that means nothing")
	case dec.At < d.Now:
		bad("recorded before it happened")
	case d.Cost > 0 && dec.Allowed && len(a.next) == 0:
		bad("charged and stored nothing")
	case d.Cost > 0 && !d.Force && !dec.Allowed && d.Cost <= dec.Remaining:
		bad("denied what remains")
	}
	// A refund or a repair of what was stored before a parameter was lowered may
	// be as long as that was.
	if sizer, ok := s.(traffik.StateSizer); ok && len(a.next) > sizer.MaxStateBytes(d.Rate) && (d.Cost > 0 && dec.Allowed || len(a.next) > len(before)) {
		bad("a state longer than MaxStateBytes")
	}
}
