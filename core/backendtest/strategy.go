package backendtest

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

const (
	// traces is how many traces of steps draws RunStrategy plays for each promise, the
	// same on each run.
	traces = 300
	steps  = 30

	maxUnits = traffik.MaxUnits
	// afterAll is the last instant that strategies can store.
	afterAll traffik.Instant = maxUnits
)

// RunStrategy checks a strategy, such as a custom one, against the promises of
// [traffik.Strategy] on random traces of draws, looks, refunds and steps of the clock, at
// small and at extreme rates:
//
//	func TestDaily(t *testing.T) { backendtest.RunStrategy(t, Daily{}) }
//
// Draws carry the given classes, "" if there are none. It can check neither the bound, which
// only the strategy knows, nor a store's form of the strategy. It checks only the parameters
// that s has, so run it for several.
func RunStrategy(t *testing.T, s traffik.Strategy, classes ...string) {
	t.Helper()
	if len(classes) == 0 {
		classes = []string{""}
	}
	for _, p := range promises {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(traces) {
				playTrace(t, s, classes, seed, p)
				if t.Failed() {
					t.Fatalf("in trace %d", seed)
				}
			}
		})
	}
}

// promise is checked after each step of a trace. d was decided on the state before; the
// trial has the state that a store has since.
type promise struct {
	name  string
	back  bool // the clock may step back
	check func(tr *trial, before []byte, d traffik.Draw, next []byte, dec traffik.Decision)
}

var promises = []promise{
	{name: "Decision", back: true, check: checkAnswer},
	{name: "RetryAfterIsExact", back: true, check: checkRetry},
	{name: "RemainingIsTrue", back: true, check: checkRemaining},
	{name: "DeniedDrawsChangeNothing", check: checkDenied},
	{name: "RefundIsTheInverse", back: true, check: checkRefund},
	{name: "RefundsRestoreNothingThatExpired", check: checkLateRefund},
	{name: "ResetAfterIsTrue", back: true, check: checkReset},
	{name: "AnyBytes", back: true, check: checkBytes},
	{name: "ChangesHandOutNoQuota", back: true, check: checkChange},
}

// trial is one key under a clock that the trace moves.
type trial struct {
	*testing.T
	strategy traffik.Strategy
	classes  []string
	rnd      *rand.Rand
	rate     traffik.Rate
	now      traffik.Instant
	state    []byte
	last     traffik.Decision
	queues   bool // the strategy tells callers when to start
}

func playTrace(t *testing.T, s traffik.Strategy, classes []string, seed uint64, p promise) {
	t.Helper()
	tr := &trial{T: t, strategy: s, classes: classes, rnd: rand.New(rand.NewPCG(seed, 42)), now: epoch} //nolint:gosec // reproducible, not secret
	tr.rate = tr.someRate()
	tr.queues = queues(s)
	for range steps {
		tr.move(p.back)
		d := tr.someDraw()
		before := tr.state
		next, dec := tr.decide(before, d)
		switch {
		case len(next) > 0:
			tr.state = next
		case d.Cost < 0:
			tr.state = nil
		}
		tr.last = dec
		p.check(tr, before, d, next, dec)
	}
}

// queues reports whether s makes the second of two draws wait.
func queues(s traffik.Strategy) bool {
	d := traffik.Draw{Rate: traffik.Per(1, time.Minute), Now: epoch, Cost: 1, Force: true}
	state, _ := s.Decide(nil, nil, &d)
	_, dec := s.Decide(nil, state, &d)
	return dec.Delay > 0
}

// someRate favors tiny limits, which a trace of 30 steps exhausts, and extremes, where
// products need 128 bits and instants are too coarse.
func (tr *trial) someRate() traffik.Rate {
	limits := []int64{1, 2, 3, 5, 10, 100, 3_000_000, maxUnits}
	periods := []time.Duration{10 * time.Microsecond, 7 * time.Millisecond, time.Second, time.Minute, 30 * 24 * time.Hour}
	return traffik.Per(limits[tr.rnd.IntN(len(limits))], periods[tr.rnd.IntN(len(periods))])
}

// move lets the clock stand, run or step back.
func (tr *trial) move(back bool) {
	period := int64(tr.rate.Period())
	var by time.Duration
	switch kind := tr.rnd.IntN(8); {
	case kind == 0:
		by = time.Microsecond
	case kind == 1 && tr.last.RetryAfter < tr.rate.Period():
		by = tr.last.RetryAfter
	case kind <= 3:
		by = time.Duration(tr.rnd.Int64N(period))
	case kind == 4:
		by = time.Duration(tr.rnd.Int64N(3 * period))
	case kind == 5 && back:
		by = -time.Duration(tr.rnd.Int64N(3 * period))
	}
	tr.now = tr.now.Add(by)
}

