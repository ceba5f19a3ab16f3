// Package memcachedtest holds the tests of traffikmemcached against real
// servers.
package memcachedtest

import (
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"go.uber.org/goleak"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/backendtest"
	"github.com/traffik-go/traffik/core/traffiktest"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// features leaves NotAtomic unset, which is the stricter test: while nobody
// collides, a Take of several ops is atomic.
var features = backendtest.Features{NotAtomicAcrossIdentities: true, LatestTime: true}

func TestConformsOnOneServer(t *testing.T) {
	t.Parallel()
	conforms(t, servers.Memcached(t))
}

func TestConformsOnThreeServers(t *testing.T) {
	t.Parallel()
	conforms(t, three(t)...)
}

func three(t *testing.T) []*servers.Server {
	t.Helper()
	return []*servers.Server{
		servers.Memcached(t, servers.Own()), servers.Memcached(t, servers.Own()), servers.Memcached(t, servers.Own()),
	}
}

func conforms(t *testing.T, on ...*servers.Server) {
	t.Helper()
	for name, set := range map[string]bool{"ItsOwnClock": false, "AClockThatIsSet": true} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, features, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
				client := newClient(t, on...)
				if !set {
					return newBackend(t, client), nil
				}
				// The server's own clock does not follow ours, so nothing may expire.
				clock := traffiktest.NewClock(time.Now())
				return newBackend(t, client, traffikmemcached.WithClock(clock), traffikmemcached.WithMaxSkew(24*time.Hour)), clock.Set
			})
		})
	}
}

// newClient returns a client of the servers, closed with the test.
func newClient(t *testing.T, on ...*servers.Server) *memcache.Client {
	t.Helper()
	addrs := make([]string, len(on))
	for i, s := range on {
		addrs[i] = s.Addr
	}
	return clientOf(t, addrs...)
}

func clientOf(t testing.TB, addrs ...string) *memcache.Client {
	t.Helper()
	client := memcache.New(addrs...)
	client.MaxIdleConns = 64
	client.Timeout = 5 * time.Second
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// newBackend returns a backend in a namespace of the test's own, closed before
// the client is.
func newBackend(t *testing.T, client *memcache.Client, opts ...traffikmemcached.Option) *traffikmemcached.Backend {
	t.Helper()
	opts = append([]traffikmemcached.Option{
		traffikmemcached.WithNamespace(namespace(t)), traffikmemcached.WithTimeout(15 * time.Second),
	}, opts...)
	b, err := traffikmemcached.New(client, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}
