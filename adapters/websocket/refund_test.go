package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// remaining is what limit has left for the peer of tests.
func remaining(t *testing.T, limit *traffik.Throttle) int64 {
	t.Helper()
	stat, err := limit.Key("ip:192.0.2.1").Stat(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Error(err)
	}
	return stat.Remaining
}

// leavable is a connection of both styles whose messages are handed over one by one, until
// somebody hangs up.
type leavable struct {
	*pipe
	once *sync.Once
}

func newLeavable() leavable { return leavable{newPipe(), new(sync.Once)} }

func (l leavable) hangUp() { l.once.Do(func() { close(l.messages) }) }

func (l leavable) ReadMessage() (int, []byte, error) {
	k, data, err := l.Read(context.Background())
	return int(k), data, err
}

func (l leavable) WriteMessage(int, []byte) error { return nil }

func (l leavable) Write(context.Context, kind, []byte) error { return nil }

func (l leavable) WriteControl(int, []byte, time.Time) error { return nil }

// coderLeavable and gorillaLeavable close as the libraries do.
type coderLeavable struct{ leavable }

func (l coderLeavable) Close(status, string) error {
	l.hangUp()
	return nil
}

func (l coderLeavable) CloseNow() error { return l.Close(0, "") }

type gorillaLeavable struct{ leavable }

func (l gorillaLeavable) Close() error {
	l.hangUp()
	return nil
}

// A message whose read has ended with its context while it was held is the next read's. If
// the connection ends instead, its charge is refunded though nobody reads any more, and it
// is never delivered.
func TestHeldMessageIsRefundedWithoutAnotherRead(t *testing.T) {
	t.Parallel()
	type ends struct {
		coder   func(*traffikws.Conn[kind], leavable) error
		gorilla func(*traffikws.MessageConn, leavable) error
	}
	for name, end := range map[string]ends{
		"close": {
			func(c *traffikws.Conn[kind], _ leavable) error { return c.Close(1000, "") },
			func(c *traffikws.MessageConn, _ leavable) error { return c.WriteControl(8, nil, time.Time{}) },
		},
		"close message": {nil, func(c *traffikws.MessageConn, _ leavable) error { return c.WriteMessage(8, nil) }},
		"close now": {
			func(c *traffikws.Conn[kind], _ leavable) error { return c.CloseNow() },
			func(c *traffikws.MessageConn, _ leavable) error { return c.Close() },
		},
		"the peer is gone": {
			func(_ *traffikws.Conn[kind], l leavable) error { l.hangUp(); return nil },
			func(_ *traffikws.MessageConn, l leavable) error { l.hangUp(); return nil },
		},
		"a write over the limit": {
			func(c *traffikws.Conn[kind], _ leavable) error {
				if err := c.Write(context.Background(), 1, nil); !errors.As(err, new(*traffikws.DeniedError)) {
					return fmt.Errorf("the write was not denied: %w", err)
				}
				return nil
			},
			nil, // its context has ended, for writes too
		},
		"a message that is too big": {
			func(_ *traffikws.Conn[kind], l leavable) error { l.messages <- "too big"; return nil },
			func(_ *traffikws.MessageConn, l leavable) error { l.messages <- "too big"; return nil },
		},
	} {
		for _, style := range []string{"Wrap", "WrapMessages"} {
			t.Run(name+" "+style, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit := realLimit(t, "1/h", traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: 9}))
					opts := []traffikws.Option{
						traffikws.WithMode(traffikws.Delay(9 * time.Hour)), traffikws.WithMaxMessageBytes(5),
						traffikws.WithOutbound(realLimit(t, "1/h", traffik.WithCostFunc(func(*traffik.Request) (int64, error) { return 2, nil })), traffikws.Close()),
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					from := peer()
					from.Context = ctx
					l := newLeavable()
					defer l.hangUp()
					conn, messages := traffikws.Wrap(coderLeavable{l}, from, limit, opts...), traffikws.WrapMessages(gorillaLeavable{l}, from, limit, opts...)
					if style == "Wrap" && end.coder == nil || style == "WrapMessages" && end.gorilla == nil {
						return
					}
					read, hangUp := func() (string, error) {
						_, data, err := conn.Read(ctx)
						return string(data), err
					}, func() error { return end.coder(conn, l) }
					if style == "WrapMessages" {
						read, hangUp = func() (string, error) {
							_, data, err := messages.ReadMessage()
							return string(data), err
						}, func() error { return end.gorilla(messages, l) }
					}
					go func() { l.messages <- "1"; l.messages <- "2" }()
					if got, err := read(); got != "1" || err != nil {
						t.Fatalf("%q, %v", got, err)
					}
					before := remaining(t, limit)
					time.AfterFunc(time.Second, cancel)
					if got, err := read(); !errors.Is(err, context.Canceled) || remaining(t, limit) != before-1 {
						t.Fatalf("%q, %v, %d remaining; want the message held and charged", got, err, remaining(t, limit))
					}
					if err := hangUp(); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					if got := remaining(t, limit); got != before {
						t.Errorf("%d remaining, want %d", got, before)
					}
					if got, err := read(); err == nil {
						t.Errorf("%q was delivered", got)
					}
					l.hangUp()
					time.Sleep(10 * time.Second) //nolint:forbidigo // the clock of the bubble
				})
			})
		}
	}
}

