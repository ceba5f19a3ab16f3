package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// coderCloseError and gorillaCloseError are the errors of a close frame as the libraries
// have them.
type coderCloseError struct {
	Code   status
	Reason string
}

func (c coderCloseError) Error() string { return fmt.Sprint("closed with ", int(c.Code)) }

type gorillaCloseError struct {
	Code int
	Text string
}

func (c *gorillaCloseError) Error() string { return fmt.Sprint("closed with ", c.Code) }

// hollowError has a Code that nothing is behind.
type hollowError struct{ *coderCloseError }

func (h *hollowError) Error() string { return "hollow" }

// codedError is a wrapping socket's error with a code that is no status.
type codedError struct {
	Code int
	error
}

func (c codedError) Unwrap() error { return c.error }

// closedPeer is a connection of both styles whose peer sends and then ends it.
type closedPeer struct {
	script
	end error
}

func (c *closedPeer) Read(ctx context.Context) (kind, []byte, error) {
	if len(c.inbound) == 0 {
		return 0, nil, c.end
	}
	return c.script.Read(ctx)
}

func (c *closedPeer) ReadMessage() (int, []byte, error) {
	k, data, err := c.Read(context.Background())
	return int(k), data, err
}

// What a peer sent before it closed is delivered as if it had not, for as long as
// a last call lasts; what it sent before the connection broke is not.
func TestDelayDeliversWhatCameBeforeTheClose(t *testing.T) {
	t.Parallel()
	orderly := "a@0s b@2s c@4s d@6s e@8s"
	for name, c := range map[string]struct {
		end  error
		most time.Duration
		more string
		want string
		took time.Duration
	}{
		"coder":             {fmt.Errorf("reading: %w", coderCloseError{Code: 1000}), 0, "", orderly, 8 * time.Second},
		"gorilla":           {&gorillaCloseError{Code: 1001}, 5 * time.Second, "", orderly, 8 * time.Second},
		"without a status":  {coderCloseError{Code: 1005}, 0, "", orderly, 8 * time.Second},
		"joined":            {errors.Join(context.Canceled, fmt.Errorf("reading: %w, %w", &hollowError{}, coderCloseError{Code: 1000})), 0, "", orderly, 8 * time.Second},
		"hollow":            {&hollowError{}, 0, "", "a@0s", 0},
		"joined but broken": {errors.Join(errEnd, &gorillaCloseError{Code: 1006}, context.Canceled), 0, "", "a@0s", 0},
		"another code":      {codedError{7, coderCloseError{Code: 1000}}, 0, "", orderly, 8 * time.Second},
		"a status of ours":  {&gorillaCloseError{Code: 4000}, 0, "", orderly, 8 * time.Second},
		"too many":          {coderCloseError{Code: 1000}, 5 * time.Second, " f g h i", orderly + " f@10s", 10 * time.Second},
		"broken":            {&gorillaCloseError{Code: 1006}, 0, "", "a@0s", 0},
		"no close":          {errEnd, 0, "", "a@0s", 0},
	} {
		for _, style := range []string{"Wrap", "WrapMessages"} {
			t.Run(name+" "+style, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit := realLimit(t, "1/2s", traffik.WithStrategy(traffik.GCRA{}))
					s := &closedPeer{script: script{inbound: strings.Fields("a b c d e" + c.more)}, end: c.end}
					mode := traffikws.WithMode(traffikws.Delay(c.most))
					conn, messages := traffikws.Wrap(s, peer(), limit, mode), traffikws.WrapMessages(s, peer(), limit, mode)
					start := time.Now()
					var at []string
					_, err := readAll(func() (string, error) {
						var data []byte
						var err error
						if style == "Wrap" {
							_, data, err = conn.Read(t.Context())
						} else {
							_, data, err = messages.ReadMessage()
						}
						if err == nil {
							at = append(at, fmt.Sprintf("%s@%v", data, time.Since(start)))
						}
						return string(data), err
					})
					if got := strings.Join(at, " "); got != c.want || !errors.Is(err, c.end) || time.Since(start) != c.took {
						t.Errorf("delivered %q, error %v after %v; want %q and the end after %v", got, err, time.Since(start), c.want, c.took)
					}
					if len(s.written) != 0 {
						t.Errorf("written %q to a peer that has closed", s.written)
					}
				})
			})
		}
	}
}

