// Package redistest runs the Redis backend against real servers.
package redistest

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/backendtest"
	"github.com/traffik-go/traffik/core/traffiktest"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(floodVariable); task != "" {
		drown(task) // this is one process of TestFlood
		return
	}
	end := servers.LogOfRedis()
	goleak.VerifyTestMain(m,
		// go-redis starts these and gives nobody a way to wait for them: after Close,
		// a pool that could not connect looks for its server until a second has passed,
		// and a Cluster's client that looks for its servers rests 200 ms afterwards.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*clusterStateHolder).LazyReload.func1"),
		goleak.Cleanup(end))
}

// long is a period of some 10,000 hours, whose window does not end while tests run.
var long = longPeriod(time.Now())

// longPeriod returns a period whose window has some hundred hours to go at now.
func longPeriod(now time.Time) time.Duration {
	const spare = 100 * time.Hour
	period := 10_000 * time.Hour
	for period-time.Duration(now.UnixNano())%period < spare {
		period += 1000 * time.Hour
	}
	return period
}

// TestLongPeriod: whenever tests run, their long windows have time left.
func TestLongPeriod(t *testing.T) {
	t.Parallel()
	for now := time.Unix(1_700_000_000, 0); now.Year() < 2060; now = now.Add(17 * time.Hour) {
		period := longPeriod(now)
		if left := period - time.Duration(now.UnixNano())%period; left < 100*time.Hour || period > 13_000*time.Hour {
			t.Fatalf("at %v the window of %v has %v left", now, period, left)
		}
	}
}

// The constructors of this package close what they make, with the test: no test makes a
// client or a backend in any other way.

func newClient(t *testing.T, addr string) *redis.Client {
	t.Helper()
	return newClientOf(t, &redis.Options{Addr: addr})
}

func newClientOf(t *testing.T, options *redis.Options) *redis.Client {
	t.Helper()
	return closed(t, redis.NewClient(options))
}

func newClusterClient(t *testing.T, addrs []string) *redis.ClusterClient {
	t.Helper()
	return newClusterClientOf(t, &redis.ClusterOptions{Addrs: addrs})
}

func newClusterClientOf(t *testing.T, options *redis.ClusterOptions) *redis.ClusterClient {
	t.Helper()
	return closed(t, redis.NewClusterClient(options))
}

func newSentinelClient(t *testing.T, s *servers.Sentinels) *redis.Client {
	t.Helper()
	return closed(t, redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Name, SentinelAddrs: s.Addrs()}))
}

func newRing(t *testing.T, options *redis.RingOptions) *redis.Ring {
	t.Helper()
	return closed(t, redis.NewRing(options))
}

// closed returns what is closed at the end of the test.
func closed[C io.Closer](t *testing.T, made C) C {
	t.Helper()
	t.Cleanup(func() {
		if err := made.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			t.Error(err)
		}
	})
	return made
}

// newBackend returns a backend over client, in a namespace of its own.
func newBackend(t *testing.T, client redis.UniversalClient, options ...traffikredis.Option) *traffikredis.Backend {
	t.Helper()
	backend, err := traffikredis.New(client, append([]traffikredis.Option{traffikredis.WithNamespace(rand.Text())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return closed(t, backend)
}

// onClock is newBackend with a clock that is set by hand.
func onClock(t *testing.T, client redis.UniversalClient, options ...traffikredis.Option) (*traffikredis.Backend, func(traffik.Instant)) {
	t.Helper()
	clock := new(traffiktest.Clock)
	return newBackend(t, client, append([]traffikredis.Option{traffikredis.WithClock(clock)}, options...)...), clock.Set
}

// conform runs the conformance suite over client: with a clock set by hand, and
// on that of Redis.
func conform(t *testing.T, client redis.UniversalClient, features backendtest.Features, options ...traffikredis.Option) {
	t.Helper()
	t.Run("clock set by hand", func(t *testing.T) {
		t.Parallel()
		backendtest.Run(t, features, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
			t.Helper()
			return onClock(t, client, options...)
		})
	})
	t.Run("clock of Redis", func(t *testing.T) {
		t.Parallel()
		backendtest.Run(t, features, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
			t.Helper()
			return newBackend(t, client, options...), nil
		})
	})
}

func TestConformanceOnOneServer(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	conform(t, client, backendtest.Features{})
}

func TestConformanceWithoutCoalescing(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	conform(t, client, backendtest.Features{}, traffikredis.WithoutCoalescing())
}

func TestConformanceOnCluster(t *testing.T) {
	t.Parallel()
	client := newClusterClient(t, servers.RedisCluster(t).Addrs())
	conform(t, client, backendtest.Features{NotAtomicAcrossIdentities: true})
	t.Run("in one slot", func(t *testing.T) {
		t.Parallel()
		conform(t, client, backendtest.Features{}, traffikredis.WithSlot("tenant {1}"))
	})
}

func TestConformanceOnSentinel(t *testing.T) {
	t.Parallel()
	conform(t, newSentinelClient(t, servers.Sentinel(t)), backendtest.Features{})
}

func TestConformanceOnRing(t *testing.T) {
	t.Parallel()
	ring := newRing(t, &redis.RingOptions{Addrs: map[string]string{"a": servers.Redis(t, servers.Own()).Addr, "b": servers.Redis(t, servers.Own()).Addr}})
	conform(t, ring, backendtest.Features{NotAtomicAcrossIdentities: true})
}
