package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// talker is a connection in the style of gorilla's whose peer says something
// each second and answers no close.
type talker struct {
	closed chan struct{}
	frames atomic.Int64
	once   sync.Once
}

func newTalker() *talker { return &talker{closed: make(chan struct{})} }

func (p *talker) ReadMessage() (int, []byte, error) {
	select {
	case <-time.After(time.Second):
		return 1, []byte("talk"), nil
	case <-p.closed:
		return -1, nil, errEnd
	}
}

func (p *talker) WriteMessage(int, []byte) error { return nil }

func (p *talker) WriteControl(opcode int, data []byte, _ time.Time) error {
	if opcode == 8 && string(data) == "\x03\xf0rate limit exceeded" {
		p.frames.Add(1)
	}
	return nil
}

func (p *talker) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// A peer that goes on talking after the close frame is not listened to for long,
// whichever direction was over its limit.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate     string
		mode     traffikws.Mode
		outbound bool
	}{
		"inbound":             {"1/h", traffikws.Close(), false},
		"outbound":            {"100/h", traffikws.Notify(), true},
		"outbound when ahead": {"100/h", traffikws.Delay(0), true},
		"outbound when held":  {"1/h", traffikws.Delay(2 * time.Hour), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := realLimit(t, c.rate)
				out := realLimit(t, "1/h", traffik.WithIdentifier(traffik.Shared()))
				p := newTalker()
				conn := traffikws.WrapMessages(p, peer(), limit, traffikws.WithMode(c.mode), traffikws.WithOutbound(out, traffikws.Close()))
				start := time.Now()
				if c.outbound {
					go func() {
						time.Sleep(2500 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
						for range 10 {
							_ = conn.WriteMessage(1, nil) // as a hub that ignores errors
						}
					}()
				}
				_, err := readAll(func() (string, error) {
					_, data, err := conn.ReadMessage()
					return string(data), err
				})
				took := time.Since(start)
				var denied *traffikws.DeniedError
				if !errors.As(err, &denied) || !denied.Closed || p.frames.Load() != 1 {
					t.Errorf("error %v after %d close frames, want a DeniedError and one", err, p.frames.Load())
				}
				if least := 5 * time.Second; took < least || took > least+3*time.Second {
					t.Errorf("the peer was listened to for %v, want 5 s after the close frame", took)
				}
				if again := conn.WriteMessage(1, nil); !errors.Is(again, err) {
					t.Errorf("writing: %v, want the same error", again)
				}
				time.Sleep(10 * time.Second) //nolint:forbidigo // the clock of the bubble
			})
		})
	}
}

// However many writes are over the limit, the connection is ended once, and both
// directions say so.
func TestOutboundClosesOnce(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "100/h")
	out, _ := newLimit(t, "5/h")
	s := &closing{script: script{inbound: strings.Fields("a b c")}}
	conn := traffikws.Wrap(s, peer(), limit, traffikws.WithOutbound(out, traffikws.CloseAfter(3)))
	var writers sync.WaitGroup
	var mu sync.Mutex
	ends := map[error]int{}
	for range 10 {
		writers.Go(func() {
			for range 5 {
				err := conn.Write(t.Context(), 1, nil)
				var denied *traffikws.DeniedError
				if errors.As(err, &denied) && denied.Closed {
					mu.Lock()
					ends[err]++
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	if len(s.closed) != 1 || len(ends) != 1 {
		t.Errorf("closed by %q with %d errors, want one of each", s.closed, len(ends))
	}
	_, _, err := conn.Read(t.Context())
	if ends[err] == 0 || len(s.inbound) != 3 {
		t.Errorf("reading: %v with %q unread; want the error of the writes and nothing read", err, s.inbound)
	}
}

// Denials at the same time end the connection once, too.
func TestDenialsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		out := traffik.MustNew("slow", "1/h", costs(2), traffik.WithBackend(slow{memory}))
		p := newTalker()
		conn := traffikws.WrapMessages(p, peer(), out, traffikws.WithOutbound(out, traffikws.Close()))
		var writers sync.WaitGroup
		for range 5 {
			writers.Go(func() {
				var denied *traffikws.DeniedError
				if err := conn.WriteMessage(1, nil); !errors.As(err, &denied) || !denied.Closed {
					t.Errorf("error %v, want a DeniedError that closed", err)
				}
			})
		}
		writers.Wait()
		if n := p.frames.Load(); n != 1 {
			t.Errorf("%d close frames, want one", n)
		}
		<-p.closed
	})
}

// fragile is a connection in the style of coder's, which ends with the context
// of a read.
type fragile struct{ *pipe }

func (f fragile) Read(ctx context.Context) (kind, []byte, error) {
	k, data, err := f.pipe.Read(ctx)
	if ctx.Err() != nil {
		close(f.messages)
	}
	return k, data, err
}

// Under Delay the end of a read's context is not that of the connection, also
// when nothing is held.
func TestReadEndsAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "9/h")
		p := newPipe()
		conn := traffikws.Wrap(fragile{p}, peer(), limit, traffikws.WithMode(traffikws.Delay(0)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := conn.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the end of the context", err)
		}
		go func() { p.messages <- "a" }()
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "a" {
			t.Errorf("read %q, %v; want the message", data, err)
		}
	})
}

