package traffik

import (
	"unique"

	"github.com/traffik-go/traffik/core/internal/count"
)

const (
	// inlineStateBytes is the longest state kept inside its entry: that of
	// every strategy with a state of constant size.
	inlineStateBytes = 1 + 5*8
	// inlineIDBytes is the longest identity that its entry keeps as it is: every
	// IPv4 address fits. Of a longer one it keeps the fingerprint.
	inlineIDBytes = 18
	// fingerprinted is the length of an identity of which that is kept.
	fingerprinted = 255
	// elsewhere is the length of a state that is kept beside its rest.
	elsewhere = 255
)

// entry is one key with its state: one cache line, so that a hit waits for the
// memory once.
type entry struct {
	// by is who wrote the state, if it is kept in integers: numbers has them. It
	// is nil if the state is kept in bytes, in rest. Who needs the other form
	// converts it. An entry with neither is free.
	by   *counting
	rest *rest
	// hash is the half of the hash that finds the entry's slot.
	hash     uint32
	idLength uint8
	marks    marks
	id       [inlineIDBytes]byte
	numbers  [3]int64
}

// marks are set on an entry.
type marks uint8

const (
	denied   marks = 1 << iota // the last draw was denied
	reserved                   // a victim, or drawn on, of the Take under way
)

// rest is what has no room in an entry: a state in bytes, with what would be found
// by a look at integers.
type rest struct {
	scope unique.Handle[string]
	// reset is when the key will be as if untouched, share the part of its limit
	// that the last decision left.
	reset  Instant
	share  float64
	big    *[]byte // a state that is longer than inline
	length uint8   // of the state in inline, or elsewhere
	inline [inlineStateBytes]byte
}

// counting is a strategy at a rate whose states are kept as plain integers: to
// write floats and read them back takes longer than to decide.
type counting struct {
	scope    unique.Handle[string]
	strategy Strategy
	rate     Rate
	// period, of a FixedWindow, is that of the rate in microseconds: the numbers
	// are those of a fixedCount. It is 0 for the linear strategies, which have a
	// capacity: the numbers are T, N and R of a count.Linear over the rate's P.
	period, capacity int64
}

// countingOf returns nil for a strategy whose states are kept as it writes them.
func countingOf(scope unique.Handle[string], strategy Strategy, rate Rate) *counting {
	c := &counting{scope: scope, strategy: strategy, rate: rate}
	switch s := strategy.(type) {
	case FixedWindow:
		c.period = rate.periodMicros()
	case TokenBucket:
		c.capacity = s.capacity(rate)
	case GCRA:
		c.capacity = s.capacity()
	case LeakyBucket:
		c.capacity = orLimit(s.Capacity, rate)
	default:
		return nil
	}
	return c
}

func (c *counting) isFixed() bool { return c.period > 0 }

func (e *entry) beside() *rest {
	if e.rest == nil {
		e.rest = new(rest)
	}
	return e.rest
}

func (e *entry) live() bool { return e.by != nil || e.rest != nil }

func (e *entry) scope() unique.Handle[string] {
	if e.by != nil {
		return e.by.scope
	}
	return e.rest.scope
}

// named reports whether e is that of id.
func (e *entry) named(id string) bool {
	if n := int(e.idLength); n == len(id) && n <= inlineIDBytes {
		return string(e.id[:n]) == id
	}
	return len(id) > inlineIDBytes && e.idLength == fingerprinted && [fingerprintBytes]byte(e.id[:]) == fingerprint(id)
}

func (e *entry) setID(id string) {
	if len(id) <= inlineIDBytes {
		e.idLength = uint8(copy(e.id[:], id))
		return
	}
	print := fingerprint(id)
	copy(e.id[:], print[:])
	e.idLength = fingerprinted
}

// state returns the state as its strategy writes it, in memory of e or buf.
func (e *entry) state(buf []byte) []byte {
	switch {
	case e.by != nil && e.by.isFixed():
		return e.fixed().append(buf[:0])
	case e.by != nil:
		s := e.linear()
		return s.Append(buf[:0])
	case e.rest == nil:
		return nil
	case e.rest.length == elsewhere:
		return *e.rest.big
	}
	return e.rest.inline[:e.rest.length]
}

func (e *entry) setState(state []byte) {
	r := e.beside()
	if e.by != nil {
		r.scope, e.by = e.by.scope, nil
	}
	if len(state) <= inlineStateBytes {
		r.length = uint8(copy(r.inline[:], state))
		return
	}
	if r.big == nil {
		r.big = new([]byte)
	}
	r.length, *r.big = elsewhere, append((*r.big)[:0], state...)
}

func (e *entry) fixed() fixedCount {
	if e.by == nil || !e.by.isFixed() {
		return e.readFixed()
	}
	return fixedCount{t: e.numbers[0], n: e.numbers[1]}
}

func (e *entry) setFixed(by *counting, c fixedCount) {
	e.by, e.numbers[0], e.numbers[1] = by, c.t, c.n
}

func (e *entry) linear() count.Linear {
	if e.by == nil || e.by.isFixed() {
		return e.readLinear()
	}
	return count.Linear{T: e.numbers[0], N: e.numbers[1], R: e.numbers[2], P: e.by.rate.micros}
}