// someDraw favors costs at the edge of what fits now: exactly the rest, one more, the whole
// limit, and the ends of int64.
func (tr *trial) someDraw() traffik.Draw {
	d := traffik.Draw{Rate: tr.rate, Now: tr.now, Class: tr.classes[tr.rnd.IntN(len(tr.classes))]}
	_, look := tr.decide(tr.state, d)
	costs := []int64{
		0, 1, 1, 2, 3, look.Remaining, look.Remaining, look.Remaining + 1, look.Limit, look.Limit + 1,
		-1, -2, -look.Limit, maxUnits, maxUnits + 1, math.MaxInt64, math.MinInt64,
	}
	d.Cost = store.ClampCost(costs[tr.rnd.IntN(len(costs))])
	if d.Cost < 0 && tr.rnd.IntN(2) == 0 {
		d = traffik.Op{Draw: d}.Refund(&tr.last, -d.Cost).Draw
	}
	return d
}

// decide calls the strategy and checks that it changes nothing that it was given.
func (tr *trial) decide(state []byte, d traffik.Draw) (next []byte, dec traffik.Decision) {
	tr.Helper()
	given, drawn := slices.Clone(state), d
	next, dec = tr.strategy.Decide([]byte("before"), given, &drawn)
	if !slices.Equal(given, state) || drawn != d {
		tr.Fatalf("Decide wrote to its state or its draw: %+v became %+v", d, drawn)
	}
	if !strings.HasPrefix(string(next), "before") {
		tr.Fatalf("Decide did not append: %q", next)
	}
	return next[len("before"):], dec
}

// at returns what the key would answer to cost at an instant.
func (tr *trial) at(now traffik.Instant, d traffik.Draw, cost int64) traffik.Decision {
	tr.Helper()
	_, dec := tr.decide(tr.state, traffik.Draw{Rate: d.Rate, Class: d.Class, Now: now, Cost: store.ClampCost(cost)})
	return dec
}

// checkAnswer checks each Decision alone: its fields are in range and don't contradict each
// other.
func checkAnswer(tr *trial, before []byte, d traffik.Draw, next []byte, dec traffik.Decision) {
	tr.Helper()
	whole := func(x time.Duration) bool { return x >= 0 && x%time.Microsecond == 0 && x <= maxUnits*time.Microsecond }
	wrong := ""
	switch sizer, sized := tr.strategy.(traffik.StateSizer); {
	case dec.Limit < 1 || dec.Remaining < 0 || dec.Remaining > dec.Limit:
		wrong = "Remaining is not within 0 and Limit"
	case dec.Allowed != (dec.RetryAfter == 0):
		wrong = "Allowed and RetryAfter don't agree"
	case d.Cost <= 0 && !dec.Allowed:
		wrong = "looks and refunds are always allowed"
	case d.Cost > maxUnits && dec.RetryAfter != traffik.Never:
		wrong = "a cost above 2^53 is Never"
	case dec.RetryAfter != traffik.Never && !whole(dec.RetryAfter), !whole(dec.ResetAfter), !whole(dec.Delay):
		wrong = "a time is no whole number of microseconds from 0 to 2^53"
	case dec.At < d.Now:
		wrong = "recorded before it happened"
	case d.Cost > 0 && dec.Allowed && len(next) == 0:
		wrong = "charged, and nothing to store"
	case sized && len(next) > sizer.MaxStateBytes(d.Rate):
		wrong = "longer than MaxStateBytes"
	}
	if wrong != "" {
		tr.Errorf("%s: %+v on %x: %+v, next %x", wrong, d, before, dec, next)
	}
}

// checkRetry: the wait is neither too long nor too short, to the microsecond. At the end of
// time there is no later instant to try.
func checkRetry(tr *trial, _ []byte, d traffik.Draw, _ []byte, dec traffik.Decision) {
	tr.Helper()
	if dec.Allowed || dec.RetryAfter >= maxUnits*time.Microsecond || d.Now.Add(dec.RetryAfter) >= afterAll {
		return
	}
	if again := tr.at(d.Now.Add(dec.RetryAfter), d, d.Cost); !again.Allowed {
		tr.Errorf("%+v: %+v, and then still denied: %+v", d, dec, again)
	}
	if again := tr.at(d.Now.Add(dec.RetryAfter-time.Microsecond), d, d.Cost); again.Allowed {
		tr.Errorf("%+v: %+v, and a microsecond earlier admitted: %+v", d, dec, again)
	}
}

// checkRemaining tries the reported rest, and one unit more.
func checkRemaining(tr *trial, _ []byte, d traffik.Draw, _ []byte, dec traffik.Decision) {
	tr.Helper()
	if rest := tr.at(d.Now, d, dec.Remaining); !rest.Allowed {
		tr.Errorf("%+v: %+v, and the rest is denied: %+v", d, dec, rest)
	}
	if more := tr.at(d.Now, d, dec.Remaining+1); more.Allowed {
		tr.Errorf("%+v: %+v, and one more is admitted: %+v", d, dec, more)
	}
}

// checkDenied plays under a clock that never steps back, so there is nothing to repair.
func checkDenied(tr *trial, before []byte, d traffik.Draw, next []byte, dec traffik.Decision) {
	tr.Helper()
	if (d.Cost == 0 || !dec.Allowed) && len(next) > 0 {
		tr.Errorf("%+v on %x: %+v, and stores %x for nothing", d, before, dec, next)
	}
}

