package traffikmemcached

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// An item's value is a tag byte, the generation in which it was written, 8 bytes
// little-endian, and the strategy's state. A value that is none reads as an
// untouched key and is replaced by the next draw.
const (
	itemTag         = 'T'
	itemHeaderBytes = 1 + 8
	// itemOverheadBytes is what Memcached's limit counts besides the state: our
	// header, a key of 250 bytes and its own header of some 60 bytes, the rest
	// to be safe.
	itemOverheadBytes = itemHeaderBytes + 250 + 253
)

// entry is one key as it was read.
type entry struct {
	item  *memcache.Item // nil if there is none
	stamp uint64         // the generation to write it under
	state []byte         // nil for an untouched key
}

// entryOf reads item as of generation.
func entryOf(item *memcache.Item, generation uint64) entry {
	e := entry{item: item, stamp: generation}
	if item == nil || len(item.Value) < itemHeaderBytes || item.Value[0] != itemTag {
		return e
	}
	// A stamp ahead of the generation means that the number was lost, with the
	// server or the memory that held it: what was reset before may count again,
	// but nobody gets a fresh quota.
	if stamp := binary.LittleEndian.Uint64(item.Value[1:]); stamp >= generation {
		e.stamp = stamp
		if len(item.Value) > itemHeaderBytes {
			e.state = item.Value[itemHeaderBytes:]
		}
	}
	return e
}

// value is what to store for a state.
func (e *entry) value(state []byte) []byte {
	value := make([]byte, 0, itemHeaderBytes+len(state))
	value = append(value, itemTag)
	value = binary.LittleEndian.AppendUint64(value, e.stamp)
	return append(value, state...)
}

const (
	// longestRelative is the longest time to live that Memcached counts from
	// now; it reads larger numbers as dates.
	longestRelative = 30 * 24 * 60 * 60
	// never is what Memcached takes for no expiry at all.
	never = 0
	// atOnce makes an item that is gone as soon as it is stored: a delete that
	// compares.
	atOnce = -1
)

// expiration is how Memcached is told to keep an item for at least d, at the
// time unix by the wall clock. Its clock ticks in seconds, so an item may go up
// to a second before its number says.
func expiration(d time.Duration, unix int64) int32 {
	const second = int64(time.Second)
	seconds := max(0, int64(d))/second + 2 // rounded up, and the tick
	if seconds <= longestRelative {
		return int32(seconds)
	}
	date := unix + seconds
	if date <= longestRelative || date > math.MaxInt32 {
		return never // no date that fits; Memcached forgets it when memory is short
	}
	return int32(date)
}
