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
	limit, _ := newLimit(t, "1/h", traffik.WithIdentifier(traffik.Combine(user, room)), traffik.WithErrorPolicy(traffik.FailClosed))
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
		meter := traffikws.NewMeter(peer(), traffik.MustNew("slow", "1/h", traffik.WithBackend(slow{memory}), traffik.WithErrorPolicy(traffik.Propagate)))
		go func() { _, _ = meter.Allow(t.Context(), traffikws.Message{Type: 1}) }()
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = meter.Allow(ctx, traffikws.Message{Type: 1})
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, traffik.ErrBackend) || took != time.Second {
			t.Errorf("error %v after %v, want a failure of the store at the deadline, after a second", err, took)
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

// A message whose charge was interrupted by the caller of the read is the next one's, in
// every mode.
func TestInterruptedCharge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		limit := traffik.MustNew("slow", "9/h", traffik.WithBackend(slow{memory}))
		conn := traffikws.Wrap(&script{inbound: strings.Fields("a b")}, peer(), limit)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, _, err := conn.Read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the end of the context", err)
		}
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "a" {
			t.Errorf("read %q, %v; want the message that was not decided on", data, err)
		}
	})
}

// A deadline that passes while the store is asked is the store's failure: the error policy
// decides on the message, and one that it doesn't decide on is the next read's.
func TestDeadlineOfAReadAtTheStore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []traffik.Option
		want string // that is read, "" for the store's error
	}{
		"default":     {nil, "a"},
		"report only": {[]traffik.Option{traffik.WithReportOnly(), traffik.WithErrorPolicy(traffik.FailClosed)}, "a"},
		"propagate":   {[]traffik.Option{traffik.WithErrorPolicy(traffik.Propagate)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				limit := traffik.MustNew("slow", "9/h", append(c.opts, traffik.WithBackend(slow{memory}))...)
				conn := traffikws.Wrap(&script{inbound: strings.Fields("a b")}, peer(), limit)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, data, err := conn.Read(ctx)
				if failed := errors.Is(err, traffik.ErrBackend) && errors.Is(err, context.DeadlineExceeded); failed != (c.want == "") || !failed && string(data) != c.want {
					t.Errorf("read %q, %v; want %q, or the failure of the store", data, err, c.want)
				}
				want := "b"
				if c.want == "" {
					want = "a" // which was not decided on
				}
				if _, data, err := conn.Read(t.Context()); err != nil || string(data) != want {
					t.Errorf("then read %q, %v; want %q", data, err, want)
				}
			})
		})
	}
}

// costs makes each message cost units, more than the limit if need be.
func costs(units int64) traffik.Option {
	return traffik.WithCostFunc(func(*traffik.Request) (int64, error) { return units, nil })
}
