package traffik

import (
	"cmp"
	"slices"
	"testing"
	"time"
	"unique"
)

// standing is what the rule of a full store asks of one entry.
type standing struct {
	key                 Key
	expired, yieldAfter bool
	exhausted           bool // denied, or nothing left
	left                float64
	reset               Instant
}

// standings are the entries of the world's one shard.
func (w *world) standings() (all []standing) {
	now := w.clock.Now()
	for _, throttle := range w.throttles {
		set := throttle.settings.Load()
		for _, id := range w.ids {
			e := w.find(set, id)
			if e == nil {
				continue
			}
			reset, left := e.stand(now)
			all = append(all, standing{
				key: Key{Scope: set.scope, ID: id}, expired: reset <= now, yieldAfter: reset.Add(10*time.Minute) <= now,
				exhausted: e.marks&denied != 0 || left == 0, left: left, reset: reset,
			})
		}
	}
	return all
}

// mayGo are the entries of which one gives its place to a newcomer of scope, nil if it has
// to do without. It is the rule as architecture and guide tell it, for a store in which all
// entries are looked at.
func mayGo(all []standing, scopes, maxKeys int, scope unique.Handle[string]) []standing {
	held := map[unique.Handle[string]]int{}
	for _, s := range all {
		held[s.key.Scope]++
	}
	share, own := maxKeys/scopes, held[scope]
	with := func(wanted func(s *standing) bool) (some []standing) {
		for _, s := range all {
			if wanted(&s) {
				some = append(some, s)
			}
		}
		return some
	}
	if expired := with(func(s *standing) bool {
		return s.expired && (s.key.Scope == scope || own < share || s.yieldAfter)
	}); expired != nil {
		return expired
	}
	// From the largest of the other throttles, or else the newcomer's own.
	candidates := with(func(s *standing) bool {
		n := held[s.key.Scope]
		return s.key.Scope != scope && n > share && n >= own+2
	})
	if candidates == nil {
		candidates = with(func(s *standing) bool { return s.key.Scope == scope && !s.expired && !s.exhausted })
	}
	order := func(a, b standing) int {
		exhausted := func(s standing) int {
			if s.exhausted && !s.expired {
				return 1
			}
			return 0
		}
		return cmp.Or(-cmp.Compare(held[a.key.Scope], held[b.key.Scope]), cmp.Compare(exhausted(a), exhausted(b)),
			-cmp.Compare(a.left, b.left), cmp.Compare(a.reset, b.reset))
	}
	slices.SortStableFunc(candidates, order)
	for i := range candidates {
		if order(candidates[0], candidates[i]) != 0 {
			return candidates[:i]
		}
	}
	return candidates
}

// In a store so small that a newcomer looks at all of it, the entry that gives its place up
// is the one that the rule names.
func TestMemoryVictim(t *testing.T) {
	t.Parallel()
	gaveWay := 0
	for seed := range uint64(150) {
		w := newWorld(t, seed)
		w.Memory, w.clock = newTestMemory(t, WithMaxKeys(2+w.rnd.IntN(victimSample-1)))
		sh := &w.shards[0]
		for i, throttle := range w.throttles {
			set := throttle.settings.Load()
			w.throttles[i] = MustNew(set.uid, set.rate, WithBackend(w.Memory), WithStrategy(set.strategy))
		}
		for range 200 {
			if w.rnd.IntN(3) == 0 {
				w.clock.advance(time.Duration(w.rnd.Int64N([]int64{1e3, 1e9, 2e11, 2e12}[w.rnd.IntN(4)])))
			}
			id, throttle := w.ids[w.rnd.IntN(len(w.ids))], w.throttles[w.rnd.IntN(len(w.throttles))]
			set := throttle.settings.Load()
			newcomer := w.find(set, id) == nil && sh.count == sh.maxKeys
			before, scopes := w.standings(), len(sh.order)
			if sh.holdings[set.scope] == nil {
				scopes++
			}
			cost := 1 + w.rnd.Int64N(2)
			if _, err := throttle.Key(id).HitN(t.Context(), cost); err != nil {
				t.Fatal(err)
			}
			if !newcomer || cost > set.rate.limit { // which leaves nothing to store
				continue
			}
			want := mayGo(before, scopes, sh.maxKeys, set.scope)
			after, went := w.standings(), []standing(nil)
			for _, s := range before {
				if !slices.ContainsFunc(after, func(other standing) bool { return other.key == s.key }) {
					went = append(went, s)
				}
			}
			if len(went) == 0 && want == nil {
				continue
			}
			gaveWay++
			if len(went) != 1 || !slices.Contains(want, went[0]) {
				t.Fatalf("seed %d, a newcomer of %v:\n%+v gave way,\nwant one of %+v\nof %+v", seed, set.scope.Value(), went, want, before)
			}
		}
	}
	if gaveWay < 1000 {
		t.Errorf("%d entries gave way, want enough of them", gaveWay)
	}
}
