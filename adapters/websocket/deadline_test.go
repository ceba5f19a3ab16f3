package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// hung is a throttle whose store does not answer for an hour, until it is woken.
func hung(t *testing.T, policy traffik.ErrorPolicy) (limit *traffik.Throttle, wake func()) {
	t.Helper()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	store := traffiktest.Break(memory)
	store.Slow(time.Hour)
	return traffik.MustNew("limit", "1/h", traffik.WithBackend(store), traffik.WithErrorPolicy(policy)), func() { store.Slow(0) }
}

// A deadline that passes while the store is asked is the store's failure, which the error
// policy decides on, in each mode of each direction: no violation, and nothing is lost that
// the policy leaves open.
func TestDeadlineWhileTheStoreIsAsked(t *testing.T) {
	t.Parallel()
	modes := map[string]traffikws.Mode{
		"notify": traffikws.Notify(), "drop": traffikws.Drop(), "delay": traffikws.Delay(time.Minute), "close": traffikws.Close(),
	}
	for name, mode := range modes {
		for _, policy := range []traffik.ErrorPolicy{traffik.FailOpen, traffik.FailClosed, traffik.Propagate} {
			t.Run(fmt.Sprint(name, " ", policy, " read"), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit, wake := hung(t, policy)
					s := &closing{script: script{inbound: []string{"a", "b"}}}
					conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(mode))
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					_, first, err := conn.Read(ctx)
					wake()
					_, second, again := conn.Read(t.Context())
					var notices []string
					switch policy {
					case traffik.FailOpen:
						if string(first) != "a" || err != nil || string(second) != "b" || again != nil {
							t.Errorf("%q, %v, then %q, %v; want both messages", first, err, second, again)
						}
					case traffik.FailClosed:
						if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, traffik.ErrBackend) || string(second) != "b" || again != nil {
							t.Errorf("%v, then %q, %v; want the end of the read and the second message", err, second, again)
						}
						if name != "drop" {
							notices = []string{`1 {"type":"rate_limit"}`}
						}
					default:
						if !errors.Is(err, traffik.ErrBackend) || string(second) != "a" || again != nil {
							t.Errorf("%v, then %q, %v; want the failure and the first message", err, second, again)
						}
					}
					if !slices.Equal(s.written, notices) || len(s.closed) != 0 {
						t.Errorf("written %q, closed by %q; want %q", s.written, s.closed, notices)
					}
				})
			})
			t.Run(fmt.Sprint(name, " ", policy, " write"), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit, _ := hung(t, policy)
					s := &closing{}
					conn := traffikws.Wrap(s, peer(), realLimit(t, "9/h"), traffikws.WithOutbound(limit, mode))
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					err := conn.Write(ctx, 1, nil)
					var denied *traffikws.DeniedError
					sent := 0
					switch {
					case policy == traffik.FailOpen:
						sent = 1
						if err != nil {
							t.Errorf("error %v, want the message sent", err)
						}
					case policy == traffik.Propagate:
						if errors.As(err, &denied) || !errors.Is(err, traffik.ErrBackend) {
							t.Errorf("error %v, want the failure", err)
						}
					case name == "drop":
						if err != nil {
							t.Errorf("error %v, want none", err)
						}
					case !errors.As(err, &denied) || denied.Closed || !errors.Is(err, traffik.ErrBackend):
						t.Errorf("error %v, want a denial for the failure", err)
					}
					if len(s.written) != sent || len(s.closed) != 0 {
						t.Errorf("written %q, closed by %q; want %d written", s.written, s.closed, sent)
					}
				})
			})
		}
	}
}
