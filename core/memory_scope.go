package traffik

import "unique"

const (
	// ringEntries is how many of its latest entries a scope remembers in each shard.
	ringEntries = 64
	// keysPerOverflow is how many keys of a scope there are for each of its overflow
	// counters. With few counters strangers share a limit; with many a flood of identities
	// gets more through.
	keysPerOverflow = 16
)

// holding is what a shard knows about one scope. It is made with the scope's first entry or
// overflow counter and dropped when the scope has neither.
type holding struct {
	scope unique.Handle[string]
	index int // in shard.order
	n     int // entries
	// ring has the scope's latest entries, the oldest at next. Other scopes may have taken
	// some since.
	ring     []*entry
	next     int
	overflow *overflow // nil or with counters in use
}

// overflow has the counters for newcomers of one scope that found no room in a shard. Their
// hash chooses the counter.
type overflow struct {
	counters []*entry // nil means untouched; the length is fixed
	made     Instant
	until    Instant // the latest reset of the counters
}

// runs reports whether o counts at now. All its counters end at once.
func (o *overflow) runs(now Instant) bool { return o != nil && now < o.until }

// holding returns what sh knows about scope, made if need be. It finds the latest one
// without a search, since most newcomers in a row are of one scope.
func (sh *shard) holding(scope unique.Handle[string]) *holding {
	h := sh.latestHolding
	if h != nil && h.scope == scope {
		return h
	}
	if h = sh.holdings[scope]; h == nil {
		if sh.holdings == nil {
			sh.holdings = make(map[unique.Handle[string]]*holding)
		}
		h = &holding{scope: scope, index: len(sh.order)}
		sh.holdings[scope] = h
		sh.order = append(sh.order, h)
	}
	sh.latestHolding = h
	return h
}

// remember adds e to the latest entries of h.
func (h *holding) remember(e *entry) {
	if len(h.ring) < ringEntries {
		h.ring = append(h.ring, e)
		return
	}
	h.ring[h.next] = e
	h.next = (h.next + 1) % ringEntries
}

// dropUnused forgets h if it has neither entries nor overflow counters.
func (sh *shard) dropUnused(h *holding) {
	if h.n > 0 || h.overflow != nil {
		return
	}
	last := sh.order[len(sh.order)-1]
	sh.order[h.index], last.index = last, h.index
	sh.order[len(sh.order)-1] = nil
	sh.order = sh.order[:len(sh.order)-1]
	delete(sh.holdings, h.scope)
	if sh.latestHolding == h {
		sh.latestHolding = nil
	}
}

// tidy frees the overflow counters of h once the latest of them has reset.
func (sh *shard) tidy(h *holding, now Instant) {
	if h.overflow != nil && !h.overflow.runs(now) {
		h.overflow = nil
		sh.overflows--
		sh.dropUnused(h)
	}
}

// tidyNext is tidy for the next scope in order. Each newcomer calls it, so that a scope that
// nobody uses any more is forgotten too.
func (sh *shard) tidyNext(now Instant) {
	if sh.overflows > 0 {
		sh.nextTidy = (sh.nextTidy + 1) % len(sh.order)
		sh.tidy(sh.order[sh.nextTidy], now)
	}
}

// spill is the overflow counter of a newcomer. It may not have been made yet.
type spill struct {
	counters, index int
	e               *entry // nil if the counter is untouched
}

// spill finds the overflow counter of a newcomer of scope. It changes nothing.
func (sh *shard) spill(scope unique.Handle[string], hash uint64, now Instant) (s spill) {
	h := sh.holdings[scope]
	s.counters = 1
	switch {
	case h == nil:
	case h.overflow.runs(now):
		s.counters = len(h.overflow.counters)
	default:
		s.counters = max(1, h.n/keysPerOverflow)
	}
	// The low bits of the hash chose the shard.
	s.index = int(hash >> 32 % uint64(s.counters))
	if h != nil && h.overflow.runs(now) {
		s.e = h.overflow.counters[s.index]
	}
	return s
}

// state returns the state of the counter, in its memory or in buf.
func (s *spill) state(buf []byte) []byte {
	if s.e == nil {
		return nil
	}
	return s.e.state(buf)
}

// refunds reports whether d refunds units on an overflow counter of scope: its draw was
// counted on one, and the counters are still the same.
func (sh *shard) refunds(scope unique.Handle[string], d *Draw) bool {
	if !d.refundsSpilled() {
		return false
	}
	h := sh.holdings[scope]
	return h != nil && h.overflow.runs(d.Now) && d.TakenAt >= h.overflow.made
}

func (d *Draw) refundsSpilled() bool { return d.Cost < 0 && d.spilled }

// storeSpill keeps a decision on the overflow counter s of scope, and the next state, if
// any.
func (sh *shard) storeSpill(scope unique.Handle[string], s spill, d *Draw, next []byte, dec *Decision) {
	var e *entry // s.e, or what a target of the same Take made of it
	h := sh.holdings[scope]
	if h != nil && h.overflow.runs(d.Now) {
		e = h.overflow.counters[s.index]
	}
	switch {
	case e == nil && len(next) == 0:
	case d.Cost < 0 && len(next) == 0:
		h.overflow.counters[s.index] = nil
	default:
		if e == nil {
			e = new(entry)
		}
		e.store(d, next, dec)
		sh.keepSpill(scope, s, e, d.Now)
	}
}

// keepSpill makes e, which has a state, the overflow counter s of scope.
func (sh *shard) keepSpill(scope unique.Handle[string], s spill, e *entry, now Instant) {
	h := sh.holding(scope)
	if !h.overflow.runs(now) {
		if h.overflow == nil {
			sh.overflows++
		}
		h.overflow = &overflow{counters: make([]*entry, s.counters), made: now}
	}
	h.overflow.counters[s.index] = e
	reset, _ := e.stand(now)
	h.overflow.until = max(h.overflow.until, reset)
}

// overflowed notes a draw by d on an overflow counter of scope.
func (sh *shard) overflowed(scope unique.Handle[string], d *Draw) {
	if d.Cost > 0 {
		sh.tally(scope).overflows++
	}
	sh.lookFurther()
	sh.tidyNext(d.Now)
}

// inUse counts the counters of o that are not untouched.
func (o *overflow) inUse() (n int) {
	if o == nil {
		return 0
	}
	for _, e := range o.counters {
		if e != nil {
			n++
		}
	}
	return n
}
