package traffikmemcached

import (
	"math"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
)

func TestExpiration(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	const unix = 1_800_000_000
	for _, c := range []struct {
		keep time.Duration
		want int32
	}{
		{-time.Hour, 2},
		{0, 2},
		{1, 3},
		{999 * time.Millisecond, 3},
		{time.Second, 3},
		{time.Second + 1, 4},
		{90 * time.Second, 92},
		{30*day - 2*time.Second, 30 * 86400}, // the longest that is counted from now
		{30*day - time.Second, unix + 30*86400 + 1}, // would be read as a date in 1970
		{31 * day, unix + 31*86400 + 2},
		{365 * day, unix + 365*86400 + 2},
		{(math.MaxInt32 - unix - 2) * time.Second, math.MaxInt32}, // the last date there is
		{(math.MaxInt32-unix-2)*time.Second + 1, never},
		{math.MaxInt64, never},
	} {
		if got := expiration(c.keep, unix); got != c.want {
			t.Errorf("to be kept for %v: %d, want %d", c.keep, got, c.want)
		}
	}
}

func TestEntry(t *testing.T) {
	t.Parallel()
	written := entry{generation: 7}
	value := written.value(11, []byte("state"))
	late := written.value(traffik.MaxUnits+1, []byte("state"))
	latest := written.value(traffik.MaxUnits, []byte("state"))
	for name, c := range map[string]struct {
		item       *memcache.Item
		generation uint64 // as of now
		state      string
		stamp      traffik.Instant
		under      uint64 // the generation to write under
	}{
		"its own generation":        {&memcache.Item{Value: value}, 7, "state", 11, 7},
		"a later generation":        {&memcache.Item{Value: value}, 8, "", 0, 8},
		"a generation that is lost": {&memcache.Item{Value: value}, 0, "state", 11, 7},
		"no item":                   {nil, 3, "", 0, 3},
		"an empty value":            {&memcache.Item{}, 3, "", 0, 3},
		"a short value":             {&memcache.Item{Value: value[:16]}, 3, "", 0, 3},
		"a stamp alone":             {&memcache.Item{Value: value[:17]}, 3, "", 11, 7},
		"another tag":               {&memcache.Item{Value: append([]byte("X"), value[1:]...)}, 3, "", 0, 3},
		"an item without a stamp":   {&memcache.Item{Value: append([]byte("T"), value[1:]...)}, 3, "", 0, 3}, // the layout before
		"the latest stamp":          {&memcache.Item{Value: latest}, 7, "state", traffik.MaxUnits, 7},
		"a stamp out of range":      {&memcache.Item{Value: late}, 3, "", 0, 3},
	} {
		e := entryOf(c.item, c.generation)
		if string(e.state) != c.state || e.stamp != c.stamp || e.generation != c.under || e.item != c.item || e.state != nil && len(e.state) == 0 {
			t.Errorf("%s: %+v, want state %q, stamp %d and generation %d", name, e, c.state, c.stamp, c.under)
		}
	}
}