// What a peer that has closed is not in time for is not charged, and once the
// application has closed over the limit nothing is delivered.
func TestLastCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "1/8s", traffik.WithStrategy(traffik.GCRA{}))
		out := realLimit(t, "1/h")
		s := &closedPeer{script: script{inbound: strings.Fields("a b c d e")}, end: coderCloseError{Code: 1000}}
		closer := traffikws.WithCloser(func(int, string) error { return nil })
		conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Delay(0)), closer, traffikws.WithOutbound(out, traffikws.Close()))
		if got, err := deliveries(t, conn); !errors.Is(err, s.end) || !slices.Equal(got, []string{"a@0s", "b@8s"}) {
			t.Errorf("delivered %q, error %v; want two and the close", got, err)
		}
		time.Sleep(8 * time.Second) //nolint:forbidigo // the clock of the bubble
		if stat, err := limit.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != 1 {
			t.Errorf("%+v, %v; want what was dropped not charged", stat, err)
		}

		s.inbound = strings.Fields("a b c")
		conn = traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Delay(0)), closer, traffikws.WithOutbound(out, traffikws.Close()))
		go func() {
			time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
			for range 2 {
				_ = conn.Write(t.Context(), 1, nil)
			}
		}()
		var denied *traffikws.DeniedError
		if got, err := deliveries(t, conn); !errors.As(err, &denied) || !slices.Equal(got, []string{"a@0s"}) {
			t.Errorf("delivered %q, error %v; want the end of the held message with the connection", got, err)
		}
	})
}

// contested is a store that takes its time, and in which another connection is
// always quicker.
type contested struct {
	*traffik.Memory
	took  time.Duration
	calls *int
	rival func()
}

func (c *contested) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	*c.calls++
	time.Sleep(c.took) //nolint:forbidigo // the clock of the bubble
	c.rival()
	return c.Memory.Take(ctx, ops, out)
}

// The bound of a hold is one of the clock, the store's time included, and the
// store is asked no more often than it has to be.
func TestDelayIsADeadline(t *testing.T) {
	t.Parallel()
	for _, took := range []time.Duration{0, 5 * time.Millisecond, 30 * time.Millisecond} {
		t.Run(took.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				opts := []traffik.Option{traffik.WithStrategy(traffik.GCRA{Burst: 1}), traffik.WithIdentifier(traffik.Shared())}
				rival := traffik.MustNew("messages", "1000/s", append(opts, traffik.WithBackend(memory))...)
				calls := 0
				store := &contested{memory, took, &calls, func() { _, _ = rival.Key("shared:").Hit(t.Context()) }}
				limit := traffik.MustNew("messages", "1000/s", append(opts, traffik.WithBackend(store))...)
				const most = 100 * time.Millisecond
				s := &script{}
				conn := traffikws.Wrap(s, peer(), limit, traffikws.WithOutbound(limit, traffikws.Delay(most)))
				start := time.Now()
				err = conn.Write(t.Context(), 1, nil)
				var denied *traffikws.DeniedError
				if passed := time.Since(start); !errors.As(err, &denied) || passed > most+took || calls < 2 || calls > 8 {
					t.Errorf("error %v after %v and %d calls; want a denial after %v and 2 to 8 calls", err, passed, calls, most)
				}
			})
		})
	}
}

// What a slow store has admitted is delivered, though its time was over.
func TestAdmittedLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		limit := traffik.MustNew("slow", "1/h", traffik.WithBackend(&contested{memory, time.Second, new(int), func() {}}))
		conn := traffikws.Wrap(&script{inbound: []string{"a"}}, peer(), limit, traffikws.WithMode(traffikws.Delay(time.Millisecond)))
		if got, _ := deliveries(t, conn); !slices.Equal(got, []string{"a@1s"}) {
			t.Errorf("delivered %q, want the message", got)
		}
	})
}

