package memcachedtest

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/fakememcached"
)

// hanging is a backend on a server in memory, inside a bubble of testing/synctest, where
// waiting takes no time and is measured all the same.
type hanging struct {
	*traffikmemcached.Backend
	server *fakememcached.Server
}

const (
	hangingBound   = 2 * time.Second
	refundingBound = 5 * time.Second
)

// onHanging runs test with a backend whose client gives each request clientTimeout, and
// closes everything.
func onHanging(t *testing.T, clientTimeout time.Duration, test func(t *testing.T, h hanging)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := fakememcached.New()
		defer server.Close()
		client := server.Client()
		client.Timeout = clientTimeout
		defer func() { _ = client.Close() }()
		b, err := traffikmemcached.New(client, traffikmemcached.WithTimeout(hangingBound))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()
		test(t, hanging{b, server})
	})
}

// goroutines returns the stacks of the backend's and its client's, in this bubble.
func goroutines() (stacks []string) {
	buf := make([]byte, 1<<20)
	_, bubble, _ := strings.Cut(head(string(buf[:runtime.Stack(buf, false)])), "synctest bubble")
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		ours := strings.Contains(stack, "/backends/memcached.") || strings.Contains(stack, "/gomemcache/")
		if ours && strings.Contains(head(stack), "synctest bubble"+bubble) {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

func head(stack string) string {
	line, _, _ := strings.Cut(stack, "]:")
	return line + "]"
}

// wantNoGoroutine lets those end that have nothing left to do, and no time pass.
func wantNoGoroutine(t *testing.T, when string) {
	t.Helper()
	synctest.Wait()
	if left := goroutines(); len(left) > 0 {
		t.Errorf("%s %d goroutines are left:\n%s", when, len(left), strings.Join(left, "\n\n"))
	}
}

// A backend that nobody uses keeps no goroutine, closed or not.
func TestIdleBackendHasNoGoroutine(t *testing.T) {
	t.Parallel()
	onHanging(t, 500*time.Millisecond, func(t *testing.T, h hanging) {
		wantNoGoroutine(t, "before the first call")
		take(t, h, opOf("a", 1), opOf("b", 1))
		wantLeft(t, h, "a", 4)
		if err := h.ResetNamespace(t.Context()); err != nil {
			t.Error(err)
		}
		wantNoGoroutine(t, "between calls")
		h.server.Hang()
		if err := h.Take(t.Context(), []traffik.Op{opOf("a", 1)}, make([]traffik.Decision, 1)); !errors.Is(err, traffik.ErrBackend) {
			t.Errorf("on a hung server: %v, want ErrBackend", err)
		}
		wantNoGoroutine(t, "after a call that failed")
	})
}

// Close waits for what is under way on a server that hangs, no longer than it says, and
// leaves no goroutine: neither of callers that wait, nor of those that left, nor of those
// in a queue, nor of refunds.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	t.Parallel()
	for _, clientTimeout := range []time.Duration{500 * time.Millisecond, 10 * time.Second} {
		onHanging(t, clientTimeout, func(t *testing.T, h hanging) {
			h.server.Hang()
			left := errors.New("the caller left")
			ctx, cancel := context.WithCancelCause(t.Context())
			var callers sync.WaitGroup
			for _, id := range []string{"a", "b", "hot", "hot", "hot"} {
				for _, ctx := range []context.Context{t.Context(), ctx} {
					callers.Go(func() {
						err := h.Take(ctx, []traffik.Op{opOf(id, 1), opOf("shared", 1)}, make([]traffik.Decision, 2))
						if !errors.Is(err, traffik.ErrBackend) && !errors.Is(err, left) {
							t.Errorf("on a hung server: %v", err)
						}
					})
				}
			}
			callers.Go(func() {
				if err := h.Reset(t.Context(), opOf("a", 0).Key, opOf("b", 0).Key); !errors.Is(err, traffik.ErrBackend) {
					t.Errorf("Reset on a hung server: %v", err)
				}
			})
			synctest.Wait()
			cancel(left)
			synctest.Wait()
			if len(goroutines()) == 0 {
				t.Error("nothing is under way, which proves little")
			}
			begin := time.Now()
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			took := time.Since(begin)
			wantNoGoroutine(t, "after Close")
			if most := hangingBound + 2*clientTimeout; took > most {
				t.Errorf("Close took %v, at most %v was promised", took, most)
			}
			callers.Wait()
			for name, call := range h.calls(t.Context()) {
				if err := call(); !errors.Is(err, traffik.ErrClosed) {
					t.Errorf("%s after Close: %v, want ErrClosed", name, err)
				}
			}
			wantNoGoroutine(t, "after calls of a closed backend")
		})
	}
}

// The caller leaves and the server hangs while the last of six keys is charged: Close
// waits for the refunds of what was, and no longer than it says.
func TestCloseWaitsForRefunds(t *testing.T) {
	t.Parallel()
	const clientTimeout = 3 * time.Second
	for _, goesOn := range []bool{false, true} {
		onHanging(t, clientTimeout, func(t *testing.T, h hanging) {
			ctx, cancel := context.WithCancel(t.Context())
			keys := someKeys(6)
			var ops []traffik.Op
			for _, key := range keys {
				ops = append(ops, opOf(key, 2))
			}
			h.server.OnCommand(once(int64(len(ops)), func() { h.server.Hang(); cancel() }))
			err := h.Take(ctx, ops, make([]traffik.Decision, len(ops)))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the caller who left gets %v", err)
			}
			if goesOn {
				h.server.GoOn()
			}
			begin := time.Now()
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			took := time.Since(begin)
			wantNoGoroutine(t, "after Close")
			switch most := hangingBound + refundingBound + 2*clientTimeout; {
			case took > most || goesOn && took > 0:
				t.Errorf("the server goes on: %v; Close took %v, at most %v was promised", goesOn, took, most)
			case !goesOn && took < clientTimeout:
				t.Errorf("Close took %v and can't have waited for the request", took)
			}
			if !goesOn {
				return
			}
			other := h.another(t)
			for _, key := range keys {
				wantLeft(t, other, key, 5)
			}
		})
	}
}

