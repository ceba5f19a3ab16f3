package traffik

import (
	"math/bits"
	"sync"
)

const (
	// pageEntries is how many entries are allocated at once: as many as the
	// runtime places without a header of its own, which would push each entry
	// across its cache lines, and few, so that all shards share their memory
	// pages.
	pageEntries = 8
	// victimSample is how many entries are looked at for one to give up. Only a
	// newcomer to a full shard pays for it.
	victimSample = 16
	// sweepSteps is how many entries a newcomer looks at for expired ones, more
	// than one, so that a shard that only ever grows is cleaned all the same.
	sweepSteps = 2
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
	hand    int // where the next look for expired keys or victims starts

	// draw, scratch and stored lend their memory to Decide, whose arguments
	// would otherwise escape to the heap on each call.
	draw    Draw
	scratch []byte
	stored  [inlineStateBytes]byte

	// Keeps the locks of two shards off one cache line, and what a hit needs of a
	// shard, its first five words, on one: the size is a multiple of 64.
	_ [104]byte
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

// store keeps a decision on the live entry e and the next state, if any. A gift
// without one leaves the key untouched, and it is freed.
func (sh *shard) store(e *entry, d *Draw, next []byte, dec *Decision) {
	if d.Cost < 0 && len(next) == 0 {
		sh.remove(e)
		return
	}
	e.store(d, next, dec)
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
// chose the shard.
func (sh *shard) home(hash uint64) int { return int(hash >> 32 & uint64(len(sh.slots)-1)) }

func (e *entry) searchHash() uint64 { return uint64(e.hash) << 32 }

// after is the slot behind i, round the end.
func (sh *shard) after(i int) int { return (i + 1) & (len(sh.slots) - 1) }

// hasRoom reports whether a newcomer can have an entry.
func (sh *shard) hasRoom(now Instant) bool {
	return sh.count < sh.maxKeys || sh.victim(now) != nil
}

// insert makes an entry for key, which has none, and of which the caller sets
// the state. There is room.
func (sh *shard) insert(hash uint64, key Key, now Instant) *entry {
	if sh.count >= sh.maxKeys {
		sh.remove(sh.victim(now))
		sh.lookFurther()
	} else {
		sh.sweepSome(now)
	}
	if sh.count >= len(sh.slots)/4*3 {
		sh.grow()
	}
	e := sh.allocate()
	e.hash = uint32(hash >> 32)
	e.setID(key.ID)
	sh.place(slot{hash: hash, e: e})
	sh.count++
	return e
}

// insertBytes is insert for a state in bytes.
func (sh *shard) insertBytes(hash uint64, key Key, d *Draw, next []byte, dec *Decision) {
	e := sh.insert(hash, key, d.Now)
	e.beside().scope = key.Scope
	e.store(d, next, dec)
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
	*e = entry{}
	sh.free = append(sh.free, e)
	sh.count--
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

// victim returns the entry of the sample that is to make room, nil if each is
// protected or has a part in the Take under way. The sample lies all over the
// shard, since entries of one kind come in rows. It is one that has expired, else the
// one with the largest share of its limit remaining, ties going to the one that
// resets first. It changes nothing, so that Peek tells what Take would do.
func (sh *shard) victim(now Instant) *entry {
	var best candidate
	for i := range min(victimSample, sh.used) {
		e := sh.entry(sh.scattered(i))
		if !e.live() || e.marks&reserved != 0 {
			continue
		}
		c := candidate{e: e}
		c.reset, c.share = e.stand(now)
		switch {
		case c.reset <= now:
			return e
		case e.marks&denied != 0 || c.share == 0: // protected
		case best.e == nil || c.worthLessThan(&best):
			best = c
		}
	}
	return best.e
}

// scattered is where member i of the sample stands: anywhere, and elsewhere once
// the hand has moved. The mixing is that of SplitMix64 (Steele, Lea and Flood, Fast
// Splittable Pseudorandom Number Generators, 2014).
func (sh *shard) scattered(i int) int {
	if sh.used <= victimSample {
		return i // all are looked at
	}
	z := uint64(sh.hand*victimSample+i+1) * 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	place, _ := bits.Mul64(z^z>>31, uint64(sh.used))
	return int(place)
}

// lookFurther lets the next newcomer look at other entries: of a sample that was
// all protected, it would find no room where others may have expired.
func (sh *shard) lookFurther() { sh.hand = (sh.hand + 1) % max(1, sh.used) }

// candidate is an entry that may have to make room, and how it stands.
type candidate struct {
	e     *entry
	reset Instant
	share float64
}

// worthLessThan reports whether c has a larger share of its limit remaining than
// other, or the same and less time to its reset.
func (c *candidate) worthLessThan(other *candidate) bool {
	return c.share > other.share || c.share == other.share && c.reset < other.reset
}

// sweepSome frees the expired among the next few entries.
func (sh *shard) sweepSome(now Instant) {
	for range min(sweepSteps, sh.used) {
		sh.hand = (sh.hand + 1) % sh.used
		if e := sh.entry(sh.hand); e.live() && e.marks&reserved == 0 && e.expired(now) {
			sh.remove(e)
		}
	}
}

// sweep frees all expired entries; it takes mu itself.
func (sh *shard) sweep(clock func() Instant) (freed int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := clock()
	for i := range sh.used {
		if e := sh.entry(i); e.live() && e.expired(now) {
			sh.remove(e)
			freed++
		}
	}
	if sh.count == 0 {
		sh.forget()
	}
	return freed
}

// clear forgets all; it takes mu itself.
func (sh *shard) clear() {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.forget()
}

// forget gives the memory of an empty or unwanted table back.
func (sh *shard) forget() {
	sh.slots, sh.pages, sh.free = nil, nil, nil
	sh.used, sh.count, sh.hand = 0, 0, 0
}
