package promises

import (
	"cmp"
	"log/slog"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"pgregory.net/rapid"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/core/traffiktest"
	"github.com/traffik-go/traffik/internal/integration/fakememcached"
)

// maxSkew is how far apart the clocks of a fleet may be before items expire too early.
const maxSkew = time.Minute

// fleetSteps is the length of the longest trace; in a step each server may draw.
const fleetSteps = 20

// fleet is two to eight application servers that draw on one key of a Memcached, each
// with a clock of its own. The Memcached's clock is the true one.
type fleet struct {
	t        *rapid.T
	subject  *subject
	strategy traffik.Strategy
	rate     traffik.Rate
	store    *fakememcached.Server
	start    int64
	elapsed  int64 // of true time, in µs
	servers  []*appServer

	fastest  int64 // the latest reading that any clock would have now
	progress int64 // sum of its steps forward
	apart    int64 // the largest difference between two clocks so far
	stepped  bool  // a clock was set

	begun  []int64 // progress when each life of the key began: the store forgets it in between
	stamp  int64   // the time of the key
	stored bool    // it has a state
	past   []step  // draws and refunds of this life
	events []event // of all lives; a stretch is a life
	loans  []loan
}

// appServer is one of them. Its clock shows ahead + elapsed * (1 + drift/10^6).
type appServer struct {
	backend *traffikmemcached.Backend
	clock   *traffiktest.Clock
	ahead   int64
	drift   int64
}

// loan is a draw of which units may be refunded.
type loan struct {
	class string
	dec   traffik.Decision
	units int64
	event int
}

func newFleet(t *rapid.T, s *subject, client *memcache.Client, store *fakememcached.Server) *fleet {
	f := &fleet{t: t, subject: s, store: store, begun: []int64{0}}
	f.rate = traffik.Per(
		rapid.SampledFrom([]int64{1, 2, 5, 10, 100, 3_000_000}).Draw(t, "limit"),
		rapid.SampledFrom([]time.Duration{10 * time.Millisecond, time.Second, 10 * time.Second, time.Minute, 10 * time.Minute}).Draw(t, "period"),
	)
	f.strategy = s.make(t, f.rate)
	f.start = rapid.SampledFrom(append([]int64{1_790_000_000_123_457}, s.starts...)).Draw(t, "start")
	// Half of the fleets keep time as they should.
	most := int64(rapid.SampledFrom([]time.Duration{
		time.Millisecond, time.Second, maxSkew - time.Second, maxSkew - time.Second, 10 * time.Minute, time.Hour,
	}).Draw(t, "offsets") / time.Microsecond)
	for range rapid.IntRange(2, 8).Draw(t, "servers") {
		a := &appServer{
			clock: traffiktest.NewClock(time.UnixMicro(f.start)),
			ahead: rapid.Int64Range(0, most).Draw(t, "ahead"),
			drift: rapid.Int64Range(-30, 30).Draw(t, "drift in ppm"),
		}
		b, err := traffikmemcached.New(client, traffikmemcached.WithClock(a.clock), traffikmemcached.WithMaxSkew(maxSkew),
			traffikmemcached.WithLogger(slog.New(slog.DiscardHandler)))
		if err != nil {
			t.Fatal(err)
		}
		a.backend = b
		f.servers = append(f.servers, a)
	}
	f.fastest, f.apart = f.readings()
	return f
}

func (f *fleet) close() {
	for _, a := range f.servers {
		_ = a.backend.Close()
	}
}

// readings sets all clocks and returns the latest and the largest difference.
func (f *fleet) readings() (latest, apart int64) {
	earliest := int64(lastInstant)
	for _, a := range f.servers {
		now := f.start + a.ahead + f.elapsed + f.elapsed*a.drift/1_000_000
		a.clock.Set(traffik.Instant(now))
		latest, earliest = max(latest, now), min(earliest, now)
	}
	return latest, latest - earliest
}

func (f *fleet) observe() {
	latest, apart := f.readings()
	f.progress += max(0, latest-f.fastest)
	f.fastest, f.apart = latest, max(f.apart, apart)
}

// pass lets true time pass.
func (f *fleet) pass() {
	p := f.rate.Period().Microseconds()
	var by int64
	switch rapid.SampledFrom([]string{"stand", "stand", "stand", "tick", "unit", "part", "skew", "reset", "reset", "expire"}).Draw(f.t, "time") {
	case "tick":
		by = 1000
	case "unit":
		by = rapid.Int64Range(0, 1+3*(p/f.rate.Limit())).Draw(f.t, "by")
	case "part":
		by = rapid.Int64Range(0, p).Draw(f.t, "by")
	case "skew":
		by = rapid.Int64Range(0, 2*maxSkew.Microseconds()).Draw(f.t, "by")
	case "reset": // the key is as if untouched by the clock that wrote it, and the item is there
		by = f.reset() + rapid.Int64Range(0, maxSkew.Microseconds()).Draw(f.t, "by")
	case "expire": // the item is gone or about to go
		by = f.reset() + (maxSkew + 3*time.Second).Microseconds() - rapid.Int64Range(0, 3_000_000).Draw(f.t, "early")
	}
	f.elapsed += by
	f.store.Advance(time.Duration(by) * time.Microsecond)
	f.observe()
}

