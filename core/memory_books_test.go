package traffik

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// fill gives the throttle used up keys until the store, of one shard, is full.
func fill(t *testing.T, throttle *Throttle, m *Memory) {
	t.Helper()
	for i := 0; m.Len() < m.shards[0].maxKeys; i++ {
		if _, err := throttle.Key("full-"+strconv.Itoa(i)).HitN(t.Context(), throttle.settings.Load().rate.Limit()); err != nil {
			t.Fatal(err)
		}
	}
}

// Newcomers of one throttle are spread over one overflow counter for each sixteen of its
// keys, by identity, as many as there were when the first came.
func TestMemoryOverflowCounters(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t, WithMaxKeys(160))
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	fill(t, throttle, m)
	admitted := 0
	for i := range 400 {
		if hit(t, throttle, strconv.Itoa(i)).Allowed {
			admitted++
		}
	}
	if stats := m.Stats(); admitted != 50 || stats.OverflowCounters != 10 || stats.OverflowDraws != 400 {
		t.Errorf("%d admitted, %+v; want 50 by 10 counters that took 400 draws", admitted, stats)
	}
	for i := range 100 {
		_ = throttle.Key("full-" + strconv.Itoa(i)).Reset(t.Context())
	}
	for i := range 100 {
		hit(t, throttle, "again-"+strconv.Itoa(i))
	}
	if got := len(m.shards[0].order[0].overflow.counters); got != 10 {
		t.Errorf("%d counters, want the 10 that there were", got)
	}
	// They are freed with the next newcomer to come once they have reset, or by Sweep.
	clock.advance(2 * time.Hour)
	hit(t, throttle, "later")
	if stats := m.Stats(); stats.OverflowCounters != 0 || m.shards[0].order[0].overflow != nil {
		t.Errorf("%+v after the reset of all, want no counters", stats)
	}
}

// A throttle without keys whose overflow counters have reset is forgotten: by Sweep, and in time by
// the newcomers of others.
func TestMemoryForgetsThrottles(t *testing.T) {
	t.Parallel()
	for _, sweep := range []bool{true, false} {
		m, clock := newTestMemory(t, WithMaxKeys(2))
		long, err := New("long", "1/d", WithBackend(m))
		if err != nil {
			t.Fatal(err)
		}
		fill(t, long, m)
		for i := range 10 {
			short := MustNew("short-"+strconv.Itoa(i), "1/s", WithBackend(m))
			hit(t, short, "k")
		}
		before := len(m.shards[0].order)
		clock.advance(time.Hour)
		if sweep {
			m.Sweep()
		} else {
			for i := range 20 {
				hit(t, long, strconv.Itoa(i))
			}
		}
		if got := len(m.shards[0].order); before < 9 || got != 1 {
			t.Errorf("sweep %v: %d throttles, %d when all but one had reset; want 9 at least, then 1", sweep, before, got)
		}
		m.check(t)
	}
}

