package redistest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// in is a draw of cost units, of ten in a long time, by id on throttle uid.
func in(uid, id string, cost int64) traffik.Op {
	return traffik.Op{
		Key: traffik.Key{Scope: store.ScopeOf(uid, "x"), ID: id}, Strategy: traffik.FixedWindow{},
		Draw: traffik.Draw{Rate: traffik.Per(10, long), Cost: cost},
	}
}

func take(t *testing.T, backend traffik.Backend, ops ...traffik.Op) []traffik.Decision {
	t.Helper()
	out := make([]traffik.Decision, len(ops))
	if err := backend.Take(t.Context(), ops, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func left(t *testing.T, backend traffik.Backend, op traffik.Op) int64 {
	t.Helper()
	op.Draw.Cost = 0
	out := make([]traffik.Decision, 1)
	if err := backend.Peek(t.Context(), []traffik.Op{op}, out); err != nil {
		t.Fatal(err)
	}
	return out[0].Remaining
}

// TestSeveralSlots: a Take over slots of several servers draws all or refunds,
// refunds only when all have drawn, and answers as one that is atomic.
func TestSeveralSlots(t *testing.T) {
	t.Parallel()
	client := newClusterClient(t, servers.RedisCluster(t).Addrs())
	t.Run("a denial", func(t *testing.T) {
		backend := newBackend(t, client)
		take(t, backend, in("u", "a", 3), in("u", "b", 10), in("u", "c", 1))
		advisory := in("u", "d", 1)
		advisory.Advisory = true
		out := take(t, backend, in("u", "a", 2), in("u", "b", 1), in("u", "c", -1), advisory, in("v", "a", 2))
		for i, want := range []int64{7, 0, 9, 10, 10} {
			if out[i].Remaining != want || out[i].Allowed != (i != 1) {
				t.Errorf("op %d: %+v, want %d remaining", i, out[i], want)
			}
		}
		for i, op := range []traffik.Op{in("u", "a", 0), in("u", "b", 0), in("u", "c", 0), in("u", "d", 0), in("v", "a", 0)} {
			if got, want := left(t, backend, op), out[i].Remaining; got != want {
				t.Errorf("op %d: %d remain afterwards, want %d", i, got, want)
			}
		}
	})
	t.Run("an advisory denial and refunds", func(t *testing.T) {
		backend := newBackend(t, client)
		take(t, backend, in("u", "a", 3), in("u", "b", 10))
		full := in("u", "b", 1)
		full.Advisory = true
		out := take(t, backend, full, in("u", "c", 2), in("u", "a", -3))
		if out[0].Allowed || out[1].Remaining != 8 || out[2].Remaining != 10 {
			t.Errorf("%+v, want only the advisory op denied", out)
		}
	})
	t.Run("the caller leaves in between", func(t *testing.T) { testLeavesInBetween(t, client) })
	t.Run("peeks", func(t *testing.T) {
		backend := newBackend(t, client)
		take(t, backend, in("u", "a", 3), in("u", "b", 10))
		out := make([]traffik.Decision, 3)
		if err := backend.Peek(t.Context(), []traffik.Op{in("u", "a", 2), in("u", "b", 1), in("u", "c", 4)}, out); err != nil {
			t.Fatal(err)
		}
		if out[0].Remaining != 7 || out[1].Allowed || out[2].Remaining != 10 {
			t.Errorf("%+v, want looks beside a denial", out)
		}
	})
}

// testLeavesInBetween: the caller's context ends after one slot has drawn and
// before another denies. The draw is refunded, once.
func testLeavesInBetween(t *testing.T, client *redis.ClusterClient) {
	t.Helper()
	namespace := rand.Text()
	backend := newBackend(t, client, traffikredis.WithNamespace(namespace))
	take(t, backend, in("u", "a", 3), in("u", "b", 10))
	ctx, cancel := context.WithCancel(t.Context())
	drawn, hold := make(chan struct{}), make(chan struct{})
	slow := &slowStrategy{first: func() {
		close(drawn)
		<-hold
	}}
	last := in("u", "b", 1)
	last.Strategy = slow // decided in Go, and held up there
	done := make(chan error, 1)
	go func() { done <- backend.Take(ctx, []traffik.Op{in("u", "a", 2), last}, make([]traffik.Decision, 2)) }()
	<-drawn
	for left(t, backend, in("u", "a", 0)) != 5 {
		time.Sleep(time.Millisecond) //nolint:forbidigo // until the real server has drawn
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller got %v", err)
	}
	close(hold)
	if err := backend.Close(); err != nil { // waits for what goes on by itself
		t.Fatal(err)
	}
	if got := left(t, newBackend(t, client, traffikredis.WithNamespace(namespace)), in("u", "a", 0)); got != 7 {
		t.Errorf("%d remain after the draw was refunded, want 7", got)
	}
}

// TestRefundedIntoItsOwnWindow: a window that began after the draw owes it
// nothing.
func TestRefundedIntoItsOwnWindow(t *testing.T) {
	t.Parallel()
	client := newClusterClient(t, servers.RedisCluster(t).Addrs())
	const start = traffik.Instant(1_700_000_040_000_000) // of a minute
	backend, setNow := onClock(t, client)
	setNow(start - 1)
	minutely := in("u", "a", 3)
	minutely.Draw.Rate = traffik.Per(10, time.Minute)
	last := in("u", "b", 1)
	last.Strategy = &slowStrategy{first: func() {
		for left(t, backend, minutely) != 7 {
			time.Sleep(time.Millisecond) //nolint:forbidigo // until the real server has drawn
		}
		setNow(start)
		take(t, backend, minutely)
	}}
	if out := take(t, backend, minutely, last); out[1].Allowed {
		t.Error("it was not denied")
	}
	if got := left(t, backend, minutely); got != 7 {
		t.Errorf("%d left of the next minute, want 7", got)
	}
}

// slowStrategy denies, after first was called.
type slowStrategy struct{ first func() }

func (*slowStrategy) ID() string { return "redistest_slow.1" }

func (s *slowStrategy) Decide(dst, _ []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	s.first()
	return dst, traffik.Decision{Limit: 10, RetryAfter: time.Hour, ResetAfter: time.Hour, At: d.Now}
}

// keyForm is namespace:{identity}!scope.
var keyForm = regexp.MustCompile(`^app%20%7B1%7D%0A:\{([^{}!\s]+)\}!([^{}!\s]+|![^{}!\s]+)$`)

// TestKeysShareASlot: all throttles of a caller lie in one slot whatever the
// caller is called, and nothing a caller sends stands bare in a key.
func TestKeysShareASlot(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client, traffikredis.WithNamespace("app {1}\n"))
	ids := []string{"", "a b", "{x}y", "}{", "\r\nFLUSHALL\r\n", "é", "a%20b", "#hash", "!", "user:42"}
	for _, id := range ids {
		take(t, backend, in("one two", id, 1), in("two}", id, 1))
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]int{}
	for _, key := range keys {
		parts := keyForm.FindStringSubmatch(key)
		if parts == nil {
			t.Errorf("the key %q is not of the documented form", key)
			continue
		}
		tags[parts[1]]++
	}
	if len(tags) != len(ids) {
		t.Errorf("%d hash tags for %d identities: %v", len(tags), len(ids), tags)
	}
	for tag, n := range tags {
		if n != 2 {
			t.Errorf("%d keys with the hash tag %q, want both throttles'", n, tag)
		}
	}
}

// TestForceAcrossSlots: what is taken by force is refunded whole, though a bucket holds
// less, if another slot denies.
func TestForceAcrossSlots(t *testing.T) {
	t.Parallel()
	backend := newBackend(t, newClusterClient(t, servers.RedisCluster(t).Addrs()))
	take(t, backend, in("u", "full", 10))
	for name, s := range map[string]traffik.Strategy{"bucket": traffik.TokenBucket{}, "window": traffik.FixedWindow{}, "log": traffik.SlidingWindowLog{}} {
		forced := in("u", name, 100)
		forced.Strategy, forced.Draw.Force = s, true
		if out := take(t, backend, forced, in("u", "full", 1)); out[1].Allowed {
			t.Fatalf("%s: %+v, want a denial", name, out)
		}
		if got := left(t, backend, forced); got != 10 {
			t.Errorf("%s: %d remain after a denied Take, want 10", name, got)
		}
		take(t, backend, forced, in("u", "free"+name, 1))
		if got := left(t, backend, forced); got != 0 {
			t.Errorf("%s: %d remain after a charge by force, want 0", name, got)
		}
	}
}

// TestEveryMixOverSlotsDecidesAsOne: two ops in each of two slots, each of them denied or
// not and Advisory or not, are answered as one atomic Take or Peek would answer them.
func TestEveryMixOverSlotsDecidesAsOne(t *testing.T) {
	t.Parallel()
	const mixes = 4 * 4 * 4 * 4
	backend, setNow := onClock(t, newClusterClient(t, servers.RedisCluster(t).Addrs()))
	now := traffik.Instant(1_700_000_000_000_000)
	setNow(now)
	full := in("", "", 10)
	used, _ := full.Strategy.Decide(nil, nil, &traffik.Draw{Rate: full.Draw.Rate, Cost: 10, Now: now})
	for mix := range 2 * mixes {
		peek := mix >= mixes
		var drawn, ops []traffik.Op
		var before [][]byte
		for i, id := range []string{"a", "a", "b", "b"} {
			kind := mix >> (2 * i) & 3
			op := in(fmt.Sprint("mix", i), fmt.Sprint(id, mix), 1)
			op.Advisory = kind&1 != 0
			var state []byte
			if kind&2 != 0 { // there is nothing left
				use := op
				use.Draw.Cost, use.Advisory = 10, false
				drawn, state = append(drawn, use), used
			}
			op.Draw.Now = now
			ops, before = append(ops, op), append(before, state)
		}
		if len(drawn) > 0 {
			take(t, backend, drawn...)
		}
		got, want, changes := make([]traffik.Decision, 4), make([]traffik.Decision, 4), make([]store.Change, 4)
		store.DecideAll(slices.Clone(ops), before, want, changes)
		ask := backend.Take
		if peek {
			ask = backend.Peek
		}
		if err := ask(t.Context(), ops, got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("peek %v, mix %04b:\ngot  %+v\nwant %+v", peek, mix%mixes, got, want)
		}
	}
}

// TestSpreadDecidesAsOne: Takes and Peeks over several slots answer what one that is
// atomic would.
func TestSpreadDecidesAsOne(t *testing.T) {
	t.Parallel()
	backend, setNow := onClock(t, newClusterClient(t, servers.RedisCluster(t).Addrs()))
	strategies := []traffik.Strategy{
		traffik.FixedWindow{}, traffik.SlidingWindowLog{}, traffik.TokenBucket{}, traffik.SlidingWindowCounter{}, advanced.Tiered{},
	}
	serial, denials := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		serial++
		states := map[traffik.Key][]byte{}
		now := traffik.Instant(1_700_000_000_000_000)
		for range rapid.IntRange(1, 10).Draw(rt, "steps") {
			now += traffik.Instant(rapid.IntRange(0, 1000).Draw(rt, "clock"))
			setNow(now)
			var ops []traffik.Op
			var before [][]byte
			for _, id := range []string{"a", "b", "c"} {
				for i, s := range strategies {
					if rapid.IntRange(0, 3).Draw(rt, "use") > 0 {
						continue
					}
					op := in(fmt.Sprint(i), fmt.Sprint(id, serial), rapid.Int64Range(-2, 9).Draw(rt, "cost"))
					op.Strategy = s
					op.Advisory = rapid.IntRange(0, 2).Draw(rt, "advisory") == 0
					op.Draw.Force = op.Draw.Cost > 0 && rapid.IntRange(0, 11).Draw(rt, "force") == 0
					op.Draw.Now = now
					ops, before = append(ops, op), append(before, states[op.Key])
				}
			}
			peek := rapid.IntRange(0, 2).Draw(rt, "peek") == 0
			got, want, changes := make([]traffik.Decision, len(ops)), make([]traffik.Decision, len(ops)), make([]store.Change, len(ops))
			store.DecideAll(slices.Clone(ops), before, want, changes)
			ask := backend.Take
			if peek {
				ask = backend.Peek
			}
			if err := ask(rt.Context(), ops, got); err != nil {
				rt.Fatal(err)
			}
			for i := range ops {
				if !want[i].Allowed {
					denials++
				}
				if got[i] != want[i] {
					rt.Errorf("peek %v, op %d of %d, %s, advisory %v, %+v: got %+v, want %+v", peek, i, len(ops), ops[i].Strategy.ID(), ops[i].Advisory, ops[i].Draw, got[i], want[i])
				}
			}
			// What was refunded may be told otherwise than what was never taken: both
			// hold from here.
			for i := range ops {
				now, _, err := backend.ReadStates(rt.Context(), []traffik.Key{ops[i].Key}, nil)
				if err != nil {
					rt.Fatal(err)
				}
				states[ops[i].Key] = now[0]
			}
		}
	})
	if denials == 0 {
		t.Error("nothing was ever denied")
	}
}