// another returns another backend of the server.
func (h hanging) another(t *testing.T) *traffikmemcached.Backend {
	t.Helper()
	client := h.server.Client()
	b, err := traffikmemcached.New(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(); _ = client.Close() })
	return b
}

// calls are all methods that ask a server.
func (h hanging) calls(ctx context.Context) map[string]func() error {
	key, other := opOf("x", 0).Key, opOf("y", 0).Key
	refund := opOf("x", -1)
	return map[string]func() error{
		"Take":   func() error { return h.Take(ctx, []traffik.Op{opOf("x", 1)}, make([]traffik.Decision, 1)) },
		"refund": func() error { return h.Take(ctx, []traffik.Op{refund}, make([]traffik.Decision, 1)) },
		"Peek":   func() error { return h.Peek(ctx, []traffik.Op{opOf("x", 1)}, make([]traffik.Decision, 1)) },
		"Reset":  func() error { return h.Reset(ctx, key, other, opOf("z", 0).Key) },
		"ResetNamespace": func() error {
			return h.ResetNamespace(ctx)
		},
		"ReadStates": func() error {
			_, _, err := h.ReadStates(ctx, []traffik.Key{key, other}, nil)
			return err
		},
	}
}

// Every call ends on a server that hangs, without a deadline of its caller's: at the
// bound of WithTimeout or as soon as the client gives up, with an error of the store.
func TestHungServerEndsEveryCall(t *testing.T) {
	t.Parallel()
	for _, clientTimeout := range []time.Duration{100 * time.Millisecond, time.Minute} {
		onHanging(t, clientTimeout, func(t *testing.T, h hanging) {
			h.server.Hang()
			for name, call := range h.calls(context.Background()) { // which never ends
				begin := time.Now()
				err := call()
				if !errors.Is(err, traffik.ErrBackend) || errors.Is(err, traffik.ErrContention) {
					t.Errorf("%s: %v, want ErrBackend", name, err)
				}
				if took, want := time.Since(begin), min(hangingBound, 2*clientTimeout); took > want || took < clientTimeout && took < hangingBound {
					t.Errorf("%s took %v, at most %v with a client that gives a request %v", name, took, want, clientTimeout)
				}
			}
		})
	}
}

// A throttle's own calls on a hung server end and are typed: a refund, Reset and
// Describe with a context that never ends.
func TestHungServerEndsCallsOfAThrottle(t *testing.T) {
	t.Parallel()
	onHanging(t, time.Minute, func(t *testing.T, h hanging) {
		throttle, err := traffik.New("hung", "5/min", traffik.WithBackend(h), traffik.WithErrorPolicy(traffik.Propagate))
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background() // which never ends
		subject := throttle.Key("user:1")
		res, err := subject.Hit(ctx)
		if err != nil || !res.Allowed {
			t.Fatalf("%+v, %v", res, err)
		}
		h.server.Hang()
		for name, call := range map[string]func() error{
			"Refund":   func() error { return throttle.Refund(ctx, res, 1) },
			"Reset":    func() error { return subject.Reset(ctx) },
			"Describe": func() error { _, err := subject.Describe(ctx); return err },
			"Hit":      func() error { _, err := subject.Hit(ctx); return err },
		} {
			begin := time.Now()
			if err := call(); !errors.Is(err, traffik.ErrBackend) {
				t.Errorf("%s: %v, want ErrBackend", name, err)
			}
			if took := time.Since(begin); took != hangingBound {
				t.Errorf("%s took %v, want %v", name, took, hangingBound)
			}
		}
	})
}