// A refund takes units off the overflow counter that counted them, and none off one that did
// not: of an entry that gave way since, or of other counters before.
func TestMemoryRefundsOnOverflowCounters(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t, WithMaxKeys(2))
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	refund := func(res Result, n int64) {
		t.Helper()
		if err := throttle.Refund(t.Context(), res, n); err != nil {
			t.Fatal(err)
		}
	}
	remaining := func(key string) int64 {
		t.Helper()
		res, err := throttle.Key(key).Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return res.Remaining
	}
	gone := hit(t, throttle, "gave way")
	clock.advance(time.Second)
	for _, key := range []string{"full-0", "full-1"} {
		if _, err := throttle.Key(key).HitN(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
	}
	clock.advance(time.Second)
	first, second := hit(t, throttle, "a"), hit(t, throttle, "b")
	if second.Remaining != 3 {
		t.Fatalf("%+v, want both on one counter", second.Decision)
	}
	if refund(first, 1); remaining("b") != 4 {
		t.Errorf("%d remaining after the refund of one of two draws, want 4", remaining("b"))
	}
	if refund(gone, 1); remaining("b") != 4 {
		t.Errorf("%d remaining after the refund of an entry that gave way, want 4", remaining("b"))
	}
	if refund(second, 1); remaining("b") != 5 || m.Stats().OverflowCounters != 0 {
		t.Errorf("%d remaining and %d counters after the last refund, want 5 and 0", remaining("b"), m.Stats().OverflowCounters)
	}
	// By a gate, with room found meanwhile, too.
	third := hit(t, throttle, "c")
	if err := throttle.Key("full-1").Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	op := third.op(third.Rate()).Refund(&third.Decision, 1)
	other := Op{Key: Key{Scope: escape.Scope("other", "s"), ID: "d"}, Strategy: FixedWindow{}, Draw: Draw{Rate: Per(1, time.Hour)}}
	if err := m.Take(t.Context(), []Op{op, other}, make([]Decision, 2)); err != nil || m.Stats().OverflowCounters != 0 {
		t.Errorf("%v, %d counters after a refund among others, want none", err, m.Stats().OverflowCounters)
	}
	m.check(t)
}

// A key that gives way while the counters run takes its draws with it: their refund must not
// hand out what others drew from a counter.
func TestMemoryRefundOfAKeyThatGaveWay(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t, WithMaxKeys(2))
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	fill(t, throttle, m)
	hit(t, throttle, "shares")
	clock.advance(time.Second)
	if err := throttle.Key("full-1").Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone := hit(t, throttle, "gives way")
	clock.advance(time.Second)
	if res, err := throttle.Key("takes its place").HitN(t.Context(), 5); err != nil || !res.Allowed || m.Stats().Evictions != 1 {
		t.Fatalf("%+v, %v, %+v", res.Decision, err, m.Stats())
	}
	if err := throttle.Refund(t.Context(), gone, 1); err != nil {
		t.Fatal(err)
	}
	if res := hit(t, throttle, "shares"); res.Remaining != 3 {
		t.Errorf("%d remaining, want 3: the refund was of another's units", res.Remaining)
	}
}

// Reset leaves overflow counters alone, ResetNamespace forgets them.
func TestMemoryResetAndOverflow(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t, WithMaxKeys(1))
	throttle := newTestThrottle(t, "1/h", WithBackend(m))
	fill(t, throttle, m)
	hit(t, throttle, "a")
	if err := throttle.Key("a").Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if hit(t, throttle, "b").Allowed {
		t.Error("the reset of a key reset the counter of others")
	}
	if err := m.ResetNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stats := m.Stats(); stats.Keys != 0 || stats.OverflowCounters != 0 || stats.OverflowDraws != 2 {
		t.Errorf("%+v after ResetNamespace, want nothing but the draws counted so far", stats)
	}
	if !hit(t, throttle, "b").Allowed {
		t.Error("denied after ResetNamespace")
	}
	m.check(t)
}

func TestMemoryStats(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t, WithMaxKeys(4))
	odd, long := "odd|uid +%", strings.Repeat("x", 100)
	used := MustNew(odd, "1/h", WithBackend(m))
	for _, strategy := range []Strategy{FixedWindow{}, TokenBucket{}} {
		hit(t, MustNew(long, "9/h", WithBackend(m), WithStrategy(strategy)), "k")
	}
	for i := range 5 {
		hit(t, used, strconv.Itoa(i))
	}
	want := MemoryStats{
		MemoryThrottleStats: MemoryThrottleStats{Keys: 4, OverflowDraws: 3, OverflowCounters: 1},
		MaxKeys:             4,
		Throttles: map[string]MemoryThrottleStats{
			odd:               {Keys: 2, OverflowDraws: 3, OverflowCounters: 1},
			escape.Hash(long): {Keys: 2},
		},
	}
	got := m.Stats()
	if got.MemoryThrottleStats != want.MemoryThrottleStats || got.MaxKeys != want.MaxKeys || !maps.Equal(got.Throttles, want.Throttles) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	hit(t, MustNew("new", "9/h", WithBackend(m)), "k")
	if got := m.Stats(); got.Evictions != 1 || got.Throttles[odd].Evictions != 1 || got.Keys != m.Len() {
		t.Errorf("%+v, want one key of %q to have given way", got, odd)
	}
}

