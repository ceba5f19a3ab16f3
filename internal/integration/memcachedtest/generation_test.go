package memcachedtest

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// admits draws one unit at a time until it is denied, on one backend after the
// other.
func admits(t *testing.T, id string, on ...traffik.Backend) (n int) {
	t.Helper()
	for _, b := range on {
		for take(t, b, opOf(id, 1))[0].Allowed {
			n++
		}
	}
	return n
}

func resetNamespace(t *testing.T, b traffik.NamespaceResetter) {
	t.Helper()
	if err := b.ResetNamespace(t.Context()); err != nil {
		t.Error(err)
	}
}

// Of two resets at the same time the later number wins, for everybody.
func TestResetsAtTheSameTime(t *testing.T) {
	t.Parallel()
	s, ns := servers.Memcached(t), namespace(t)
	p := newTap(t, s.Addr)
	a, b := process(t, clientOf(t, p.addr), ns), process(t, newClient(t, s), ns)
	p.onCommand(once(1, func() { resetNamespace(t, b) }))
	resetNamespace(t, a)
	p.onCommand(nil)
	for _, id := range []string{"1", "2", "3"} {
		if n := admits(t, id, a, b); n != 5 {
			t.Errorf("caller %s: %d admitted, want 5", id, n)
		}
	}
}

// A number that is lost, damaged or put back by a process that remembers an
// older one is corrected by the first process that knows better.
func TestOldNumberIsCorrected(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(client *memcache.Client, key string) error{
		"lost": func(client *memcache.Client, key string) error { return client.Delete(key) },
		"short": func(client *memcache.Client, key string) error {
			return client.Set(&memcache.Item{Key: key, Value: []byte("x")})
		},
		"too high": func(client *memcache.Client, key string) error {
			return client.Set(&memcache.Item{Key: key, Value: []byte(strings.Repeat("\xff", 8))})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, ns := newClient(t, servers.Memcached(t)), namespace(t)
			idle, busy := process(t, client, ns), process(t, client, ns)
			resetNamespace(t, idle)
			resetNamespace(t, busy) // of which the first knows nothing
			if err := damage(client, ns+"~generation"); err != nil {
				t.Fatal(err)
			}
			take(t, idle, opOf("any", 1)) // puts its old number back
			take(t, busy, opOf("any", 1))
			for _, id := range []string{"1", "2"} {
				if n := admits(t, id, idle, busy, process(t, client, ns)); n != 5 {
					t.Errorf("caller %s: %d admitted, want 5", id, n)
				}
			}
			resetNamespace(t, idle)
			wantLeft(t, busy, "1", 5)
		})
	}
}

// A refund succeeds however often others come in between.
func TestRefundUnderContention(t *testing.T) {
	t.Parallel()
	b, other, p := rival(t)
	big := func(id string, cost int64) traffik.Op {
		op := opOf(id, cost)
		op.Draw.Rate = traffik.Per(1000, forever)
		return op
	}
	const tries = 40 // more than a draw makes
	var writing, rivals atomic.Int64
	p.onCommand(func(line string) {
		if !writes(line) {
			return
		}
		switch i := writing.Add(1); {
		case i == 2:
			take(t, other, big("second", 1000))
		case i > 2 && i <= 2+tries:
			rivals.Add(1)
			take(t, other, big("first", 1)) // before each try of the refund
		}
	})
	if take(t, b, big("first", 100), big("second", 1))[1].Allowed {
		t.Error("the second was admitted")
	}
	p.onCommand(nil)
	if used := 1000 - take(t, b, big("first", 0))[0].Remaining; used != rivals.Load() || used != tries {
		t.Errorf("%d in use, want the %d of the rivals", used, rivals.Load())
	}
}

// apart picks one server for the generation's number and another for the keys.
type apart struct{ number, keys net.Addr }

func (s apart) PickServer(key string) (net.Addr, error) {
	if strings.HasSuffix(key, "~generation") {
		return s.number, nil
	}
	return s.keys, nil
}

func (s apart) Each(f func(net.Addr) error) error { return errors.Join(f(s.number), f(s.keys)) }

// A server that takes connections and hangs up, as a proxy does whose own server is gone,
// and has the number, takes no other server's keys with it.
func TestNumberBehindAProxyWithoutAServer(t *testing.T) {
	t.Parallel()
	gone, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := gone.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() {
		_ = gone.Close()
		accepting.Wait()
	})
	addr, err := net.ResolveTCPAddr("tcp", servers.Memcached(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	client := memcache.NewFromSelector(apart{number: gone.Addr(), keys: addr})
	t.Cleanup(func() { _ = client.Close() })
	b := newBackend(t, client)
	if n := admits(t, "a", b); n != 5 {
		t.Errorf("%d admitted, want 5", n)
	}
}

// A server that takes connections and never answers, and has the number, is asked by
// the calls that find it so, and from then on by one a second.
func TestSilentServerOfTheNumber(t *testing.T) {
	t.Parallel()
	number, err := net.ResolveTCPAddr("tcp", silent(t))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := net.ResolveTCPAddr("tcp", servers.Memcached(t).Addr)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64 // by a connection of its own, which is given up
	client := memcache.NewFromSelector(apart{number: number, keys: keys})
	client.MaxIdleConns, client.Timeout = 64, 2*time.Second
	client.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == number.String() {
			asked.Add(1)
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	t.Cleanup(func() { _ = client.Close() })
	b := newBackend(t, client)
	const callers, lasts = 20, 5 * time.Second
	var calls atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	start := time.Now()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := b.Take(t.Context(), []traffik.Op{opOf(strconv.Itoa(i), 1)}, make([]traffik.Decision, 1)); err != nil {
					t.Error(err)
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	t.Logf("%d calls in %v, the server was asked %d times", calls.Load(), took, asked.Load())
	if most := int64(callers + took/time.Second); asked.Load() < 1 || asked.Load() > most || calls.Load() < 10*most {
		t.Errorf("%d calls in %v, the server was asked %d times; want 1 to %d", calls.Load(), took, asked.Load(), most)
	}
}
