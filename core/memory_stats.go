package traffik

import (
	"context"
	"log/slog"
	"net/url"
	"strings"
	"unique"
)

// MemoryStats are the figures of a [Memory]; see [Memory.Stats].
type MemoryStats struct {
	MemoryThrottleStats // of all throttles together
	// MaxKeys is how many keys fit: the bound of [WithMaxKeys], rounded down to a multiple of
	// the number of shards.
	MaxKeys int
	// Throttles has the figures by uid, all strategies of one uid together. A uid longer than
	// 96 bytes appears as its hash. A throttle with zero figures is missing.
	Throttles map[string]MemoryThrottleStats
}

// MemoryThrottleStats are the figures of one throttle in a [Memory], or of all.
type MemoryThrottleStats struct {
	// Keys is the number of keys, including expired ones that are not freed yet.
	Keys int
	// Evictions is how many keys were replaced before they expired, since the store was
	// made. Each starts afresh when it comes again.
	Evictions uint64
	// OverflowDraws is how many draws, admitted or denied, were counted on overflow
	// counters since the store was made.
	OverflowDraws uint64
	// OverflowCounters is how many overflow counters are in use. Keys does not include them.
	OverflowCounters int
}

// tally counts evictions and overflow draws of a scope in a shard since the store was made.
type tally struct{ evictions, overflows uint64 }

// tally returns the tally of scope, made if need be. The lock of sh is held.
func (sh *shard) tally(scope unique.Handle[string]) *tally {
	t := sh.tallies[scope]
	if t == nil {
		if sh.tallies == nil {
			sh.tallies = make(map[unique.Handle[string]]*tally)
		}
		t = new(tally)
		sh.tallies[scope] = t
	}
	return t
}

// Stats returns the figures of the store. It locks one shard after the other, each for a time
// that grows with its throttles and overflow counters but not with its keys. So the figures
// of a store in use are not of one instant. It is safe for concurrent use. Counting adds
// nothing to the cost of a draw on a known key.
func (m *Memory) Stats() MemoryStats {
	m.mustBeMade()
	var stats MemoryStats
	scopes := make(map[unique.Handle[string]]MemoryThrottleStats)
	for i := range m.shards {
		sh := &m.shards[i]
		stats.MaxKeys += sh.maxKeys
		sh.addTo(scopes)
	}
	stats.Throttles = make(map[string]MemoryThrottleStats, len(scopes))
	for scope, t := range scopes {
		uid := uidOf(scope)
		stats.Throttles[uid] = stats.Throttles[uid].plus(t)
		stats.MemoryThrottleStats = stats.MemoryThrottleStats.plus(t)
	}
	return stats
}

func (t MemoryThrottleStats) plus(other MemoryThrottleStats) MemoryThrottleStats {
	return MemoryThrottleStats{
		Keys:             t.Keys + other.Keys,
		Evictions:        t.Evictions + other.Evictions,
		OverflowDraws:    t.OverflowDraws + other.OverflowDraws,
		OverflowCounters: t.OverflowCounters + other.OverflowCounters,
	}
}

func (sh *shard) addTo(scopes map[unique.Handle[string]]MemoryThrottleStats) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, h := range sh.order {
		scopes[h.scope] = scopes[h.scope].plus(MemoryThrottleStats{Keys: h.n, OverflowCounters: h.overflow.inUse()})
	}
	for scope, t := range sh.tallies {
		scopes[scope] = scopes[scope].plus(MemoryThrottleStats{Evictions: t.evictions, OverflowDraws: t.overflows})
	}
}

// uidOf returns the uid in the scope of a throttle, or the hash of a long one.
func uidOf(scope unique.Handle[string]) string {
	if scope == (unique.Handle[string]{}) {
		return ""
	}
	part, _, _ := strings.Cut(scope.Value(), "|")
	if uid, err := url.PathUnescape(part); err == nil {
		return uid
	}
	return part
}

// warnFull warns that a newcomer of scope came to a full shard, and is on an overflow counter
// or has replaced a key that had not expired. No lock of a shard may be held.
func (m *Memory) warnFull(scope unique.Handle[string]) {
	if !m.warner.due(warnFull) {
		return
	}
	stats := m.Stats()
	m.warner.write(context.Background(), storeIsFull, []slog.Attr{
		slog.String("throttle", uidOf(scope)),
		slog.Int("keys", stats.Keys),
		slog.Int("max_keys", stats.MaxKeys),
		slog.Uint64("evictions", stats.Evictions),
		slog.Uint64("overflow_draws", stats.OverflowDraws),
	})
}

const storeIsFull = "traffik: the in-process store is full: keys that have not expired give way to new ones, " +
	"or new ones share counters; give it more keys with WithMaxKeys, or give the throttle that fills it " +
	"a shorter period or an identity that clients can't make up (see Memory.Stats)"