// A newcomer that overflows, or takes the place of a key that counts, is worth a warning, once
// a minute. The handler may use the store: no lock is held.
func TestMemoryWarnsWhenFull(t *testing.T) {
	t.Parallel()
	other := Op{Key: Key{Scope: escape.Scope("other", "fixed"), ID: "full-0"}, Strategy: FixedWindow{}, Draw: Draw{Rate: Per(9, time.Hour), Cost: 1}}
	for name, c := range map[string]struct {
		units    int64 // drawn from the key that fills the store
		newcomer func(t *testing.T, throttle *Throttle, m *Memory) error
		warns    bool
	}{
		"overflow": {5, func(t *testing.T, throttle *Throttle, _ *Memory) error {
			t.Helper()
			_, err := throttle.Key("b").Hit(t.Context())
			return err
		}, true},
		"eviction": {1, func(t *testing.T, throttle *Throttle, _ *Memory) error {
			t.Helper()
			_, err := throttle.Key("b").Hit(t.Context())
			return err
		}, true},
		"overflow of an op": {5, func(t *testing.T, _ *Throttle, m *Memory) error {
			t.Helper()
			return m.Take(t.Context(), []Op{other}, make([]Decision, 1))
		}, true},
		"overflow in a gate": {5, func(t *testing.T, throttle *Throttle, m *Memory) error {
			t.Helper()
			_, err := All(throttle, MustNew("other", "9/h", WithBackend(m))).Key("full-0").Hit(t.Context())
			return err
		}, true},
		"look": {5, func(t *testing.T, throttle *Throttle, _ *Memory) error {
			t.Helper()
			_, err := throttle.Key("b").Check(t.Context(), 1)
			return err
		}, false},
		"known key": {5, func(t *testing.T, throttle *Throttle, _ *Memory) error {
			t.Helper()
			_, err := throttle.Key("full-0").Hit(t.Context())
			return err
		}, false},
	} {
		var out bytes.Buffer
		var m *Memory
		handler := hookHandler{slog.NewTextHandler(&out, nil), func() { _ = m.Sweep() + m.Stats().Keys }}
		m, _ = newTestMemory(t, WithMaxKeys(1), WithLogger(slog.New(handler)))
		throttle := MustNew("logins", "5/h", WithBackend(m))
		if _, err := throttle.Key("full-0").HitN(t.Context(), c.units); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := c.newcomer(t, throttle, m); err != nil {
				t.Fatal(err)
			}
		}
		text := out.String()
		if lines := strings.Count(text, "\n"); c.warns != (lines == 1) || !c.warns && lines > 0 {
			t.Errorf("%s: %d records, want one: %v\n%s", name, lines, c.warns, text)
		}
		if c.warns && (!strings.Contains(text, "WithMaxKeys") || !strings.Contains(text, "max_keys=1")) {
			t.Errorf("%s: no cure in %s", name, text)
		}
	}
}

// hookHandler calls hook for each record.
type hookHandler struct {
	slog.Handler
	hook func()
}

func (h hookHandler) Handle(ctx context.Context, r slog.Record) error {
	h.hook()
	return h.Handler.Handle(ctx, r)
}

