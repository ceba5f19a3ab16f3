package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// An identity that depends on the message is asked for at each; others once for
// the connection and both of its directions, unless they failed.
func TestIdentitiesOfMessages(t *testing.T) {
	t.Parallel()
	calls := 0
	user := traffik.Identify("user", func(*traffik.Request) (string, error) {
		if calls++; calls == 1 {
			return "", errors.New("the session store hiccups")
		}
		return "alice", nil
	})
	room := traffik.Identify("room", func(r *traffik.Request) (string, error) {
		m, _ := traffikws.MessageOf(r)
		return string(m.Data), nil
	})
	limit, _ := newLimit(t, "1/h", traffik.WithIdentifier(traffik.Together(user, room)), traffik.WithErrorPolicy(traffik.FailClosed))
	conn := traffikws.Wrap(&script{inbound: strings.Fields("red red blue red blue green")}, peer(), limit,
		traffikws.WithMode(traffikws.Drop()), traffikws.WithOutbound(limit, traffikws.Notify()))
	got, _ := readAll(func() (string, error) {
		_, data, err := conn.Read(t.Context())
		return string(data), err
	})
	if want := "red blue green"; strings.Join(got, " ") != want {
		t.Errorf("delivered %q, want %q", got, want)
	}
	var denied *traffikws.DeniedError
	if err := conn.Write(t.Context(), 1, []byte("red")); !errors.As(err, &denied) {
		t.Errorf("writing to a room at its limit: %v, want a denial", err)
	}
	if err := conn.Write(t.Context(), 1, []byte("yellow")); err != nil {
		t.Error(err)
	}
	if calls != 2 {
		t.Errorf("the user was asked for %d times, want twice, since the first failed", calls)
	}
}

// A nil of the types that limits have is no limit.
func TestTypedNil(t *testing.T) {
	t.Parallel()
	var throttle *traffik.Throttle
	var gate *traffik.Gate
	for _, none := range []traffik.Limiter{nil, throttle, gate} {
		name := fmt.Sprintf("%T", none)
		meter := traffikws.NewMeterFunc(peer(), func(traffikws.Message) traffik.Limiter { return none })
		if v, err := meter.Allow(t.Context(), traffikws.Message{Type: 1}); err != nil || !v.Allowed() || len(v.Results()) != 0 {
			t.Errorf("%s: %+v, %v; want a free message", name, v, err)
		}
		limit, _ := newLimit(t, "1/h")
		conn := traffikws.Wrap(&script{}, peer(), limit, traffikws.WithOutbound(none, traffikws.Notify()))
		for range 3 {
			if err := conn.Write(t.Context(), 1, nil); err != nil {
				t.Errorf("%s: %v; want unlimited writes", name, err)
			}
		}
	}
}

// slow is a store whose answers take an hour.
type slow struct{ *traffik.Memory }

func (s slow) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	select {
	case <-time.After(time.Hour):
		return s.Memory.Take(ctx, ops, out)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A call that sits in the store holds up no other beyond the end of its context.
func TestAllowEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		meter := traffikws.NewMeter(peer(), traffik.MustNew("slow", "1/h", traffik.WithBackend(slow{memory})))
		go func() { _, _ = meter.Allow(t.Context(), traffikws.Message{Type: 1}) }()
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = meter.Allow(ctx, traffikws.Message{Type: 1})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != time.Second {
			t.Errorf("error %v after %v, want the end of the context after a second", err, took)
		}
		time.Sleep(2 * time.Hour) //nolint:forbidigo // until the first has ended
	})
}

// The limit of a message is chosen once, however often the store is asked.
func TestLimitIsChosenOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "1/s", traffik.WithStrategy(traffik.GCRA{}))
		calls := 0
		conn := traffikws.Wrap(&script{inbound: strings.Fields("a b c"), open: time.Minute}, peer(), nil,
			traffikws.WithMode(traffikws.Delay(0)), traffikws.WithLimitFunc(func(traffikws.Message) traffik.Limiter {
				calls++
				return limit
			}))
		if got, _ := deliveries(t, conn); len(got) != 3 || calls != 3 {
			t.Errorf("delivered %q after %d calls, want three of each", got, calls)
		}
	})
}

// A message whose charge was interrupted by the end of the read's context is the
// next one's, in every mode.
func TestInterruptedCharge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		limit := traffik.MustNew("slow", "9/h", traffik.WithBackend(slow{memory}))
		conn := traffikws.Wrap(&script{inbound: strings.Fields("a b")}, peer(), limit)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := conn.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the end of the context", err)
		}
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "a" {
			t.Errorf("read %q, %v; want the message that was not decided on", data, err)
		}
	})
}