// A write whose context or write deadline ends before its turn is denied at once, with its
// place in a queue refunded; one whose context is cancelled meanwhile ends with that.
func TestWriteThatEndsBeforeItsTurn(t *testing.T) {
	t.Parallel()
	const turn, most = 10 * time.Second, time.Minute
	for strategyName, strategy := range map[string]traffik.Strategy{"gcra": traffik.GCRA{}, "queue": traffik.LeakyBucketWithQueue{Capacity: 9}} {
		for name, c := range map[string]struct {
			deadline, cancel time.Duration
			sent             bool
			took             time.Duration
		}{
			"before its turn":          {turn - time.Millisecond, 0, false, 0},
			"over already":             {time.Nanosecond, 0, false, 0},
			"after its turn":           {turn + time.Millisecond, 0, true, turn},
			"beyond the bound":         {2 * most, 0, true, turn},
			"cancelled while it waits": {2 * most, time.Second, false, time.Second},
			"cancelled too late":       {2 * most, turn + 1, true, turn},
		} {
			for _, style := range []string{"context", "write deadline", "context of the request"} {
				t.Run(fmt.Sprint(strategyName, " ", name, " ", style), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						out, in := realLimit(t, "1/10s", traffik.WithStrategy(strategy)), realLimit(t, "9/h")
						s, opt := &deadlines{}, traffikws.WithOutbound(out, traffikws.Delay(most))
						start := time.Now()
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						from, end := peer(), start.Add(c.deadline)
						if style != "write deadline" {
							var stop func()
							ctx, stop = context.WithDeadline(ctx, end)
							defer stop()
						}
						from.Context = ctx
						messages := traffikws.WrapMessages(s, from, in, opt)
						write := func() error { return messages.WriteMessage(1, nil) }
						switch style {
						case "context":
							conn := traffikws.Wrap(s, peer(), in, opt)
							write = func() error { return conn.Write(ctx, 1, nil) }
						case "write deadline":
							if err := messages.SetWriteDeadline(end); err != nil {
								t.Fatal(err)
							}
						}
						if err := write(); err != nil {
							t.Fatal(err)
						}
						before := remaining(t, out)
						if c.cancel > 0 {
							time.AfterFunc(c.cancel, cancel)
						}
						err := write()
						var denied *traffikws.DeniedError
						switch {
						case c.sent && err != nil, !c.sent && c.cancel > 0 && !errors.Is(err, context.Canceled), !c.sent && c.cancel == 0 && !errors.As(err, &denied):
							t.Errorf("error %v", err)
						}
						sent := 1
						if c.sent {
							sent = 2
						}
						if took := time.Since(start); took != c.took || len(s.written) != sent {
							t.Errorf("%d written after %v, want %d after %v", len(s.written), took, sent, c.took)
						}
						if got := remaining(t, out); !c.sent && c.took == 0 && got != before {
							t.Errorf("%d remaining, want %d", got, before)
						}
					})
				})
			}
		}
	}
}

// deadlines is a connection of both styles with write deadlines.
type deadlines struct{ script }

func (*deadlines) SetWriteDeadline(time.Time) error { return nil }

// A read that its caller ends while the store is asked is no failure of the store: no error
// policy applies, nobody is told, and the message is the next read's.
func TestReadEndsWhileTheStoreIsAsked(t *testing.T) {
	t.Parallel()
	for _, policy := range []traffik.ErrorPolicy{traffik.FailOpen, traffik.FailClosed, traffik.Propagate} {
		for name, mode := range map[string]traffikws.Mode{"notify": traffikws.Notify(), "delay": traffikws.Delay(time.Minute), "close": traffikws.Close()} {
			t.Run(fmt.Sprint(policy, " ", name), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					memory, err := traffik.NewMemory()
					if err != nil {
						t.Fatal(err)
					}
					store := traffiktest.Break(memory)
					store.Slow(time.Hour)
					failures := 0
					limit := traffik.MustNew("limit", "1/h", traffik.WithBackend(store), traffik.WithErrorFunc(func(error) traffik.ErrorPolicy {
						failures++
						return policy
					}))
					s := &closing{script: script{inbound: []string{"a", "b"}}}
					conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(mode))
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(time.Second, cancel)
					if _, data, err := conn.Read(ctx); !errors.Is(err, context.Canceled) {
						t.Errorf("%q, %v; want the end of the context", data, err)
					}
					store.Slow(0)
					if _, data, err := conn.Read(t.Context()); string(data) != "a" || err != nil {
						t.Errorf("%q, %v; want the same message", data, err)
					}
					if len(s.written) != 0 || len(s.closed) != 0 || failures != 0 {
						t.Errorf("written %q, closed %q, %d failures; want none", s.written, s.closed, failures)
					}
				})
			})
		}
	}
}