// A nil or zero Memory says what to do.
func TestMemoryNotMade(t *testing.T) {
	t.Parallel()
	op := []Op{{Key: Key{ID: "k"}, Strategy: FixedWindow{}, Draw: Draw{Rate: Per(1, time.Hour), Cost: 1}}}
	for _, m := range []*Memory{nil, {}} {
		for name, call := range map[string]func() error{
			"Take":           func() error { return m.Take(t.Context(), op, make([]Decision, 1)) },
			"Take of none":   func() error { return m.Take(t.Context(), nil, nil) },
			"Peek":           func() error { return m.Peek(t.Context(), op, make([]Decision, 1)) },
			"Reset":          func() error { return m.Reset(t.Context(), op[0].Key) },
			"ResetNamespace": func() error { return m.ResetNamespace(t.Context()) },
			"ReadStates": func() error {
				_, _, err := m.ReadStates(t.Context(), []Key{op[0].Key}, nil)
				return err
			},
			"Close": func() error { return m.Close() },
			"Len":   func() error { return panicOf(func() { m.Len() }) },
			"Sweep": func() error { return panicOf(func() { m.Sweep() }) },
			"Stats": func() error { return panicOf(func() { m.Stats() }) },
		} {
			if err := call(); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "NewMemory") {
				t.Errorf("%s of %v: %v, want ErrUsage that names NewMemory", name, m, err)
			}
		}
		if _, err := New("u", "1/h", WithBackend(m)); !errors.Is(err, ErrConfig) {
			t.Errorf("New with %v: %v, want ErrConfig", m, err)
		}
	}
}

// panicOf returns what f panics with, if that is an error.
func panicOf(f func()) (err error) {
	defer func() { err, _ = recover().(error) }()
	f()
	return nil
}

// A refund of a draw that an entry counted leaves the counters of strangers alone, though
// the entry is gone meanwhile: reset, or emptied by an earlier refund.
func TestMemoryRefundsOfEntriesThatAreGone(t *testing.T) {
	t.Parallel()
	t.Run("reset", func(t *testing.T) {
		t.Parallel()
		f := newFullStore(t, 64) // one shard, four counters
		for id := range 64 {
			f.hit("login", "5/h", id, 5)
		}
		for f.hit("login", "5/h", 1000, 1).Allowed {
		}
		throttle := f.throttles["login"]
		for i := range 40 {
			account := throttle.Key("login" + strconv.Itoa(i))
			if err := account.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			drawn, err := account.Hit(t.Context())
			if err != nil || !drawn.Allowed {
				t.Fatal(drawn, err)
			}
			if err := account.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.clock.advance(time.Millisecond)
			if err := throttle.Refund(t.Context(), drawn, 1); err != nil {
				t.Fatal(err)
			}
			if _, err := account.HitN(t.Context(), 5); err != nil { // full again
				t.Fatal(err)
			}
			if f.hit("login", "5/h", 1000, 1).Allowed {
				t.Fatalf("refund %d made room on a counter that had not counted its draw", i)
			}
		}
	})
	t.Run("emptied", func(t *testing.T) {
		t.Parallel()
		f := newFullStore(t, 16)
		throttle := MustNew("login", "10/10s", WithBackend(f.Memory), WithStrategy(TokenBucket{}))
		draw := func(id string, n int64) Result {
			res, err := throttle.Key(id).HitN(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		busy := func() { // clients at their limit fill the store
			for i := range 15 {
				draw("full"+strconv.Itoa(i), 10)
			}
		}
		newcomer := func() (admitted int) {
			busy()
			for draw("newcomer", 1).Allowed {
				admitted++
			}
			return admitted
		}
		busy()
		drawn := []Result{draw("refunds", 4), draw("refunds", 3), draw("refunds", 3)}
		newcomer()
		for i, res := range drawn {
			if i == 1 {
				f.clock.advance(5500 * time.Millisecond)
				busy()
			}
			if err := throttle.Refund(t.Context(), res, res.cost); err != nil {
				t.Fatal(err)
			}
		}
		draw("filler", 10) // takes the place of the emptied entry
		if more := newcomer(); more > 5 {
			t.Errorf("%d admitted on the counter in 5.5 s at 1/s", more)
		}
	})
}
