package traffik

import (
	"math/bits"
	"time"
	"unique"
)

// How a full shard makes room for a newcomer: the largest scope yields.
//
// A scope's share is the shard's bound divided by the scopes in the shard. A scope within
// its share never loses an unexpired entry to another scope; shard.room has the order in
// which entries go. The search looks at a fixed number of entries, so it may miss a better
// one.

const (
	// victimSample is how many entries of a full shard a newcomer looks at.
	victimSample = 16
	// ringLooks is how many of the latest entries of its own scope it looks at first: a small
	// scope would hardly ever find its own in a sample.
	ringLooks = 2
	// yieldAfter is how long an entry must be expired before a scope that fills its share may
	// replace it. A limit per day would otherwise take over what a limit per minute leaves
	// for a moment, and lose those records to that limit's next newcomers.
	yieldAfter = 10 * time.Minute
	// sweepSteps is how many entries a newcomer to a shard with room checks for expiry: more
	// than one, so that a growing shard is cleaned too.
	sweepSteps = 2
)

// room is where a newcomer goes. The zero room is a free entry.
type room struct {
	victim *entry // replaced by the newcomer
	counts bool   // victim has not expired, so its key will start afresh
	// overflows: the newcomer is counted on spill; with looks it only looks at it.
	overflows, looks bool
	spill            spill
}

// exact reports whether the newcomer has its own entry, and no unexpired one was replaced.
func (r *room) exact() bool { return !r.overflows && !r.counts }

// room finds room for a newcomer of scope that is about to draw d. It changes nothing, so
// Peek shows what Take would do. before are the targets of the same Take that have room.
//
// The newcomer gets a free entry, or replaces the first of
//  1. an expired entry; one of another scope only if the newcomer's scope fills less than
//     its share or if the entry expired a while ago ([yieldAfter]);
//  2. an entry of the largest scope found, if that has more than its share and at least two
//     entries more than the newcomer's scope, so that two scopes don't replace each other in
//     turn: an unprotected entry before a protected one, then the one with most left, then
//     the one that resets first;
//  3. an unprotected entry of its own scope, in the same order.
//
// Otherwise it overflows. An entry is protected if it was denied or has nothing left.
//
// A refund goes to the overflow counter that counted its units. Otherwise no overflow
// counter has anything for it to refund.
func (sh *shard) room(scope unique.Handle[string], hash uint64, d *Draw, before []target) room {
	now := d.Now
	if sh.refunds(scope, d) {
		return room{overflows: true, spill: sh.spill(scope, hash, now)}
	}
	if d.refundsSpilled() { // the counters are gone, so it looks at what there is
		return room{overflows: true, looks: true, spill: sh.spill(scope, hash, now)}
	}
	if sh.count+sh.promised(before) < sh.maxKeys {
		return room{}
	}
	s := search{sh: sh, scope: scope, now: now, before: before}
	s.n = s.entries(scope)
	s.share = sh.share(scope)
	if e := s.expired(); e != nil {
		return room{victim: e}
	}
	for _, c := range []*candidate{&s.other, &s.own, &s.ring} {
		if c.e != nil {
			return room{victim: c.e, counts: now < c.reset}
		}
	}
	return room{overflows: true, looks: d.Cost < 0, spill: sh.spill(scope, hash, now)}
}

// share is how many entries each scope in the shard keeps against the others, including the
// scope of a newcomer.
func (sh *shard) share(newcomer unique.Handle[string]) int {
	scopes := len(sh.order)
	if sh.holdings[newcomer] == nil {
		scopes++
	}
	return sh.maxKeys / scopes
}

// yields reports whether a newcomer of a scope with n entries may replace an expired entry of
// another scope.
func yields(reset, now Instant, n, share int) bool {
	return n < share || reset.Add(yieldAfter) <= now
}

// search is the search of a newcomer of scope for an entry to replace.
type search struct {
	sh       *shard
	scope    unique.Handle[string]
	now      Instant
	before   []target
	n, share int
	// The best entries found: of larger scopes, of the newcomer's own scope in the sample,
	// and among its latest.
	other, own, ring candidate
	// seen is the scope last asked for, with its entries: most samples have one scope.
	seen  unique.Handle[string]
	seenN int
}

