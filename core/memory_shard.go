package traffik

import (
	"sync"
	"unique"
)

const (
	// pageEntries is how many entries are allocated at once: as many as the
	// runtime places without a header of its own, which would push each entry
	// across its cache lines, and few, so that all shards share their memory
	// pages.
	pageEntries = 8
	// sweepChunk is how many entries a sweep looks at before it lets others have the
	// lock.
	sweepChunk = 256
)

// shard is one part of a [Memory]: a hash table with linear probing over
// entries that are never moved. Every method needs mu held unless it says
// otherwise.
type shard struct {
	mu      sync.Mutex
	slots   []slot // by hash; the length is a power of two
	reading int64  // the latest of the system clock; see latest
	number  int    // among the shards; the order of locking
	pages   []*[pageEntries]entry
	used    int      // entries handed out of the pages so far
	free    []*entry // entries given back
	count   int
	maxKeys int
	hand    int // where the next look for expired keys starts
	// searches is how many newcomers looked for an entry to replace: each at others.
	searches uint64

	// What is known of the scopes, in order too, and whose turn it is to be tidied.
	holdings      map[unique.Handle[string]]*holding
	latestHolding *holding
	order         []*holding
	turn          int
	overflows     int // scopes with overflow counters
	// tallies count what befell scopes since the store was made.
	tallies map[unique.Handle[string]]*tally

	// draw, scratch and stored lend their memory to Decide, whose arguments
	// would otherwise escape to the heap on each call.
	draw    Draw
	scratch []byte
	stored  [inlineStateBytes]byte

	// Keeps the locks of two shards off one cache line, and what a hit needs of a
	// shard, its first five words, on one: the size is a multiple of 64.
	_ [80]byte
}

// slot is a place of the table, free when e is nil. The hash stands beside the
// entry so that a search touches no other entry than the one it finds.
type slot struct {
	hash uint64
	e    *entry
}

// latest returns the reading that holds for a draw which took one just before it
// got the lock. Another may have read later and come first: then its reading
// holds for both, so that time never steps back between two draws on a key
// because of how they were scheduled. Either reading lies within the call of the
// draw that it serves.
//
// A reading far behind the latest, by a second or more, is taken for no such accident:
// it comes from inside a bubble of testing/synctest, or from outside after one.
func (sh *shard) latest(reading int64) int64 {
	if behind := sh.reading - reading; behind < 0 || behind >= anchorMicros {
		sh.reading = reading
	}
	return sh.reading
}

// decide runs strategy over state. The next state is valid until the shard
// decides again. What goes through the interface escapes, and is copied into
// memory of the shard first.
func (sh *shard) decide(state []byte, strategy Strategy, d *Draw, out *Decision) (next []byte) {
	sh.draw = *d
	next, *out = strategy.Decide(sh.scratch[:0], state, &sh.draw)
	if cap(next) > cap(sh.scratch) {
		sh.scratch = next
	}
	return next
}

// find returns the entry of key, nil if it has none.
func (sh *shard) find(hash uint64, key Key) *entry {
	return sh.findFrom(sh.home(hash), hash, key)
}

// findFrom is find from slot i on. It calls itself for what nearly never occurs,
// two identities of one hash, and so has nothing to keep over the comparison.
func (sh *shard) findFrom(i int, hash uint64, key Key) *entry {
	for ; i < len(sh.slots); i = sh.after(i) {
		s := &sh.slots[i]
		if s.e == nil {
			return nil
		}
		if s.hash == hash && s.e.scope() == key.Scope {
			if s.e.named(key.ID) {
				return s.e
			}
			return sh.findFrom(sh.after(i), hash, key)
		}
	}
	return nil // only an empty table has no free slot
}

// home is where the search for hash starts: its high bits, since the low ones
// chose the shard. There are 31 of them, so that the int is never negative where it has
// 32 bits, in an empty table, which has no slot to cut it to, either.
func (sh *shard) home(hash uint64) int { return int(hash >> 33 & uint64(len(sh.slots)-1)) }

func (e *entry) searchHash() uint64 { return uint64(e.hash) << 32 }

// after is the slot behind i, round the end.
func (sh *shard) after(i int) int { return (i + 1) & (len(sh.slots) - 1) }