// The messages of a peer that is gone are neither waited for nor charged nor
// kept.
func TestHoldsEndWithTheConnection(t *testing.T) {
	t.Parallel()
	for name, strategy := range map[string]traffik.Strategy{"gcra": traffik.GCRA{}, "queue": traffik.LeakyBucketWithQueue{Capacity: 300}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := realLimit(t, "1/10s", traffik.WithStrategy(strategy))
				before, err := limit.Key("ip:192.0.2.1").Stat(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				p := newPipe()
				conn := traffikws.Wrap(p, peer(), limit, traffikws.WithMode(traffikws.Delay(time.Minute)))
				start := time.Now()
				go func() {
					for i := range 200 {
						p.messages <- fmt.Sprint(i)
					}
					time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
					close(p.messages)
				}()
				got, err := deliveries(t, conn)
				if took := time.Since(start); !errors.Is(err, errEnd) || took != time.Second || len(got) != 1 || len(p.written) != 0 {
					t.Errorf("delivered %q, written %q, error %v after %v; want the first message and the end after a second", got, p.written, err, took)
				}
				if _, _, again := conn.Read(t.Context()); !errors.Is(again, errEnd) {
					t.Errorf("reading again: %v, want the same error", again)
				}
				time.Sleep(10 * time.Second) //nolint:forbidigo // until the first is worked off
				after, err := limit.Key("ip:192.0.2.1").Stat(t.Context())
				if err != nil || after.Remaining != before.Remaining {
					t.Errorf("%d remaining, %v; want %d: one message was charged", after.Remaining, err, before.Remaining)
				}
			})
		})
	}
}

// A held write ends when the reads of its connection have.
func TestHeldWriteEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "100/h")
		out := realLimit(t, "1/10s", traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: 3}))
		p := newPipe()
		conn := traffikws.Wrap(p, peer(), limit, traffikws.WithOutbound(out, traffikws.Delay(0)))
		go func() {
			time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
			close(p.messages)
		}()
		go func() { _, _, _ = conn.Read(t.Context()) }()
		start := time.Now()
		first, second := conn.Write(t.Context(), 1, []byte("a")), conn.Write(t.Context(), 1, []byte("b"))
		if took := time.Since(start); first != nil || !errors.Is(second, errEnd) || took != time.Second {
			t.Errorf("writes: %v, %v after %v; want the error of the read after a second", first, second, took)
		}
		if stat, err := out.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != 2 {
			t.Errorf("%d remaining, %v; want a refund of what was not sent", stat.Remaining, err)
		}
	})
}

// A read that ends while its message is held leaves it to the next, charged once
// and with what is left of its wait; one that has ended before takes nothing.
func TestHeldMessageOutlivesTheRead(t *testing.T) {
	t.Parallel()
	for name, strategy := range map[string]traffik.Strategy{"gcra": traffik.GCRA{}, "queue": traffik.LeakyBucketWithQueue{Capacity: 5}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := realLimit(t, "1/2s", traffik.WithStrategy(strategy))
				s := &script{inbound: strings.Fields("a b c d"), open: time.Minute}
				conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Delay(0)))
				over, cancel := context.WithCancel(t.Context())
				cancel()
				start := time.Now()
				var got []string
				for {
					if _, _, err := conn.Read(over); !errors.Is(err, context.Canceled) && !errors.Is(err, errEnd) {
						t.Fatalf("a read that is over has returned %v", err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
					_, data, err := conn.Read(ctx)
					cancel()
					if errors.Is(err, errEnd) {
						break
					}
					if err == nil {
						got = append(got, fmt.Sprintf("%s@%v", data, time.Since(start)))
					}
				}
				if want := []string{"a@0s", "b@2s", "c@4s", "d@6s"}; !slices.Equal(got, want) || len(s.written) != 0 {
					t.Errorf("delivered %q, written %q; want %q", got, s.written, want)
				}
			})
		})
	}
}

// panicking reads one message and then panics, as a handler of pings may, or
// ends the goroutine.
type panicking struct {
	script
	exit bool
}

func (p *panicking) Read(ctx context.Context) (kind, []byte, error) {
	switch {
	case len(p.inbound) > 0:
		return p.script.Read(ctx)
	case p.exit:
		runtime.Goexit()
	}
	panic("in a handler")
}

// What panics while a message is held does so in the application's read.
func TestPanicWhileReadingAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, exit := range []bool{false, true} {
			limit := realLimit(t, "1/s", traffik.WithStrategy(traffik.GCRA{}))
			p := &panicking{script: script{inbound: strings.Fields("a b")}, exit: exit}
			conn := traffikws.Wrap(p, peer(), limit, traffikws.WithMode(traffikws.Delay(0)))
			var panicked any
			var err error
			func() {
				defer func() { panicked = recover() }()
				_, err = deliveries(t, conn)
			}()
			if exit && (panicked != nil || err == nil) || !exit && panicked != "in a handler" {
				t.Errorf("panic %v, error %v", panicked, err)
			}
			if _, _, err := conn.Read(t.Context()); err == nil {
				t.Error("a connection whose read never returned is read again")
			}
		}
	})
}