// candidate is an entry that may be replaced.
type candidate struct {
	e         *entry
	n         int // entries of its scope
	protected bool
	reset     Instant
	left      float64
}

// consider replaces c by other if other goes first.
func (c *candidate) consider(other *candidate) {
	if c.e == nil || other.goesBefore(c) {
		*c = *other
	}
}

func (c *candidate) goesBefore(other *candidate) bool {
	switch {
	case c.n != other.n:
		return c.n > other.n
	case c.protected != other.protected:
		return other.protected
	case c.left != other.left:
		return c.left > other.left
	}
	return c.reset < other.reset
}

// expired returns an expired entry that the newcomer may replace. If there is none, s has
// the candidates.
func (s *search) expired() *entry {
	if h := s.sh.holdings[s.scope]; h != nil && len(h.ring) > 0 {
		looks := [ringLooks]int{h.next % len(h.ring), s.sh.scattered(victimSample, len(h.ring))}
		for _, i := range looks {
			if e := h.ring[i]; e.live() && e.scope() == s.scope && s.look(e, &s.ring) {
				return e
			}
		}
	}
	for i := range min(victimSample, s.sh.used) {
		at := i // of a small shard it looks at all
		if s.sh.used > victimSample {
			at = s.sh.scattered(i, s.sh.used)
		}
		if e := s.sh.entry(at); e.live() && s.look(e, &s.own) {
			return e
		}
	}
	return nil
}

// look reports whether e has expired and may be replaced. An unexpired entry becomes a
// candidate: own, if it is of the newcomer's scope.
func (s *search) look(e *entry, own *candidate) (replaceable bool) {
	if e.marks&reserved != 0 {
		return false
	}
	c := candidate{e: e}
	c.reset, c.left = e.stand(s.now)
	expired := c.reset <= s.now
	c.protected = !expired && (e.marks&denied != 0 || c.left == 0)
	scope := e.scope()
	if scope == s.scope {
		if !expired && !c.protected {
			own.consider(&c)
		}
		return expired
	}
	if expired && yields(c.reset, s.now, s.n, s.share) {
		return true
	}
	if c.n = s.entries(scope); c.n > s.share && c.n >= s.n+2 {
		s.other.consider(&c)
	}
	return false
}

// entries is how many entries scope has after the targets before it.
func (s *search) entries(scope unique.Handle[string]) int {
	if scope == s.seen && s.seen != (unique.Handle[string]{}) {
		return s.seenN
	}
	n := 0
	if h := s.sh.holdings[scope]; h != nil {
		n = h.n
	}
	for i := range s.before {
		t := &s.before[i]
		if t.sh != s.sh || !t.enters() {
			continue
		}
		if t.op.Key.Scope == scope {
			n++
		}
		if v := t.room.victim; v != nil && v.scope() == scope {
			n--
		}
	}
	s.seen, s.seenN = scope, n
	return n
}

// promised counts the free entries of sh that go to the targets before.
func (sh *shard) promised(before []target) (n int) {
	for i := range before {
		if t := &before[i]; t.sh == sh && t.enters() && t.room.victim == nil {
			n++
		}
	}
	return n
}

// scattered is the index among n at which look i of a newcomer falls, different for each
// search. Neighbours would be no sample, since similar entries are made in a row. The mixing
// is that of SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number
// Generators, 2014).
func (sh *shard) scattered(i, n int) int {
	z := (sh.searches*(victimSample+1) + uint64(i) + 1) * 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	index, _ := bits.Mul64(z^z>>31, uint64(n))
	return int(index)
}

// lookFurther lets the next newcomer look at other entries: it would find no room in a sample
// that was all protected.
func (sh *shard) lookFurther() { sh.searches++ }

// sweepSome frees expired ones of the next few entries, for a newcomer to a shard that is not
// full. h counts the newcomer already.
func (sh *shard) sweepSome(h *holding, now Instant) {
	for range min(sweepSteps, sh.used) {
		sh.hand = (sh.hand + 1) % sh.used
		e := sh.entry(sh.hand)
		if !e.live() || e.marks&reserved != 0 {
			continue
		}
		if reset, _ := e.stand(now); reset <= now && (e.scope() == h.scope || yields(reset, now, h.n-1, sh.share(h.scope))) {
			sh.remove(e)
		}
	}
}
