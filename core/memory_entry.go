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

// limit is the capacity that decisions tell.
func (c *counting) limit() int64 {
	if c.isFixed() {
		return c.rate.limit
	}
	return c.capacity
}

// counted is how op is counted in integers, nil if it is not. An op may have been changed
// since its counting was put into it.
func (op *Op) counted() *counting {
	if c := op.counting; c != nil && c.scope == op.Key.Scope && c.rate == op.Draw.Rate && c.strategy == op.Strategy {
		return c
	}
	return nil
}

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

// fixed is the state as a FixedWindow reads it.
func (e *entry) fixed() fixedCount {
	if e.by == nil || !e.by.isFixed() {
		return readFixed(e.state(nil))
	}
	return fixedCount{t: e.numbers[0], n: e.numbers[1]}
}

// linear is the state as the linear strategies read it.
func (e *entry) linear() (s count.Linear) {
	if e.by == nil || e.by.isFixed() {
		s.Read(e.state(nil))
		return s
	}
	return count.Linear{T: e.numbers[0], N: e.numbers[1], R: e.numbers[2], P: e.by.rate.micros}
}

// store keeps a decision and the next state that came with it, if any, in bytes.
func (e *entry) store(d *Draw, next []byte, dec *Decision) {
	if len(next) > 0 {
		e.setState(next)
		// Only with a write: a look or a denial under another rate may see the
		// key expire sooner, and must not make it.
		e.rest.reset = d.Now.Add(dec.ResetAfter)
	}
	e.mark(d, dec)
	if d.Cost > 0 && !dec.Allowed {
		e.extendExpiry(d.Now, dec)
	}
	if e.by == nil {
		e.beside().share = shareLeft(dec)
	}
}

// keep stores the numbers that by has written and what the draw d means for later
// newcomers that need room. wrote says that there are such numbers.
func (e *entry) keep(by *counting, numbers *[3]int64, wrote bool, d *Draw, dec *Decision) {
	if wrote {
		e.by, e.numbers = by, *numbers
	}
	e.mark(d, dec)
	if d.Cost > 0 && !dec.Allowed && e.by != by {
		e.extendExpiry(d.Now, dec)
	}
	if e.by == nil && e.rest != nil {
		e.rest.share = shareLeft(dec)
	}
}

// extendExpiry keeps e, which denied a draw at now, for as long as the denial says: its
// state may have been written under a shorter rate. Only a state in bytes has an expiry
// apart from its content.
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

// mark notes whether d was denied. A look or a refund keeps the mark: only a draw shows
// whether the caller still retries in vain.
func (e *entry) mark(d *Draw, dec *Decision) {
	if d.Cost > 0 {
		e.markDenied(!dec.Allowed)
	}
}

func (e *entry) markDenied(is bool) {
	e.marks &^= denied
	if is {
		e.marks |= denied
	}
}

func shareLeft(dec *Decision) float64 { return float64(dec.Remaining) / float64(dec.Limit) }

// decide decides d by c on a copy of e, which may be untouched or in another form, into
// dec. It reports whether numbers, the next state, are to be written. A refund after which
// there is nothing to write has left the key untouched.
func (e *entry) decide(c *counting, d *Draw, numbers *[3]int64, dec *Decision) (write bool) {
	if c.isFixed() {
		s := e.fixed()
		write = s.draw(d, dec)
		numbers[0], numbers[1] = s.t, s.n
		return write
	}
	s := e.linear()
	write = drawLinear(&s, d, c.capacity, dec)
	numbers[0], numbers[1], numbers[2] = s.T, s.N, s.R
	return write
}

// hit decides a draw of cost units at now on numbers that c wrote, and writes the next
// state to next if that admits it. It answers into the zero dec. known is false, and
// nothing is decided, in another window than the one counted or when the clock has
// stepped back.
func (c *counting) hit(next, numbers *[3]int64, now, cost int64, dec *Decision) (known, admitted bool) {
	if c.isFixed() {
		w := count.WindowOf(now, c.period)
		s := fixedCount{t: numbers[0], n: numbers[1]}
		if !w.Holds(s.t) {
			return false, false
		}
		if admitted = s.hit(w, now, cost, c.rate.limit, dec); admitted {
			next[0], next[1] = s.t, s.n
		}
		return true, admitted
	}
	s := count.Linear{T: numbers[0], N: numbers[1], R: numbers[2], P: c.rate.micros}
	if now < s.T {
		return false, false
	}
	s.Leak(now, c.rate.units)
	if admitted = hitLinear(&s, now, cost, c.capacity, c.rate.units, dec); admitted {
		next[0], next[1], next[2] = s.T, s.N, s.R
	}
	return true, admitted
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