// insert makes an entry for key, which has none, in the room that was found for it. The
// caller sets the state.
func (sh *shard) insert(hash uint64, key Key, now Instant, r room) *entry {
	h := sh.holding(key.Scope)
	h.n++ // now, so that h stays if its only entry gives way
	if r.victim != nil {
		sh.evict(&r)
	} else {
		sh.sweepSome(h, now)
	}
	if sh.count >= len(sh.slots)/4*3 {
		sh.grow()
	}
	e := sh.allocate()
	e.hash = uint32(hash >> 32)
	e.setID(key.ID)
	sh.place(slot{hash: hash, e: e})
	sh.count++
	h.remember(e)
	sh.tidyNext(now)
	return e
}

// evict removes the victim of a newcomer.
func (sh *shard) evict(r *room) {
	if r.counts {
		sh.tally(r.victim.scope()).evictions++
	}
	sh.remove(r.victim)
	sh.lookFurther()
}

func (sh *shard) allocate() *entry {
	if last := len(sh.free) - 1; last >= 0 {
		e := sh.free[last]
		sh.free = sh.free[:last]
		return e
	}
	if sh.used == len(sh.pages)*pageEntries {
		sh.pages = append(sh.pages, new([pageEntries]entry))
	}
	sh.used++
	return sh.entry(sh.used - 1)
}

func (sh *shard) entry(i int) *entry { return &sh.pages[i/pageEntries][i%pageEntries] }

// place puts s into the table, which has room.
func (sh *shard) place(s slot) {
	i := sh.home(s.hash)
	for sh.slots[i].e != nil {
		i = sh.after(i)
	}
	sh.slots[i] = s
}

// remove frees e and closes the gap: each slot behind it, up to the next free
// one, moves into the gap unless its search starts behind the gap.
func (sh *shard) remove(e *entry) {
	gap := sh.home(e.searchHash())
	for sh.slots[gap].e != e {
		gap = sh.after(gap)
	}
	last := len(sh.slots) - 1
	for i := sh.after(gap); sh.slots[i].e != nil; i = sh.after(i) {
		if (i-sh.home(sh.slots[i].hash))&last >= (i-gap)&last {
			sh.slots[gap] = sh.slots[i]
			gap = i
		}
	}
	sh.slots[gap] = slot{}
	h := sh.holding(e.scope())
	*e = entry{}
	sh.free = append(sh.free, e)
	sh.count--
	h.n--
	sh.dropUnused(h)
}

func (sh *shard) grow() {
	old := sh.slots
	sh.slots = make([]slot, max(8, 2*len(old)))
	for _, s := range old {
		if s.e != nil {
			sh.place(s)
		}
	}
}

// sweep frees all expired entries, and overflow counters; it takes mu itself, for a few
// entries at a time.
func (sh *shard) sweep(clock func() Instant) (freed int) {
	for from, more := 0, true; more; from += sweepChunk {
		var n int
		n, more = sh.sweepFrom(from, clock())
		freed += n
	}
	return freed
}

// sweepFrom is sweep for the entries of one chunk.
func (sh *shard) sweepFrom(from int, now Instant) (freed int, more bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	to := min(from+sweepChunk, sh.used)
	for i := from; i < to; i++ {
		if e := sh.entry(i); e.live() && e.expired(now) {
			sh.remove(e)
			freed++
		}
	}
	if to < sh.used {
		return freed, true
	}
	for i := len(sh.order) - 1; i >= 0; i-- { // the last one may move to i
		sh.tidy(sh.order[i], now)
	}
	if sh.count == 0 {
		sh.forgetEntries()
	}
	return freed, false
}

// clear forgets all but the tallies; it takes mu itself.
func (sh *shard) clear() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.forgetEntries()
	sh.holdings, sh.latestHolding, sh.order, sh.turn, sh.overflows = nil, nil, nil, 0, 0
}

// forgetEntries gives the memory of an empty or unwanted table back.
func (sh *shard) forgetEntries() {
	sh.slots, sh.pages, sh.free = nil, nil, nil
	sh.used, sh.count, sh.hand = 0, 0, 0
	for _, h := range sh.order {
		h.ring, h.next = nil, 0
	}
}
