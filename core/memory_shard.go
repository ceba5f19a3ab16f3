package traffik

import (
	"sync"
	"unique"
)

const (
	// pageEntries is how many entries are allocated at once: as many as the runtime
	// allocates without a header, which would push each entry across two cache lines, and
	// so few that all shards share memory pages.
	pageEntries = 8
	// sweepChunk is how many entries a sweep looks at before it releases the lock.
	sweepChunk = 256
)

// shard is one part of a [Memory]: a hash table with linear probing over entries that never
// move. Every method needs mu held unless it says otherwise.
type shard struct {
	mu      sync.Mutex
	slots   []slot // by hash; the length is a power of two
	reading int64  // the latest reading of the system clock; see latest
	number  int    // among the shards; the order of locking
	pages   []*[pageEntries]entry
	used    int      // entries handed out of the pages so far
	free    []*entry // entries to be used again
	count   int
	maxKeys int
	hand    int // where the next look for expired keys starts
	// searches counts the newcomers that looked for an entry to replace: each looks at
	// others.
	searches uint64

	// The scopes, also in a fixed order, and the index of the next one to tidy.
	holdings      map[unique.Handle[string]]*holding
	latestHolding *holding
	order         []*holding
	nextTidy      int
	overflows     int // scopes with overflow counters
	// tallies count evictions and overflow draws since the store was made.
	tallies map[unique.Handle[string]]*tally

	// Memory for the arguments of Decide, which would otherwise escape to the heap on each
	// call.
	draw    Draw
	scratch []byte
	stored  [inlineStateBytes]byte

	// Padding to a multiple of 64 bytes: no two locks share a cache line, and the five words
	// that a hit needs are on one.
	_ [80]byte
}

// slot is one slot of the table, free if e is nil. It has the hash too, so that a search
// reads no other entry than the one it finds.
type slot struct {
	hash uint64
	e    *entry
}

// shard returns the shard of an identity, and its hash.
func (m *Memory) shard(id string) (sh *shard, hash uint64) {
	hash = m.hash.of(id)
	return &m.shards[hash&m.mask], hash
}

// latest returns the reading for a draw that read the clock just before it got the lock. If
// another draw read later and got the lock first, its reading holds for both: so time never
// steps back between two draws on a key because of scheduling, and either reading lies
// within the call of its draw.
//
// A reading a second or more behind the latest is no such accident: it comes from inside a
// bubble of testing/synctest, or from outside after one.
func (sh *shard) latest(reading int64) int64 {
	if behind := sh.reading - reading; behind < 0 || behind >= anchorMicros {
		sh.reading = reading
	}
	return sh.reading
}

// decide runs strategy on state. The next state is valid until the shard decides again.
// Arguments of an interface method escape, so the draw is copied into the shard first.
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

// findFrom is find from slot i on. It calls itself for the rare case of two identities with
// one hash, and so needs no registers across the comparison.
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

// home is the slot where the search for hash starts. It uses high bits, since the low ones
// choose the shard, and only 31, so that a 32-bit int is never negative, not even in an empty
// table.
func (sh *shard) home(hash uint64) int { return int(hash >> 33 & uint64(len(sh.slots)-1)) }

func (e *entry) searchHash() uint64 { return uint64(e.hash) << 32 }

// after is the slot after i; the first follows the last.
func (sh *shard) after(i int) int { return (i + 1) & (len(sh.slots) - 1) }

// insert makes an entry for key in the room that was found for it. The caller sets the
// state.
func (sh *shard) insert(hash uint64, key Key, now Instant, r room) *entry {
	h := sh.holding(key.Scope)
	h.n++ // first, so that h stays if its only entry is replaced
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

// remove frees e and closes the gap: each slot after it, up to the next free one, moves into
// the gap unless its search starts after the gap.
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

// sweep frees all expired entries and overflow counters. It locks mu itself, for a few
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

// clear forgets all but the tallies. It locks mu itself.
func (sh *shard) clear() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.forgetEntries()
	sh.holdings, sh.latestHolding, sh.order, sh.nextTidy, sh.overflows = nil, nil, nil, 0, 0
}

// forgetEntries frees the memory of the table.
func (sh *shard) forgetEntries() {
	sh.slots, sh.pages, sh.free = nil, nil, nil
	sh.used, sh.count, sh.hand = 0, 0, 0
	for _, h := range sh.order {
		h.ring, h.next = nil, 0
	}
}