// checkRefund: a refund at the instant of its draw restores what a look saw before. No
// refund leaves more than an untouched key has, and none creates a state.
func checkRefund(tr *trial, before []byte, d traffik.Draw, _ []byte, dec traffik.Decision) {
	tr.Helper()
	if d.Cost <= 0 || !dec.Allowed {
		return
	}
	look, refund := d, traffik.Op{Draw: d}.Refund(&dec, d.Cost).Draw
	look.Cost = 0
	_, was := tr.decide(before, look)
	given, _ := tr.decide(tr.state, refund)
	if l, p := d.Rate.Fraction(); tr.queues && (dec.Delay == 0 || 2*l > p || dec.FreeAt() == afterAll) {
		_, was = tr.decide(tr.state, look) // it has started, or no instant can tell whether it is the last
	}
	if _, is := tr.decide(given, look); is.Remaining != was.Remaining || is.Limit != was.Limit {
		tr.Errorf("%+v drawn and refunded: %+v, before %+v", d, is, was)
	}
	refund.Cost = -maxUnits
	_, fresh := tr.decide(nil, look)
	if _, all := tr.decide(tr.state, refund); all.Remaining > fresh.Remaining {
		tr.Errorf("%+v: after a refund %d remain, of an untouched key %d", refund, all.Remaining, fresh.Remaining)
	}
	if next, _ := tr.decide(nil, refund); len(next) > 0 {
		tr.Errorf("%+v: a refund to an untouched key stores %x", refund, next)
	}
}

// checkLateRefund refunds d when nothing of it is left on the key, and something else was
// drawn there.
func checkLateRefund(tr *trial, _ []byte, d traffik.Draw, _ []byte, dec traffik.Decision) {
	tr.Helper()
	if d.Cost <= 0 || !dec.Allowed || dec.FreeAt() == afterAll {
		return
	}
	since := traffik.Draw{Rate: d.Rate, Class: d.Class, Now: dec.FreeAt().Add(time.Duration(tr.rnd.IntN(3)) * time.Microsecond)}
	_, fresh := tr.decide(nil, since)
	since.Cost = max(1, fresh.Remaining)
	state, drawn := tr.decide(nil, since)
	refund := traffik.Op{Draw: since}.Refund(&dec, min(d.Cost, maxUnits)).Draw
	if _, after := tr.decide(state, refund); after.Remaining != drawn.Remaining {
		tr.Errorf("%+v: %+v, refunded at %d: %+v, before %+v", d, dec, since.Now, after, drawn)
	}
}

// checkReset: at ResetAfter the key answers like an untouched one, and a microsecond
// earlier it doesn't.
func checkReset(tr *trial, _ []byte, d traffik.Draw, _ []byte, dec traffik.Decision) {
	tr.Helper()
	reset := d.Now.Add(dec.ResetAfter)
	if dec.ResetAfter >= maxUnits*time.Microsecond || reset >= afterAll {
		return
	}
	for _, cost := range []int64{0, 1, dec.Limit} {
		then := traffik.Draw{Rate: d.Rate, Class: d.Class, Now: reset, Cost: cost}
		next, kept := tr.decide(tr.state, then)
		if want, fresh := tr.decide(nil, then); kept != fresh || !bytes.Equal(next, want) {
			tr.Errorf("%+v: after it %+v, an untouched key %+v", dec, kept, fresh)
		}
	}
	if early := tr.at(reset-1, d, 0); dec.ResetAfter > 0 && early.ResetAfter != time.Microsecond {
		tr.Errorf("%+v: a microsecond before it %+v", dec, early)
	}
}

// checkBytes decides on bytes that no strategy wrote, where only a panic is wrong, and on
// damaged states, which read as untouched.
func checkBytes(tr *trial, _ []byte, d traffik.Draw, _ []byte, _ traffik.Decision) {
	tr.Helper()
	noise := make([]byte, tr.rnd.IntN(80))
	for i := range noise {
		noise[i] = byte(tr.rnd.Uint32())
	}
	tr.decide(noise, d)
	if len(tr.state) == 0 {
		return
	}
	other := slices.Clone(tr.state)
	other[0] ^= 0xff
	_, fresh := tr.decide(nil, d)
	for _, damaged := range [][]byte{other, tr.state[:len(tr.state)-1]} {
		if _, dec := tr.decide(damaged, d); dec != fresh {
			tr.Errorf("%+v on the damaged state %x: %+v, on an untouched key %+v", d, damaged, dec, fresh)
		}
	}
}

// checkChange: another rate counts what was drawn under this one.
func checkChange(tr *trial, _ []byte, d traffik.Draw, _ []byte, dec traffik.Decision) {
	tr.Helper()
	if d.Cost <= 0 || !dec.Allowed {
		return
	}
	other := d
	other.Rate, other.Cost = tr.someRate(), 0
	_, fresh := tr.decide(nil, other)
	if _, got := tr.decide(tr.state, other); got.Remaining > max(0, fresh.Remaining-d.Cost) {
		tr.Errorf("%+v: at %v %d remain, of an untouched key %d", d, other.Rate, got.Remaining, fresh.Remaining)
	}
}
