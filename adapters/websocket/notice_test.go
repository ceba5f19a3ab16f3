package traffikws_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// However often messages get through in between, a flood is told once a second.
func TestNoticesAreBounded(t *testing.T) {
	t.Parallel()
	for name, strategy := range map[string]traffik.Strategy{"gcra": traffik.GCRA{}, "bucket": traffik.TokenBucket{}, "window": traffik.FixedWindow{}} {
		for rival, taken := range map[string]bool{"alone": false, "with a quicker connection": true} {
			t.Run(name+" "+rival, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit := realLimit(t, "100/s", traffik.WithStrategy(strategy))
					s := &script{inbound: strings.Fields(strings.Repeat("x ", 5000))}
					s.before = func(string) { // 5 s in all
						time.Sleep(time.Millisecond) //nolint:forbidigo // the clock of the bubble
						if taken {
							if _, err := limit.Key("ip:192.0.2.1").Hit(t.Context()); err != nil {
								t.Error(err)
							}
						}
					}
					if _, err := deliveries(t, traffikws.Wrap(s, peer(), limit)); !errors.Is(err, errEnd) {
						t.Error(err)
					}
					if n := len(s.written); n < 4 || n > 6 {
						t.Errorf("%d notices in 5 s, want one a second", n)
					}
				})
			})
		}
	}
}

// The clocks of stores are not compared with each other: one a minute ahead has
// no say in when the peer may be told of the other.
func TestNoticesOfTwoStores(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ahead, err := traffik.NewMemory(traffik.WithClock(traffiktest.NewClock(time.Now().Add(time.Minute))))
		if err != nil {
			t.Fatal(err)
		}
		tight := realLimit(t, "1/20s", traffik.WithStrategy(traffik.GCRA{}))
		wide := traffik.MustNew("wide", "1000000/s", traffik.WithBackend(ahead))
		s := &script{inbound: strings.Fields(strings.Repeat("tight wide ", 1000))}
		s.before = func(string) { time.Sleep(5 * time.Millisecond) } //nolint:forbidigo // the clock of the bubble
		conn := traffikws.Wrap(s, peer(), nil, traffikws.WithLimitFunc(func(m traffikws.Message) traffik.Limiter {
			if string(m.Data) == "tight" {
				return tight
			}
			return wide
		}))
		if got, _ := deliveries(t, conn); len(got) != 1001 || len(s.written) != 1 {
			t.Errorf("%d delivered, written %q; want 1001 and the one notice of a denied burst of 10 s", len(got), s.written)
		}
	})
}

// A long wait for one limit says nothing of another, whose denials are told, too, each
// burst once.
func TestNoticesOfTwoLimits(t *testing.T) {
	t.Parallel()
	for _, joined := range []bool{false, true} {
		t.Run(fmt.Sprint("joined ", joined), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limits := map[string]traffik.Limiter{"never": realLimit(t, "1/h", costs(2))}
				for name, rate := range map[string]string{"hour": "1/h", "minute": "1/m"} {
					backend, err := traffik.NewMemory()
					if err != nil {
						t.Fatal(err)
					}
					limits[name] = traffik.MustNew(name, rate, traffik.WithBackend(backend), traffik.WithStrategy(traffik.GCRA{}))
				}
				s := &script{inbound: strings.Fields(strings.Repeat("hour minute never ", 150))}
				s.before = func(string) { time.Sleep(200 * time.Millisecond) } //nolint:forbidigo // the clock of the bubble
				conn := traffikws.Wrap(s, peer(), nil, traffikws.WithLimitFunc(func(m traffikws.Message) traffik.Limiter {
					if joined {
						return traffik.All(limits[string(m.Data)])
					}
					return limits[string(m.Data)]
				}))
				got, _ := deliveries(t, conn)
				if want := []string{"hour@200ms", "minute@400ms", "minute@1m0.4s"}; !slices.Equal(got, want) {
					t.Errorf("delivered %q, want %q", got, want)
				}
				want := []string{
					`1 {"type":"rate_limit"}`,
					`1 {"type":"rate_limit","retry_after_ms":58800}`,
					`1 {"type":"rate_limit","retry_after_ms":3597600}`,
					`1 {"type":"rate_limit","retry_after_ms":59400}`,
				}
				if !slices.Equal(s.written, want) {
					t.Errorf("written %q, want %q", s.written, want)
				}
			})
		})
	}
}

