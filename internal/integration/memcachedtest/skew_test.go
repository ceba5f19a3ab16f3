package memcachedtest

import (
	"math/rand/v2"
	"testing"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// Three application servers whose clocks are seconds apart draw on one key in
// turn, all they are let: together they get no more than the envelope over what
// the readings moved forward, and not much less. A fixed window is not even moved
// by clocks that differ by less than a period: only the span of the readings counts.
func TestSkewHandsOutNothing(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t)
	const limit, period = 10, 20 * time.Second
	for name, c := range map[string]struct {
		strategy traffik.Strategy
		envelope func(forward, span time.Duration) int64
	}{
		"TokenBucket":      {traffik.TokenBucket{}, func(f, _ time.Duration) int64 { return limit + int64(f*limit/period) }},
		"GCRA":             {traffik.GCRA{Burst: 3}, func(f, _ time.Duration) int64 { return 3 + int64(f*limit/period) }},
		"FixedWindow":      {traffik.FixedWindow{}, func(_, s time.Duration) int64 { return limit * (2 + int64(s/period)) }},
		"SlidingWindowLog": {traffik.SlidingWindowLog{}, func(f, _ time.Duration) int64 { return limit * (1 + int64(f/period)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(5) {
				skewed(t, s, c.strategy, limit, period, seed, c.envelope)
			}
		})
	}
}

func skewed(t *testing.T, s *servers.Server, strategy traffik.Strategy, limit int64, period time.Duration, seed uint64, envelope func(forward, span time.Duration) int64) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	ns := traffikmemcached.WithNamespace(namespace(t))
	offsets := []time.Duration{0, -3 * time.Second, time.Duration(rnd.Int64N(int64(3 * time.Second)))}
	clock := traffiktest.NewClock(time.Now())
	var backends []traffik.Backend
	for range offsets {
		backends = append(backends, newBackend(t, newClient(t, s), ns, traffikmemcached.WithClock(clock)))
	}
	var admitted int64
	var forward time.Duration
	now := traffik.InstantOf(time.Now())
	first, last, latest := now.Add(-3*time.Second), now, now
	for step := range 400 {
		now = now.Add(time.Duration(rnd.Int64N(int64(time.Second))))
		who := rnd.IntN(len(backends))
		reading := now.Add(offsets[who])
		if step > 0 {
			forward += max(0, reading.Sub(last))
		}
		last, latest = reading, max(latest, reading)
		clock.Set(reading)
		op := traffik.Op{
			Key:      traffik.Key{Scope: traffik.ScopeOf("skew", strategy.ID()), ID: "hot"},
			Strategy: strategy,
			Draw:     traffik.Draw{Rate: traffik.Per(limit, period), Cost: 1},
		}
		for take(t, backends[who], op)[0].Allowed {
			admitted++
		}
		if most := envelope(forward, latest.Sub(first)); admitted > most {
			t.Fatalf("seed %d, step %d: %d admitted while the readings moved forward by %v, at most %d", seed, step, admitted, forward, most)
		}
	}
	if most := envelope(forward, latest.Sub(first)); admitted < most/4 {
		t.Errorf("seed %d: only %d of %d were admitted, which proves little", seed, admitted, most)
	}
}
