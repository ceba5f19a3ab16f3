// Package redistest runs the Redis backend against real servers.
package redistest

import (
	"crypto/rand"
	"os"
	"testing"

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
	// Two of go-redis outlive a client for up to a second.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*clusterStateHolder).LazyReload.func1"))
}

func newClient(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// newBackend returns a backend over client, in a namespace of its own.
func newBackend(t *testing.T, client redis.UniversalClient, options ...traffikredis.Option) *traffikredis.Backend {
	t.Helper()
	backend, err := traffikredis.New(client, append([]traffikredis.Option{traffikredis.WithNamespace(rand.Text())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := backend.Close(); err != nil {
			t.Error(err)
		}
	})
	return backend
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
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": servers.Redis(t, servers.Own()).Addr, "b": servers.Redis(t, servers.Own()).Addr}})
	t.Cleanup(func() { _ = ring.Close() })
	conform(t, ring, backendtest.Features{NotAtomicAcrossIdentities: true})
}

func newClusterClient(t *testing.T, addrs []string) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newSentinelClient(t *testing.T, s *servers.Sentinels) *redis.Client {
	t.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Name, SentinelAddrs: s.Addrs()})
	t.Cleanup(func() { _ = client.Close() })
	return client
}
