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
				limits := map[string]traffik.Limiter{"never": realLimit(t, "1/h", traffik.WithCost(2))}
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
