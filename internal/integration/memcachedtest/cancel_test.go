package memcachedtest

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// takeIn takes in a goroutine and returns where its error will be.
func takeIn(ctx context.Context, b traffik.Backend, ops ...traffik.Op) <-chan error {
	result := make(chan error, 1)
	go func() { result <- b.Take(ctx, ops, make([]traffik.Decision, len(ops))) }()
	return result
}

// A caller who leaves while his nth write is held up returns before it goes on,
// and in the end none of his ops is charged.
func TestCancelledCallerPaysNothing(t *testing.T) {
	t.Parallel()
	for n, ids := range map[int64][]string{1: {"a"}, 2: {"a", "b"}, 3: {"a", "b", "c"}} {
		p := newTap(t, servers.Memcached(t).Addr)
		b := newBackend(t, clientOf(t, p.addr))
		var ops []traffik.Op
		for _, id := range ids {
			take(t, b, opOf(id, 1))
			ops = append(ops, opOf(id, 2))
		}
		for held := int64(1); held <= n; held++ {
			reached, release := make(chan struct{}), make(chan struct{})
			p.onCommand(once(held, func() { close(reached); <-release }))
			left := errors.New("the caller left")
			ctx, cancel := context.WithCancelCause(t.Context())
			result := takeIn(ctx, b, ops...)
			<-reached
			cancel(left)
			if err := <-result; !errors.Is(err, left) {
				t.Errorf("%d ops, write %d held: the error is %v", n, held, err)
			}
			close(release)
			p.onCommand(nil)
			for _, id := range ids {
				eventually(t, id+" is uncharged", func() bool { return remaining(t, b, id) == 4 })
			}
		}
		if err := b.Close(); err != nil { // waits for all that is under way
			t.Error(err)
		}
	}
}

// Nothing more is charged for a caller who has left.
func TestCancelledTakeStopsWriting(t *testing.T) {
	t.Parallel()
	p := newTap(t, servers.Memcached(t).Addr)
	b := newBackend(t, clientOf(t, p.addr))
	ctx, cancel := context.WithCancel(t.Context())
	p.onCommand(once(1, cancel))
	if err := <-takeIn(ctx, b, opOf("a", 2), opOf("b", 2)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if err := b.Close(); err != nil { // waits until everything is refunded
		t.Error(err)
	}
	if got := verbs(p.said()); got != "gets add gets cas" {
		t.Errorf("it said %q, want one charge and its refund", got)
	}
}

func remaining(t *testing.T, b traffik.Backend, id string) int64 {
	t.Helper()
	out := make([]traffik.Decision, 1)
	if err := b.Peek(t.Context(), []traffik.Op{opOf(id, 0)}, out); err != nil {
		t.Fatal(err)
	}
	return out[0].Remaining
}

// silent is a server that takes connections and says nothing.
func silent(t *testing.T) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		var conns []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// A server that never answers holds nobody: not a caller who cancels, not one
// with a deadline, not one without, and not one who waits for his turn.
func TestSilentServerHoldsNobody(t *testing.T) {
	t.Parallel()
	client := clientOf(t, silent(t))
	client.Timeout = 2 * time.Second
	b, err := traffikmemcached.New(client, traffikmemcached.WithTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	left := errors.New("the caller left")
	cancelled, cancel := context.WithCancelCause(t.Context())
	short, cancelShort := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelShort()
	first, second := takeIn(cancelled, b, opOf("hot", 1)), takeIn(cancelled, b, opOf("hot", 1))
	third, fourth := takeIn(short, b, opOf("hot", 1)), takeIn(t.Context(), b, opOf("cold", 1))
	cancel(left)
	for i, want := range []error{left, left, context.DeadlineExceeded, traffik.ErrBackend} {
		err := <-[]<-chan error{first, second, third, fourth}[i]
		if !errors.Is(err, want) {
			t.Errorf("caller %d gets %v, want %v", i, err, want)
		}
		if i < 3 && errors.Is(err, traffik.ErrBackend) {
			t.Errorf("caller %d: %v, which is his own doing, counts as a failure of the store", i, err)
		}
	}
	for name, call := range map[string]func(context.Context) error{
		"Reset":          func(ctx context.Context) error { return b.Reset(ctx, opOf("x", 1).Key) },
		"ResetNamespace": b.ResetNamespace,
		"ReadStates": func(ctx context.Context) error {
			_, _, err := b.ReadStates(ctx, []traffik.Key{opOf("x", 1).Key}, nil)
			return err
		},
		"Peek": func(ctx context.Context) error {
			return b.Peek(ctx, []traffik.Op{opOf("x", 1)}, make([]traffik.Decision, 1))
		},
	} {
		if err := call(t.Context()); !errors.Is(err, traffik.ErrBackend) {
			t.Errorf("%s: %v, want ErrBackend", name, err)
		}
	}
	if err := b.Close(); err != nil { // the leak check of TestMain has nothing to find then
		t.Error(err)
	}
}

// With the servers down an application starts, and is told at the first draw.
func TestConstructorDoesNoIO(t *testing.T) {
	t.Parallel()
	client := clientOf(t, "127.0.0.1:1")
	dials := 0
	client.DialContext = func(context.Context, string, string) (net.Conn, error) { dials++; return nil, errDown }
	b := newBackend(t, client)
	if dials != 0 {
		t.Errorf("New dialled %d times", dials)
	}
	err := b.Take(t.Context(), []traffik.Op{opOf("caller", 1)}, make([]traffik.Decision, 1))
	if !errors.Is(err, errDown) || !errors.Is(err, traffik.ErrBackend) {
		t.Errorf("the error is %v", err)
	}
}

var errDown = errors.New("the server is down")

type panicking struct{ traffik.FixedWindow }

func (panicking) Decide(_, _ []byte, _ *traffik.Draw) ([]byte, traffik.Decision) {
	panic("my own mistake")
}

// A strategy's panic comes out where net/http recovers it, and frees the key.
func TestPanicOfAStrategyIsTheCallers(t *testing.T) {
	t.Parallel()
	b := newBackend(t, newClient(t, servers.Memcached(t)))
	op := opOf("caller", 1)
	op.Strategy = panicking{}
	func() {
		defer func() {
			if got := recover(); got != "my own mistake" {
				t.Errorf("recovered %v", got)
			}
		}()
		_ = b.Take(t.Context(), []traffik.Op{op}, make([]traffik.Decision, 1))
	}()
	take(t, b, opOf("caller", 1))
}