// Cheap messages between dear ones end no burst before the announced wait is over.
func TestNoticesBetweenCheapMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "30/m", traffik.WithStrategy(traffik.GCRA{Burst: 30}), traffik.WithCostFunc(traffikws.CostBySize(1)))
		s := &script{inbound: strings.Fields(strings.Repeat("x", 25) + strings.Repeat(" "+strings.Repeat("x", 28)+" x", 12))}
		s.before = func(string) { time.Sleep(time.Second) } //nolint:forbidigo // the clock of the bubble
		if _, err := deliveries(t, traffikws.Wrap(s, peer(), limit)); !errors.Is(err, errEnd) || len(s.written) != 1 {
			t.Errorf("written %q, error %v; want one notice", s.written, err)
		}
	})
}

// A store that fails is told once until something is admitted, whatever else the peer was
// told long ago, and of whatever else the message is charged to.
func TestNoticesOfFailures(t *testing.T) {
	t.Parallel()
	for _, joined := range []bool{false, true} {
		t.Run(fmt.Sprint("joined ", joined), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				store := traffiktest.Break(memory)
				upload := realLimit(t, "1/s", traffik.WithStrategy(traffik.GCRA{}))
				var chat traffik.Limiter = traffik.MustNew("chat", "100/s", traffik.WithBackend(store), traffik.WithErrorPolicy(traffik.FailClosed))
				if joined {
					chat = traffik.All(upload, chat)
				}
				s := &script{inbound: strings.Fields("upload upload up up down down down up down down")}
				s.before = func(message string) {
					if message != "upload" {
						time.Sleep(time.Minute) //nolint:forbidigo // the clock of the bubble
					}
					store.Fail(nil)
					if message == "down" {
						store.Fail(errors.New("down"))
					}
				}
				conn := traffikws.Wrap(s, peer(), nil, traffikws.WithLimitFunc(func(m traffikws.Message) traffik.Limiter {
					if string(m.Data) == "upload" {
						return upload
					}
					return chat
				}))
				_, _ = deliveries(t, conn)
				want := []string{`1 {"type":"rate_limit","retry_after_ms":1000}`, `1 {"type":"rate_limit"}`, `1 {"type":"rate_limit"}`}
				if !slices.Equal(s.written, want) {
					t.Errorf("written %q, want %q", s.written, want)
				}
			})
		})
	}
}

// A queue that is too long is the queue's denial, not that of the tightest limit beside it.
func TestNoticeOfALongQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		queue := traffik.MustNew("queue", "1/m", traffik.WithBackend(memory), traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: 100}))
		other := traffik.MustNew("other", "2/h", traffik.WithBackend(memory), traffik.WithStrategy(traffik.GCRA{Burst: 2}))
		s := &script{inbound: strings.Fields("both both other other other other other")}
		s.before = func(string) { time.Sleep(2 * time.Second) } //nolint:forbidigo // the clock of the bubble
		conn := traffikws.Wrap(s, peer(), nil, traffikws.WithMode(traffikws.Delay(time.Second)), traffikws.WithLimitFunc(func(m traffikws.Message) traffik.Limiter {
			if string(m.Data) == "both" {
				return traffik.All(queue, other)
			}
			return other
		}))
		_, _ = deliveries(t, conn)
		want := []string{`1 {"type":"rate_limit","retry_after_ms":57000}`, `1 {"type":"rate_limit","retry_after_ms":1794000}`}
		if !slices.Equal(s.written, want) {
			t.Errorf("written %q, want %q", s.written, want)
		}
	})
}