// reset is what was told of the key last, at most a day.
func (f *fleet) reset() int64 {
	if len(f.past) == 0 {
		return 0
	}
	return min(f.past[len(f.past)-1].dec.ResetAfter, 24*time.Hour).Microseconds()
}

// set sets a clock, forwards or backwards.
func (f *fleet) set() {
	f.stepped = true
	const most = int64(3 * time.Minute / time.Microsecond)
	f.servers[rapid.IntRange(0, len(f.servers)-1).Draw(f.t, "which")].ahead += rapid.Int64Range(-most, most).Draw(f.t, "set by")
	f.observe()
}

// notice begins a new life of the key if the store has forgotten it.
func (f *fleet) notice() {
	if f.store.Len() > 0 || len(f.past) == 0 {
		return
	}
	f.begun = append(f.begun, f.progress)
	f.stamp, f.stored, f.past = 0, false, nil
}

// take lets server a make d, checks what it is answered and returns the event, if units
// moved.
func (f *fleet) take(a *appServer, d traffik.Draw) (traffik.Decision, *event) {
	f.notice()
	own := int64(a.clock.Now())
	at := max(own, f.stamp)
	d.Now = traffik.Instant(at)
	want := f.subject.oracle(f.strategy, f.past, d)
	ops, out := []traffik.Op{f.op(d)}, make([]traffik.Decision, 1)
	if err := a.backend.Take(f.t.Context(), ops, out); err != nil {
		f.t.Fatal(err)
	}
	if told := f.told(want.dec, at-own); out[0] != told || ops[0].Draw.Now != d.Now {
		f.t.Fatalf("%+v: %+v of a server %d µs behind the key\n got %+v at %d\nwant %+v at %d", f.strategy, d, at-own, out[0], ops[0].Draw.Now, told, d.Now)
	}
	if d.Cost > 0 && want.dec.Allowed || d.Cost < 0 && f.stored {
		f.stamp, f.stored = at, true
		f.past = append(f.past, step{strategy: f.strategy, draw: d, dec: want.dec})
		if d.Cost < 0 {
			f.read(a, own)
		}
	}
	e := event{progress: f.progress, net: frac(d.Cost), of: -1, stretch: len(f.begun) - 1}
	switch {
	case d.Cost > 0 && want.dec.Allowed:
	case d.Cost < 0 && want.gave != nil:
		e.net = new(big.Rat).Neg(want.gave)
	default:
		return out[0], nil
	}
	f.events = append(f.events, e)
	return out[0], &f.events[len(f.events)-1]
}

func (f *fleet) op(d traffik.Draw) traffik.Op {
	return traffik.Op{Key: traffik.Key{Scope: store.ScopeOf("fleet", f.strategy.ID()), ID: "key"}, Strategy: f.strategy, Draw: d}
}

