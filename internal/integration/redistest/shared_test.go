package redistest

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// TestClockOfRedis: the time of a decision is that of Redis, not of the app
// server, so that app servers with clocks an hour apart share one limit. What
// Redis says is moved here: it is compared with its TIME.
func TestClockOfRedis(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	backend := newBackend(t, client)
	for range 20 {
		before := client.Time(t.Context()).Val()
		ops := []traffik.Op{in("u", "a", 0)}
		if err := backend.Take(t.Context(), ops, make([]traffik.Decision, 1)); err != nil {
			t.Fatal(err)
		}
		after := client.Time(t.Context()).Val()
		if now := ops[0].Draw.Now; now < traffik.InstantOf(before) || now > traffik.InstantOf(after) {
			t.Errorf("decided at %d, want between Redis' %d and %d", now, traffik.InstantOf(before), traffik.InstantOf(after))
		}
	}
}

// TestRollingDeploy: two processes with different rate and burst for one throttle,
// in turn for each request, admit no more than the more generous alone would, and
// no less than the stricter.
func TestRollingDeploy(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	type setting struct {
		strategy traffik.Strategy
		rate     traffik.Rate
	}
	for name, pair := range map[string][2]setting{
		"TokenBucket": {
			{traffik.TokenBucket{Burst: 100}, traffik.Per(100, time.Second)},
			{traffik.TokenBucket{Burst: 10}, traffik.Per(10, time.Second)},
		},
		"other period": {
			{traffik.TokenBucket{Burst: 7}, traffik.Per(7, 3*time.Second)},
			{traffik.TokenBucket{Burst: 20}, traffik.Per(400, time.Minute)},
		},
		"FixedWindow":          {{traffik.FixedWindow{}, traffik.Per(50, time.Second)}, {traffik.FixedWindow{}, traffik.Per(5, time.Second)}},
		"SlidingWindowCounter": {{traffik.SlidingWindowCounter{}, traffik.Per(50, time.Second)}, {traffik.SlidingWindowCounter{}, traffik.Per(5, time.Second)}},
		"SlidingWindowLog":     {{traffik.SlidingWindowLog{}, traffik.Per(50, time.Second)}, {traffik.SlidingWindowLog{}, traffik.Per(5, time.Second)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// admitted is how many of the draws, each 1 ms after the other, pass when
			// the settings take turns.
			admitted := func(settings ...setting) (n int) {
				namespace := rand.Text()
				now := traffik.Instant(1_700_000_000_000_000)
				var backends []*traffikredis.Backend
				var clocks []func(traffik.Instant)
				for range settings { // each process has a client and a backend
					backend, setNow := onClock(t, client, traffikredis.WithNamespace(namespace))
					backends, clocks = append(backends, backend), append(clocks, setNow)
				}
				for i := range 3000 {
					at := i % len(settings)
					clocks[at](now.Add(time.Duration(i) * time.Millisecond))
					op := in("u", "a", 1)
					op.Strategy, op.Draw.Rate = settings[at].strategy, settings[at].rate
					if take(t, backends[at], op)[0].Allowed {
						n++
					}
				}
				return n
			}
			both, first, second := admitted(pair[0], pair[1]), admitted(pair[0]), admitted(pair[1])
			t.Logf("in turn %d, alone %d and %d", both, first, second)
			if both > max(first, second) || both < min(first, second) {
				t.Errorf("%d admitted in turn, want between %d and %d", both, min(first, second), max(first, second))
			}
		})
	}
}

// TestTwoAppsShareOneLimit on one key, and none in another namespace.
func TestTwoAppsShareOneLimit(t *testing.T) {
	t.Parallel()
	addr := servers.Redis(t).Addr
	namespace := rand.Text()
	var limits []*traffik.Throttle
	for range 2 {
		backend := newBackend(t, newClient(t, addr), traffikredis.WithNamespace(namespace))
		limits = append(limits, traffik.MustNew("shared", "10 per 1000 hours", traffik.WithBackend(backend)))
	}
	other := traffik.MustNew("shared", "10 per 1000 hours", traffik.WithBackend(newBackend(t, newClient(t, addr))))
	for i := range 15 {
		res, err := limits[i%2].Key("user:42").Hit(t.Context())
		if err != nil || res.Allowed != (i < 10) {
			t.Errorf("hit %d: %+v, %v", i, res, err)
		}
	}
	if res, err := other.Key("user:42").Hit(t.Context()); err != nil || res.Remaining != 9 {
		t.Errorf("in another namespace: %+v, %v", res, err)
	}
	if res, err := limits[0].Key(fmt.Sprint("user:", 43)).Hit(t.Context()); err != nil || res.Remaining != 9 {
		t.Errorf("another caller: %+v, %v", res, err)
	}
}
