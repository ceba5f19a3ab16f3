package traffikmemcached

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
)

// An item's value is a tag byte, the generation in which it was written, its stamp, both in
// 8 bytes little-endian, and the strategy's state. The stamp is the latest time, by any
// server's clock, at which the key was written. A value with another tag or out of range,
// such as one of an earlier layout, reads as an untouched key, and the next draw replaces
// it.
const (
	itemTag         = 'U'
	itemHeaderBytes = 1 + 8 + 8
	// itemOverheadBytes is what Memcached's limit counts in addition to the state: our
	// header, a key of up to 250 bytes, Memcached's header of some 60 bytes and a reserve.
	itemOverheadBytes = itemHeaderBytes + 250 + 245
)

// entry is one key as it was read.
type entry struct {
	name       string
	item       *memcache.Item  // nil if there is none
	generation uint64          // to write it under
	stamp      traffik.Instant // it is decided at this time at the earliest
	state      []byte          // nil for an untouched key
}

// entryOf reads item in the given generation.
func entryOf(item *memcache.Item, generation uint64) entry {
	e := entry{item: item, generation: generation}
	if item == nil || len(item.Value) < itemHeaderBytes || item.Value[0] != itemTag {
		return e
	}
	written, stamp := binary.LittleEndian.Uint64(item.Value[1:]), binary.LittleEndian.Uint64(item.Value[9:])
	// A reset of the namespace forgets the stamp with the state. An item of a later
	// generation means that the number was lost with its server. Counts that were reset
	// before may then count again, but nobody gets a fresh quota.
	if written < generation || stamp > traffik.MaxUnits {
		return e
	}
	e.generation, e.stamp = written, traffik.Instant(stamp)
	if len(item.Value) > itemHeaderBytes {
		e.state = item.Value[itemHeaderBytes:]
	}
	return e
}

// value returns the item's value for a state written at stamp.
func (e *entry) value(stamp traffik.Instant, state []byte) []byte {
	value := make([]byte, 0, itemHeaderBytes+len(state))
	value = append(value, itemTag)
	value = binary.LittleEndian.AppendUint64(value, e.generation)
	value = binary.LittleEndian.AppendUint64(value, uint64(stamp)) // not below 0, as every Draw.Now
	return append(value, state...)
}

const (
	// longestRelative is the longest time to live in seconds. Memcached reads larger numbers
	// as dates.
	longestRelative = 30 * 24 * 60 * 60
	// never means no expiry.
	never = 0
	// spare is added to each time to live, in seconds. Memcached's clock ticks in seconds, so
	// an item may expire up to a second early.
	spare = 2
	// goneAfter is the longest time for which an item outlives the time that it was stored
	// for: the spare seconds, and one for rounding up.
	goneAfter = (spare + 1) * time.Second
)

// expiration returns the number that tells Memcached to keep an item for d and the spare
// seconds. unix is the wall clock's time.
func expiration(d time.Duration, unix int64) int32 {
	seconds := spare + max(0, int64(d/time.Second))
	if d%time.Second > 0 {
		seconds++
	}
	if seconds <= longestRelative {
		return int32(seconds)
	}
	date := unix + seconds
	if date <= longestRelative || date > math.MaxInt32 {
		return never // no date that fits; Memcached forgets it when memory is short
	}
	return int32(date)
}