// read sees whether there is a state, and that its time is the key's.
func (f *fleet) read(a *appServer, own int64) {
	states, now, err := a.backend.ReadStates(f.t.Context(), []traffik.Key{f.op(traffik.Draw{}).Key}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.stored = states[0] != nil; int64(now) != max(own, f.stamp) {
		f.t.Fatalf("%+v: states are of %d, want %d or the key's %d", f.strategy, now, own, f.stamp)
	}
}

// told is dec for a server that is gap behind, as documented.
func (f *fleet) told(dec traffik.Decision, gap int64) traffik.Decision {
	plus := func(d, more time.Duration) time.Duration { return min(d+more, maxUnits*time.Microsecond) }
	dec.Ahead = time.Duration(gap) * time.Microsecond
	if gap > 0 && dec.RetryAfter > 0 && dec.RetryAfter != traffik.Never {
		most := max(dec.RetryAfter, plus(dec.ResetAfter, maxSkew+3*time.Second))
		dec.RetryAfter = min(plus(dec.RetryAfter, dec.Ahead), most)
	}
	dec.ResetAfter = plus(dec.ResetAfter, dec.Ahead)
	return dec
}

// step lets some server draw, look, or refund what some server drew; or all servers draw
// all they are let, the slowest clock first, which is the worst that can be.
func (f *fleet) step() {
	a := f.servers[rapid.IntRange(0, len(f.servers)-1).Draw(f.t, "server")]
	d := traffik.Draw{Rate: f.rate, Class: rapid.SampledFrom(f.subject.classes()).Draw(f.t, "class")}
	switch kind := rapid.SampledFrom([]string{"one", "few", "rest", "all", "all", "look", "refund", "refund"}).Draw(f.t, "kind"); kind {
	case "refund":
		f.refund(a, d)
		return
	case "one":
		d.Cost = 1
	case "few":
		d.Cost = rapid.Int64Range(1, 5).Draw(f.t, "cost")
	case "rest":
		f.drain(a, d)
		return
	case "all":
		slices.SortFunc(f.servers, func(a, b *appServer) int { return cmp.Compare(a.clock.Now(), b.clock.Now()) })
		for _, a := range f.servers {
			f.drain(a, d)
		}
		return
	}
	f.draw(a, d)
}

// drain draws what remains.
func (f *fleet) drain(a *appServer, d traffik.Draw) {
	look, _ := f.take(a, d)
	d.Cost = max(1, look.Remaining)
	f.draw(a, d)
}

// draw makes a draw that may be refunded.
func (f *fleet) draw(a *appServer, d traffik.Draw) {
	dec, e := f.take(a, d)
	if e != nil {
		f.loans = append(f.loans, loan{class: d.Class, dec: dec, units: d.Cost, event: len(f.events) - 1})
	}
}

// refund refunds units that were drawn and not refunded yet.
func (f *fleet) refund(a *appServer, d traffik.Draw) {
	if len(f.loans) == 0 {
		return
	}
	i := len(f.loans) - 1 - rapid.IntRange(0, min(5, len(f.loans)-1)).Draw(f.t, "of")
	l := &f.loans[i]
	units := l.units
	if rapid.Bool().Draw(f.t, "part of it") {
		units = rapid.Int64Range(1, units).Draw(f.t, "refunded")
	}
	d.Class, d.Cost, d.TakenAt, d.FreeAt = l.class, -units, l.dec.At, l.dec.FreeAt()
	if _, e := f.take(a, d); e != nil {
		e.of = l.event
	}
	if l.units -= units; l.units == 0 {
		f.loans = slices.Delete(f.loans, i, i+1)
	}
}

// bound is the documented envelope. With clocks that differ by maxSkew at most it is that
// of the fastest clock's progress and the largest difference; an item that expires
// changes nothing. Clocks further apart begin anew then.
func (f *fleet) bound(from, to event) *big.Rat {
	of := func(length int64) *big.Rat { return f.subject.bound(f.strategy, f.rate, length+f.apart) }
	sum, begin := frac(0), from.progress
	if !f.inTime() {
		for _, again := range f.begun[from.stretch+1 : to.stretch+1] {
			sum.Add(sum, of(again-begin))
			begin = again
		}
	}
	return sum.Add(sum, of(to.progress-begin))
}

// inTime reports whether no clock was set, and none is too far from another.
func (f *fleet) inTime() bool { return !f.stepped && f.apart <= maxSkew.Microseconds() }

// boundOfBuckets is tighter where items expire too early: each time up to one bucket more
// for each further server.
func (f *fleet) boundOfBuckets() *big.Rat {
	more := int64(len(f.begun)-1) * int64(len(f.servers)-1)
	return add(f.subject.bound(f.strategy, f.rate, f.progress+f.apart), mul(frac(more), f.subject.bound(f.strategy, f.rate, 0)))
}

// Several servers with clocks of their own, which differ, drift and are set, draw on one
// key of Memcached and refund, while the item may expire by Memcached's own clock: each
// answer is that of one clock that never goes back, and the servers together stay in the
// envelope.
func TestFleetOnMemcached(t *testing.T) {
	everySubject(t, func(t *rapid.T, s *subject) {
		store := fakememcached.New()
		defer store.Close()
		client := store.Client()
		defer func() { _ = client.Close() }()
		f := newFleet(t, s, client, store)
		defer f.close()
		sets := rapid.Bool().Draw(t, "clocks are set")
		for range rapid.IntRange(1, fleetSteps).Draw(t, "steps") {
			f.pass()
			if sets && rapid.IntRange(0, 4).Draw(t, "set one") == 0 {
				f.set()
			}
			f.step()
		}
		events := slices.Clone(f.events)
		if f.inTime() {
			for i := range events {
				events[i].stretch = 0
			}
		}
		w := &world{t: t, subject: s, strategy: f.strategy, rate: f.rate}
		checkBound(w, events, f.bound)
		if linear := s.fungible && s.name != "CostBasedTokenBucket"; linear && !f.stepped {
			sum := frac(0)
			for _, e := range events {
				sum.Add(sum, e.net)
			}
			if most := f.boundOfBuckets(); sum.Cmp(most) > 0 {
				t.Fatalf("%v units at %v by %+v of %d servers, while the item expired %d times; the bound is %v", sum, f.rate, f.strategy, len(f.servers), len(f.begun)-1, most)
			}
		}
	})
}