// A read that ends with its context ends the connection in the style of coder's
// library, and so a write that is held; one that was over before it began does not.
func TestHeldWriteEndsWithTheContextOfARead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "9/h")
		out := realLimit(t, "1/10s", traffik.WithStrategy(traffik.GCRA{}))
		conn := traffikws.Wrap(newPipe(), peer(), limit, traffikws.WithOutbound(out, traffikws.Delay(0)))
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := conn.Read(over); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the end of the context", err)
		}
		start := time.Now()
		for i := range 2 {
			if err := conn.Write(t.Context(), 1, nil); err != nil || time.Since(start) != time.Duration(i)*10*time.Second {
				t.Errorf("write %d: %v after %v", i, err, time.Since(start))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _, _, _ = conn.Read(ctx) }()
		start = time.Now()
		if err := conn.Write(t.Context(), 1, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("the held write: %v after %v, want the end of the read after a second", err, time.Since(start))
		}
	})
}

// Each direction counts its own violations.
func TestViolationsOfEachDirection(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/h")
	s := &closing{script: script{inbound: strings.Fields("a over over")}}
	conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.CloseAfter(3)), traffikws.WithOutbound(limit, traffikws.CloseAfter(3)))
	if _, err := deliveries(t, conn); !errors.Is(err, errEnd) {
		t.Errorf("reading: %v", err)
	}
	for i := range 3 {
		var denied *traffikws.DeniedError
		if err := conn.Write(t.Context(), 1, nil); !errors.As(err, &denied) || denied.Closed != (i == 2) {
			t.Errorf("write %d: %v; want the third to close", i, err)
		}
	}
}

// preparing is a connection in the style of gorilla's.
type preparing struct{ script }

type prepared struct{ text string }

func (p *preparing) WritePreparedMessage(m *prepared) error {
	return p.WriteMessage(1, []byte(m.text))
}

func TestWritePrepared(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "10/h", traffik.WithCostFunc(traffikws.CostBySize(1)))
	s := &preparing{}
	conn := traffikws.WrapMessages(s, peer(), limit, traffikws.WithOutbound(limit, traffikws.Notify()))
	news := &prepared{"hello"}
	for i, m := range []traffikws.Message{{Type: 1, Data: []byte("hello")}, {}, {Type: 1, Data: []byte("hello")}, {Type: 1}} {
		var denied *traffikws.DeniedError
		if err := traffikws.WritePrepared(conn, news, m); errors.As(err, &denied) != (i == 2) || i != 2 && err != nil {
			t.Errorf("write %d: %v; want the third over the limit alone", i, err)
		}
	}
	if want := []string{"1 hello", "1 hello", "1 hello"}; !slices.Equal(s.written, want) {
		t.Errorf("written %q, want %q", s.written, want)
	}
	if err := traffikws.WritePrepared(conn, "text", traffikws.Message{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("error %v, want ErrUnsupported", err)
	}
}

// Bursts of denials within a second are answered once, and so is one that lasts
// for longer, until the announced wait is over.
func TestNoticesOfBursts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate string
		step time.Duration
		want int
	}{
		"ten bursts in a second":  {"10/s", 9 * time.Millisecond, 1},
		"one burst of 10 seconds": {"1/h", 100 * time.Millisecond, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{inbound: strings.Fields(strings.Repeat("x ", 100))}
				s.before = func(string) { time.Sleep(c.step) } //nolint:forbidigo // the clock of the bubble
				limit := realLimit(t, c.rate, traffik.WithStrategy(traffik.GCRA{Burst: 1}))
				if _, err := deliveries(t, traffikws.Wrap(s, peer(), limit)); !errors.Is(err, errEnd) || len(s.written) != c.want {
					t.Errorf("written %q, error %v; want %d", s.written, err, c.want)
				}
			})
		})
	}
}
