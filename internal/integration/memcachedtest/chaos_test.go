package memcachedtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// run is traffic by several callers over some keys, single draws, several at
// once and refunds, until it is ended.
type run struct {
	end      context.CancelFunc
	wg       sync.WaitGroup
	admitted atomic.Int64
	failed   atomic.Int64
}

func traffic(t *testing.T, b *traffikmemcached.Backend, keys []string) *run {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	r := &run{end: end}
	for caller := range 8 {
		r.wg.Go(func() {
			for i := caller; ctx.Err() == nil; i++ {
				r.one(ctx, t, b, keys, i)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

func (r *run) one(ctx context.Context, t *testing.T, b *traffikmemcached.Backend, keys []string, i int) {
	// Each key gets refunds in its turn, so that those of any server go on.
	at := i + i/len(keys)
	ops := []traffik.Op{opOf(keys[at%len(keys)], 1)}
	switch i % 4 {
	case 0:
		ops = append(ops, opOf(keys[(at*7+1)%len(keys)], 1))
		if ops[0].Key == ops[1].Key {
			ops = ops[:1]
		}
	case 1:
		ops[0].Draw.Cost = -1
	}
	out := make([]traffik.Decision, len(ops))
	switch err := b.Take(ctx, ops, out); {
	case err == nil && out[0].Allowed:
		r.admitted.Add(1)
	case err != nil && ctx.Err() == nil:
		r.failed.Add(1)
		if !errors.Is(err, traffik.ErrBackend) {
			t.Errorf("an error that does not wrap ErrBackend: %v", err)
		}
	}
}

// awaitMore waits until traffic flows, whatever happened before.
func (r *run) awaitMore(t *testing.T) {
	t.Helper()
	from := r.admitted.Load()
	eventually(t, "more is admitted", func() bool { return r.admitted.Load() > from+100 })
}

func (r *run) stop() {
	r.end()
	r.wg.Wait()
}

// wantWhole checks that no key is stuck: each can be reset, and is limited from
// then on.
func wantWhole(t *testing.T, b *traffikmemcached.Backend, keys []string) {
	t.Helper()
	for _, key := range keys {
		if err := b.Reset(t.Context(), opOf(key, 0).Key); err != nil {
			t.Errorf("%s can't be reset: %v", key, err)
			continue
		}
		got := ""
		for range 7 {
			got += take1(t, b, key) + ", "
		}
		if want := "4 remaining, 3 remaining, 2 remaining, 1 remaining, 0 remaining, denied, denied, "; got != want {
			t.Errorf("%s is limited like this: %s", key, got)
		}
	}
}

func someKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key%d", i)
	}
	return keys
}

func TestFlushInTheMiddle(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t, servers.Own())
	b := newBackend(t, newClient(t, s))
	keys := someKeys(20)
	r := traffic(t, b, keys)
	flusher := newClient(t, s)
	for range 20 {
		r.awaitMore(t)
		if err := flusher.FlushAll(); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitMore(t)
	r.stop()
	if n := r.failed.Load(); n > 0 {
		t.Errorf("%d calls failed although the server was there all the time", n)
	}
	// Memcached flushes by seconds: what is stored in the same one may go too.
	time.Sleep(2 * time.Second) //nolint:forbidigo // a real server's clock
	wantWhole(t, b, keys)
}

func TestServerIsKilledAndComesBack(t *testing.T) {
	t.Parallel()
	for _, on := range [][]*servers.Server{{servers.Memcached(t, servers.Own())}, three(t)} {
		b := newBackend(t, newClient(t, on...))
		keys := someKeys(20)
		r := traffic(t, b, keys)
		for i := range 3 {
			r.awaitMore(t)
			s := on[i%len(on)]
			s.Kill()
			failures := r.failed.Load()
			eventually(t, "calls fail", func() bool { return r.failed.Load() > failures })
			if len(on) > 1 {
				r.awaitMore(t) // the keys of the other servers go on
			}
			s.Restart()
		}
		r.awaitMore(t)
		r.stop()
		wantWhole(t, b, keys)
	}
}

// The connections that a client kept from before a restart fail nobody.
func TestOldConnectionsAreReplaced(t *testing.T) {
	t.Parallel()
	const callers = 5
	s := servers.Memcached(t, servers.Own())
	p := newTap(t, s.Addr)
	b := newBackend(t, clientOf(t, p.addr))
	var all sync.WaitGroup // so that each has a connection of his own
	all.Add(callers)
	p.onCommand(func(line string) {
		if strings.HasPrefix(line, "gets ") {
			all.Done()
			all.Wait()
		}
	})
	var done sync.WaitGroup
	for _, key := range someKeys(callers) {
		done.Go(func() { take1(t, b, key) })
	}
	done.Wait()
	p.onCommand(nil)
	s.Kill()
	s.Restart()
	for _, key := range someKeys(callers) {
		if got := take1(t, b, key); got != "4 remaining" {
			t.Errorf("%s after the restart: %s", key, got)
		}
	}
}

// With memory for a part of what is drawn on, items are evicted or refused:
// fresh keys or errors, and never more than the limit from one item.
func TestEvictions(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t, servers.Args("-m", "2"))
	client := newClient(t, s)
	b := newBackend(t, client)
	big := opOf("", 1)
	big.Strategy = padded{size: 1000}
	big.Key.Scope = store.ScopeOf("big", padded{}.ID())
	keys := someKeys(20)
	r := traffic(t, b, keys)
	var evicted, refused int
	for i := range 3000 {
		big.Key.ID = fmt.Sprint(i)
		switch err := b.Take(t.Context(), []traffik.Op{big}, make([]traffik.Decision, 1)); {
		case errors.Is(err, traffik.ErrBackend):
			refused++
		case err != nil:
			t.Fatal(err)
		}
	}
	for i := range 3000 {
		big.Key.ID = fmt.Sprint(i)
		states, _, err := b.ReadStates(t.Context(), []traffik.Key{big.Key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if states[0] == nil {
			evicted++
		}
	}
	r.awaitMore(t)
	r.stop()
	t.Logf("%d of 3000 items were refused and %d are gone; %d small draws failed", refused, evicted, r.failed.Load())
	if evicted == 0 {
		t.Error("nothing was evicted, so nothing was tested")
	}
	for _, key := range keys {
		_ = b.Reset(t.Context(), opOf(key, 0).Key)
	}
	wantWhole(t, b, keys[:1])
}

// An item that is not ours counts as an untouched key, and is replaced.
func TestForeignItemIsReplaced(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t)
	client := newClient(t, s)
	p := newTap(t, s.Addr)
	b := newBackend(t, clientOf(t, p.addr))
	take(t, b, opOf("caller", 1))
	name := strings.Fields(p.said()[1])[1]
	for _, value := range []string{"", "T", "x", "garbage of some length", "T\xff\xff\xff\xff\xff\xff\xff\x7fgarbage", strings.Repeat("T", 5000)} {
		if err := client.Set(&memcache.Item{Key: name, Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, b, "caller", 5)
		if dec := take(t, b, opOf("caller", 2))[0]; dec.Remaining != 3 {
			t.Errorf("over %q: %+v", value, dec)
		}
		wantLeft(t, b, "caller", 3)
	}
}

// No goroutine is left when a backend is closed in the middle of it all.
func TestCloseInTheMiddle(t *testing.T) {
	t.Parallel()
	b := newBackend(t, newClient(t, servers.Memcached(t)))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
				err := b.Take(ctx, []traffik.Op{opOf("a", 1), opOf("b", 1)}, make([]traffik.Decision, 2))
				cancel()
				if errors.Is(err, traffik.ErrClosed) {
					return
				}
			}
		})
	}
	for range 50 {
		take1(t, b, "c")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
