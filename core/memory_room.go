package traffik

import (
	"math/bits"
	"time"
	"unique"
)

// How a full shard makes room for a newcomer: the largest scope yields.
//
// A scope's share is the shard's bound divided by the scopes in the shard. A scope within
// its share never loses an entry that counts to another scope; see [shard.room] for the
// order in which entries are asked to go. The search looks at a fixed number of
// entries, so it may miss one that it would have preferred.

const (
	// victimSample is how many entries of a full shard are looked at.
	victimSample = 16
	// ringLooks is how many of its own latest entries a newcomer's scope is looked at
	// before that: a scope with few entries would hardly ever find its own in a sample.
	ringLooks = 2
	// yieldAfter is how long an entry has to be expired before a scope that fills its share
	// may have its place. A limit per day would otherwise move into what a limit per
	// minute leaves for a moment, and lose it again to that limit's next newcomers, with
	// the records that it has filed there meanwhile.
	yieldAfter = 10 * time.Minute
	// sweepSteps is how many entries a newcomer to a shard with room looks at for expired
	// ones: more than one, so that a shard that only ever grows is cleaned all the same.
	sweepSteps = 2
)

// room is where a newcomer goes: to a free place unless it says otherwise.
type room struct {
	victim *entry // gives its place up
	counts bool   // victim has not expired: its key starts afresh
	// overflows: the newcomer is counted on spill, and with looks only looks at it.
	overflows, looks bool
	spill            spill
}

// exact reports whether everybody is counted on a key of their own and stays so.
func (r *room) exact() bool { return !r.overflows && !r.counts }

// room finds room for a newcomer of scope that is about to draw d. It changes nothing, so that Peek tells what
// Take would do. before are the targets of the same plan that have their room already.
//
// The newcomer gets a free place, or that of the first of
//  1. an expired entry, of another scope only if the newcomer's fills less than its
//     share or if it expired a while ago ([yieldAfter]);
//  2. an entry of the largest scope found, if that has more than its share and two more
//     than the newcomer's at least, so that no two scopes take turns: one that is not
//     protected before one that is, then the one with most left, then the one that resets
//     first;
//  3. an entry of its own scope that is not protected, in the same order.
//
// Otherwise it overflows. Protected are entries that were denied or have nothing left.
//
// A refund goes where its units are counted, if that is an overflow counter. If it isn't,
// there is nothing for it to take off one.
func (sh *shard) room(scope unique.Handle[string], hash uint64, d *Draw, before []target) room {
	now := d.Now
	if sh.refunds(scope, d) {
		return room{overflows: true, spill: sh.spill(scope, hash, now)}
	}
	if d.refundsSpilled() { // of counters that are gone: it looks at what there is
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

// share is how many entries each scope in the shard may hold against the others, that of
// a newcomer included.
func (sh *shard) share(newcomer unique.Handle[string]) int {
	scopes := len(sh.order)
	if sh.holdings[newcomer] == nil {
		scopes++
	}
	return sh.maxKeys / scopes
}

// yields reports whether a newcomer of a scope with n entries may have the place of an
// expired entry of another scope.
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
	// other, own and ring are the best entries found of larger scopes, of the newcomer's
	// own in the sample, and among its latest.
	other, own, ring candidate
	// seen is the scope last asked for, with its entries: samples are mostly of one.
	seen  unique.Handle[string]
	seenN int
}

// candidate is an entry that may have to go, and how it stands.
type candidate struct {
	e         *entry
	n         int // entries of its scope
	protected bool
	reset     Instant
	left      float64
}

// consider makes other c if that is to go first.
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

// expired returns an expired entry that the newcomer may replace, and otherwise leaves
// the candidates in s.
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
		place := i // all are looked at
		if s.sh.used > victimSample {
			place = s.sh.scattered(i, s.sh.used)
		}
		if e := s.sh.entry(place); e.live() && s.look(e, &s.own) {
			return e
		}
	}
	return nil
}

// look reports whether e has expired and may be replaced. What has not becomes a
// candidate, own if it is of the newcomer's scope.
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

// entries is how many entries scope has once the targets before have theirs.
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

// promised counts the free places of sh that go to the targets before.
func (sh *shard) promised(before []target) (places int) {
	for i := range before {
		if t := &before[i]; t.sh == sh && t.enters() && t.room.victim == nil {
			places++
		}
	}
	return places
}

// scattered is where look i of a newcomer falls among n: anywhere, and elsewhere for
// another search. Entries of one kind come in rows, so neighbours would be no sample. The
// mixing is that of SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number
// Generators, 2014).
func (sh *shard) scattered(i, n int) int {
	z := (sh.searches*(victimSample+1) + uint64(i) + 1) * 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	place, _ := bits.Mul64(z^z>>31, uint64(n))
	return int(place)
}

// lookFurther lets the next newcomer look at other entries: of a sample that was
// all protected, it would find no room where others may have expired.
func (sh *shard) lookFurther() { sh.searches++ }

// sweepSome frees the expired among the next few entries, for a newcomer to a shard that
// is not full, which h counts already.
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
