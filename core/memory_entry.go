package traffik

import (
	"unique"

	"github.com/traffik-go/traffik/core/internal/count"
)

const (
	// inlineStateBytes is the longest state kept in a rest: every state of constant size
	// fits.
	inlineStateBytes = 1 + 5*8
	// inlineIDBytes is the longest identity kept as it is: every IPv4 address fits. An entry
	// keeps the fingerprint of a longer one.
	inlineIDBytes = 18
	// fingerprinted stands for the length of an identity that is kept as its fingerprint.
	fingerprinted = 255
	// elsewhere stands for the length of a state that does not fit into a rest.
	elsewhere = 255
)

// entry is one key with its state. It is one cache line, so a hit waits for memory once.
type entry struct {
	// by has written the state if it is kept in integers, in numbers. It is nil if the
	// state is kept in bytes, in rest. Either form can be made from the other. A free entry
	// has neither.
	by   *counting
	rest *rest
	// hash is the half of the hash that finds the entry's slot in the table.
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
	reserved                   // the running Take draws on it or replaces it
)

// rest is what does not fit into an entry: a state in bytes, and what a look at integers
// would find out.
type rest struct {
	scope unique.Handle[string]
	// reset is when the key will be as if untouched. share is the part of its limit that
	// the last decision left.
	reset  Instant
	share  float64
	big    *[]byte // a state that does not fit into inline
	length uint8   // of the state in inline, or elsewhere
	inline [inlineStateBytes]byte
}

// counting is a strategy at a rate whose states are kept as plain integers: encoding and
// decoding a state takes longer than deciding.
type counting struct {
	scope    unique.Handle[string]
	strategy Strategy
	rate     Rate
	// A FixedWindow is fixed and has a period, that of the rate in microseconds. Its numbers
	// are those of a count.WindowCount. The bucket strategies have a capacity, and their
	// numbers are T, N and R of a count.Bucket over the rate's P.
	fixed            bool
	period, capacity int64
}

// countingOf returns nil for a strategy whose states are kept in bytes.
func countingOf(scope unique.Handle[string], strategy Strategy, rate Rate) *counting {
	c := &counting{scope: scope, strategy: strategy, rate: rate}
	switch s := strategy.(type) {
	case FixedWindow:
		c.fixed, c.period = true, rate.period.Microseconds()
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

// limit is the Limit of decisions.
func (c *counting) limit() int64 {
	if c.fixed {
		return c.rate.limit
	}
	return c.capacity
}

// counted returns how to count op in integers, nil if it is counted in bytes. A decorator
// may have changed the op since its counting was set.
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

// named reports whether e is the entry of id.
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

// state returns the state in bytes, in the memory of e or of buf.
func (e *entry) state(buf []byte) []byte {
	switch {
	case e.by != nil && e.by.fixed:
		return count.AppendState(buf[:0], fixedTag, e.numbers[0], e.numbers[1])
	case e.by != nil:
		s := e.bucket()
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

// fixed returns the state as a FixedWindow reads it.
func (e *entry) fixed() (c count.WindowCount) {
	if e.by == nil || !e.by.fixed {
		count.ReadState(e.state(nil), fixedTag, &c.T, &c.N)
		return c
	}
	return count.WindowCount{T: e.numbers[0], N: e.numbers[1]}
}

// bucket returns the state as the bucket strategies read it.
func (e *entry) bucket() (s count.Bucket) {
	if e.by == nil || e.by.fixed {
		s.Read(e.state(nil))
		return s
	}
	return count.Bucket{T: e.numbers[0], N: e.numbers[1], R: e.numbers[2], P: e.by.rate.micros}
}

// store keeps a decision and the next state in bytes, if there is one.
func (e *entry) store(d *Draw, next []byte, dec *Decision) {
	if len(next) > 0 {
		e.setState(next)
		// Only with a write: a look or a denial under another rate may find that the key
		// expires sooner, but does not make it expire sooner.
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

// keep is store for integers. wrote says that numbers are the next state, written by by.
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

// extendExpiry keeps e, which denied a draw at now, until the reset of that denial: its state
// may have been written under a rate with a shorter period. Only a state in bytes has an
// expiry apart from its content.
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

// mark notes whether d was denied. A look or a refund leaves the mark alone: only a draw
// shows whether a denied client still retries.
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

// decide decides d by c on the state of e, whatever its form, and changes nothing in e. It
// reports whether numbers, the next state, are to be written. A refund with nothing to
// write leaves the key untouched.
func (e *entry) decide(c *counting, d *Draw, numbers *[3]int64, dec *Decision) (write bool) {
	if c.fixed {
		s := e.fixed()
		write = drawWindow(&s, d, dec)
		numbers[0], numbers[1] = s.T, s.N
		return write
	}
	s := e.bucket()
	write = drawBucket(&s, d, c.capacity, dec)
	numbers[0], numbers[1], numbers[2] = s.T, s.N, s.R
	return write
}

// hit decides a draw of cost units at now on numbers that c wrote. It decides into the zero
// dec, and writes the next state to next if the draw is admitted. If the window has changed
// or the clock has stepped back, known is false and nothing is decided.
func (c *counting) hit(next, numbers *[3]int64, now, cost int64, dec *Decision) (known, admitted bool) {
	if c.fixed {
		s := count.WindowCount{T: numbers[0], N: numbers[1]}
		w := count.WindowOf(now, c.period)
		if !s.In(w) {
			return false, false
		}
		s.T = now
		if admitted = hitWindow(&s, w.End-now, cost, c.rate.limit, dec); admitted {
			next[0], next[1] = s.T, s.N
		}
		return true, admitted
	}
	s := count.Bucket{T: numbers[0], N: numbers[1], R: numbers[2], P: c.rate.micros}
	if now < s.T {
		return false, false
	}
	s.Leak(now, c.rate.units)
	if admitted = hitBucket(&s, now, cost, c.capacity, c.rate.units, dec); admitted {
		next[0], next[1], next[2] = s.T, s.N, s.R
	}
	return true, admitted
}

// stand returns when e will be as if untouched, or since when it has been, and the part of
// its limit that is left at now.
func (e *entry) stand(now Instant) (reset Instant, share float64) {
	if e.by == nil {
		return e.rest.reset, e.rest.share
	}
	look, dec := Draw{Rate: e.by.rate, Now: now}, Decision{}
	if e.by.fixed {
		s := e.fixed()
		drawWindow(&s, &look, &dec)
	} else {
		s := e.bucket()
		drawBucket(&s, &look, e.by.capacity, &dec)
	}
	if dec.ResetAfter > 0 {
		return now.Add(dec.ResetAfter), shareLeft(&dec)
	}
	return min(now, e.ended()), shareLeft(&dec)
}

// ended returns since when e, which counts in integers, has been as if untouched.
func (e *entry) ended() Instant {
	if e.by.fixed {
		return Instant(count.WindowOf(e.numbers[0], e.by.period).End)
	}
	s := e.bucket()
	return Instant(s.T).Add(micros(s.ResetMicros(e.by.rate.units)))
}

// expired reports whether e is as if untouched.
func (e *entry) expired(now Instant) bool {
	reset, _ := e.stand(now)
	return reset <= now
}