func (e *entry) setLinear(by *counting, s *count.Linear) {
	e.by, e.numbers[0], e.numbers[1], e.numbers[2] = by, s.T, s.N, s.R
}

func (e *entry) readFixed() fixedCount { return readFixed(e.state(nil)) }

func (e *entry) readLinear() (s count.Linear) {
	s.Read(e.state(nil))
	return s
}

// store keeps a decision and the next state that came with it, if any.
func (e *entry) store(d *Draw, next []byte, dec *Decision) {
	if len(next) > 0 {
		e.setState(next)
		// Only with a write: a look or a denial under another rate may see the
		// key expire sooner, and must not make it.
		e.rest.reset = d.Now.Add(dec.ResetAfter)
	}
	e.marked(d, dec)
	if d.Cost > 0 && !dec.Allowed {
		e.extendExpiry(d.Now, dec)
	}
	if e.by == nil {
		e.beside().share = shareLeft(dec)
	}
}

// stays sees to it that e, which a draw at now was denied by, is kept for as long as
// that says: its state may have been written under a shorter rate. In bytes it has a
// time of its own.
func (e *entry) extendExpiry(now Instant, dec *Decision) {
	if !e.live() {
		return // it has no state
	}
	until := now.Add(dec.ResetAfter)
	if reset, _ := e.stand(now); reset >= until || until <= now {
		return
	}
	if e.by != nil {
		e.setState(e.state(nil))
	}
	e.rest.reset = until
}

// marked marks what became of d. A look keeps the mark: only a draw shows whether
// the caller still knocks in vain.
func (e *entry) marked(d *Draw, dec *Decision) {
	if d.Cost <= 0 {
		return
	}
	e.marks &^= denied
	if !dec.Allowed {
		e.marks |= denied
	}
}

func shareLeft(dec *Decision) float64 { return float64(dec.Remaining) / float64(dec.Limit) }

// draw decides d, which takes units, by c and keeps what it says.
func (e *entry) draw(c *counting, d *Draw, dec *Decision) {
	e.decide(c, d, dec)
	e.markDenied(dec.Allowed)
	if !dec.Allowed && e.by != c {
		e.extendExpiry(d.Now, dec)
	}
	e.leaves(dec)
}

// decide decides d, which gives nothing back, by c. Nothing of e but its numbers
// changes.
func (e *entry) decide(c *counting, d *Draw, dec *Decision) {
	if c.isFixed() {
		s := e.fixed()
		if s.draw(d, dec) {
			e.setFixed(c, s)
		}
	} else {
		s := e.linear()
		if drawLinear(&s, d, c.capacity, dec) {
			e.setLinear(c, &s)
		}
	}
}

// leaves notes what a decision left, if e has a state in bytes to which it wrote
// nothing.
func (e *entry) leaves(dec *Decision) {
	if e.by == nil && e.rest != nil {
		e.rest.share = shareLeft(dec)
	}
}

// markDenied marks what became of a draw that is no part of a plan.
func (e *entry) markDenied(allowed bool) {
	e.marks = denied
	if allowed {
		e.marks = 0
	}
}

// hit is draw in short, for a draw of cost units by who wrote the state. It
// answers into the zero dec, or does nothing and reports false where the short
// way ends: in another window than the one counted, or when the clock has
// stepped back.
func (e *entry) hit(now, cost int64, dec *Decision) bool {
	c := e.by
	if c.isFixed() {
		w := count.WindowOf(now, c.period)
		s := fixedCount{t: e.numbers[0], n: e.numbers[1]}
		if !w.Holds(s.t) {
			return false
		}
		if s.hit(w, now, cost, c.rate.limit, dec) {
			e.setFixed(c, s)
		}
	} else {
		s := count.Linear{T: e.numbers[0], N: e.numbers[1], R: e.numbers[2], P: c.rate.micros}
		if now < s.T {
			return false
		}
		s.Leak(now, c.rate.units)
		if hitLinear(&s, now, cost, c.capacity, c.rate.units, dec) {
			e.setLinear(c, &s)
		}
	}
	e.markDenied(dec.Allowed)
	return true
}

// stand tells how e stands at now: when it will be as if untouched, or since when it has
// been, and which part of its limit is left.
func (e *entry) stand(now Instant) (reset Instant, share float64) {
	if e.by == nil {
		return e.rest.reset, e.rest.share
	}
	look, dec := Draw{Rate: e.by.rate, Now: now}, Decision{}
	if e.by.isFixed() {
		s := e.fixed()
		s.draw(&look, &dec)
	} else {
		s := e.linear()
		drawLinear(&s, &look, e.by.capacity, &dec)
	}
	if dec.ResetAfter > 0 {
		return now.Add(dec.ResetAfter), shareLeft(&dec)
	}
	return min(now, e.ended()), shareLeft(&dec)
}

// ended is when e, which counts in integers, was as if untouched again.
func (e *entry) ended() Instant {
	if e.by.isFixed() {
		return Instant(count.WindowOf(e.numbers[0], e.by.period).End)
	}
	s := e.linear()
	return Instant(s.T).Add(micros(s.ResetMicros(e.by.rate.units)))
}

// expired reports whether e is as if untouched.
func (e *entry) expired(now Instant) bool {
	reset, _ := e.stand(now)
	return reset <= now
}
