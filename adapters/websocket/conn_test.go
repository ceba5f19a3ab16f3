package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }

// kind is an opcode type of its own, as coder/websocket has one.
type kind int

var errEnd = errors.New("end of the script")

// script is a connection of both styles that reads what a test wrote down.
type script struct {
	inbound []string
	before  func(message string) // called before each read
	open    time.Duration        // how long the connection lives on after its last message
	written []string
	failing error      // of writes
	writing sync.Mutex // of Write, which several goroutines may call; WriteMessage allows one
}

func (s *script) next() (string, error) {
	if len(s.inbound) == 0 {
		time.Sleep(s.open) //nolint:forbidigo // the clock of the bubble
		return "", errEnd
	}
	message := s.inbound[0]
	s.inbound = s.inbound[1:]
	if s.before != nil {
		s.before(message)
	}
	return message, nil
}

func (s *script) Read(context.Context) (kind, []byte, error) {
	message, err := s.next()
	return 1, []byte(message), err
}

func (s *script) Write(_ context.Context, k kind, data []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.write(k, data)
}

func (s *script) write(k kind, data []byte) error {
	s.written = append(s.written, fmt.Sprintf("%d %s", k, data))
	return s.failing
}

func (s *script) ReadMessage() (int, []byte, error) {
	message, err := s.next()
	return 1, []byte(message), err
}

func (s *script) WriteMessage(k int, data []byte) error {
	return s.write(kind(k), data)
}

// clock is that of a store and of the bubble at once.
type clock struct{ *traffiktest.Clock }

func (c clock) Advance(d time.Duration) {
	c.Clock.Advance(d)
	time.Sleep(d) //nolint:forbidigo // the clock of the bubble
}

func newLimit(t *testing.T, rate string, opts ...traffik.Option) (*traffik.Throttle, clock) {
	t.Helper()
	clock := clock{traffiktest.NewClock(time.Unix(1_700_000_000, 0))}
	backend, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		t.Fatal(err)
	}
	limit, err := traffik.New(t.Name(), rate, append([]traffik.Option{traffik.WithBackend(backend)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return limit, clock
}

// styles runs a test with both kinds of connection, in a bubble: read returns
// the next message delivered.
func styles(t *testing.T, run func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) (read func() (string, error)))) {
	t.Helper()
	t.Run("Wrap", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			run(t, func(s *script, limit traffik.Limiter, opts ...traffikws.Option) func() (string, error) {
				conn := traffikws.Wrap(s, peer(), limit, opts...)
				return func() (string, error) {
					k, data, err := conn.Read(t.Context())
					if k != 1 {
						t.Errorf("type %d, want 1", k)
					}
					return string(data), err
				}
			})
		})
	})
	t.Run("WrapMessages", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			run(t, func(s *script, limit traffik.Limiter, opts ...traffikws.Option) func() (string, error) {
				conn := traffikws.WrapMessages(s, peer(), limit, opts...)
				return func() (string, error) {
					_, data, err := conn.ReadMessage()
					return string(data), err
				}
			})
		})
	})
}

func readAll(read func() (string, error)) (messages []string, err error) {
	for {
		message, err := read()
		if err != nil {
			return messages, err
		}
		messages = append(messages, message)
	}
}

// The messages over the limit are dropped, the first of them is answered, and
// the connection goes on when the wait is over.
func TestNotify(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		limit, clock := newLimit(t, "2/10s")
		s := &script{inbound: strings.Fields("a b c d e later more")}
		s.before = func(message string) {
			switch message {
			case "c":
				clock.Advance(3999*time.Millisecond + time.Microsecond)
			case "later":
				clock.Advance(10 * time.Second)
			}
		}
		got, err := readAll(wrap(s, limit))
		if !errors.Is(err, errEnd) || !slices.Equal(got, []string{"a", "b", "later", "more"}) {
			t.Errorf("delivered %q, error %v; want the two of each window", got, err)
		}
		// 6.000999 s are left of the window, rounded up to milliseconds.
		if want := []string{`1 {"type":"rate_limit","retry_after_ms":6001}`}; !slices.Equal(s.written, want) {
			t.Errorf("written %q, want %q", s.written, want)
		}
	})
}

// A peer whose other connections use the limit up is told again when the wait
// that was announced to it is over, and not before.
func TestNoticeAfterTheAnnouncedWait(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		limit, clock := newLimit(t, "1/10s")
		s := &script{inbound: strings.Fields("a b c next d")}
		s.before = func(message string) {
			switch message {
			case "a", "next":
				clock.Advance(10 * time.Second)
				if res, err := limit.Key("ip:192.0.2.1").Hit(t.Context()); err != nil || !res.Allowed { // the other connection
					t.Errorf("the other connection: %+v, %v", res, err)
				}
			default:
				clock.Advance(time.Second)
			}
		}
		got, err := readAll(wrap(s, limit))
		if !errors.Is(err, errEnd) || len(got) != 0 {
			t.Errorf("delivered %q, error %v; want nothing", got, err)
		}
		want := []string{`1 {"type":"rate_limit","retry_after_ms":10000}`, `1 {"type":"rate_limit","retry_after_ms":8000}`}
		if !slices.Equal(s.written, want) {
			t.Errorf("written %q, want %q", s.written, want)
		}
	})
}

// A store that fails now and then gives no reason to tell the peer twice.
func TestNoticeOfAStoreThatFailsInBetween(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory(traffik.WithClock(traffiktest.NewClock(time.Unix(1_700_000_000, 0))))
	if err != nil {
		t.Fatal(err)
	}
	backend := traffiktest.Break(memory)
	limit, err := traffik.New("limit", "1/h", traffik.WithBackend(backend), traffik.WithErrorPolicy(traffik.FailClosed))
	if err != nil {
		t.Fatal(err)
	}
	s := &script{inbound: strings.Fields("a b down still up down")}
	s.before = func(message string) {
		switch message {
		case "down":
			backend.Fail(errors.New("down"))
		case "up":
			backend.Fail(nil)
		}
	}
	conn := traffikws.Wrap(s, &traffik.Request{}, limit)
	got, _ := readAll(func() (string, error) {
		_, data, err := conn.Read(t.Context())
		return string(data), err
	})
	if len(got) != 1 || len(s.written) != 1 {
		t.Errorf("delivered %q, written %q; want one of each", got, s.written)
	}
}

func TestNoticeWithoutAWait(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		limit, _ := newLimit(t, "2/10s", costs(3))
		s := &script{inbound: []string{"a"}}
		if got, _ := readAll(wrap(s, limit)); len(got) != 0 {
			t.Errorf("delivered %q, want nothing", got)
		}
		if want := []string{`1 {"type":"rate_limit"}`}; !slices.Equal(s.written, want) {
			t.Errorf("written %q, want %q", s.written, want)
		}
	})
}

// Several limits over one message: it is charged to all or none.
func TestGateOfMessages(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		burst, _ := newLimit(t, "2/10s")
		whole, _ := newLimit(t, "100/h")
		got, _ := readAll(wrap(&script{inbound: strings.Fields("a b c d")}, traffik.All(burst, whole)))
		if !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("delivered %q, want two", got)
		}
		if stat, err := whole.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != 98 {
			t.Errorf("%d of the hour remaining, error %v; want 98", stat.Remaining, err)
		}
	})
}

func TestNotifier(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		limit, _ := newLimit(t, "1/10s")
		var notices []string
		s := &script{inbound: strings.Fields("a b c")}
		_, err := readAll(wrap(s, limit, traffikws.WithNotifier(nil), traffikws.WithNotifier(func(_ context.Context, notice []byte) error {
			notices = append(notices, string(notice))
			return nil
		})))
		if !errors.Is(err, errEnd) || len(notices) != 1 || len(s.written) != 0 {
			t.Errorf("notices %q, written %q, error %v; want one notice through the function", notices, s.written, err)
		}
	})
}

func TestFailingNotice(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		limit, _ := newLimit(t, "1/10s")
		s := &script{inbound: strings.Fields("a b"), failing: errors.New("broken pipe")}
		if _, err := readAll(wrap(s, limit)); !errors.Is(err, s.failing) {
			t.Errorf("error %v, want that of the write", err)
		}
	})
}

// A store that is down: the error policy decides, message by message.
func TestErrorPolicies(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for policy, want := range map[traffik.ErrorPolicy]string{traffik.FailOpen: "a b", traffik.FailClosed: "", traffik.Propagate: ""} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			t.Parallel()
			memory, err := traffik.NewMemory()
			if err != nil {
				t.Fatal(err)
			}
			backend := traffiktest.Break(memory)
			backend.Fail(down)
			limit, err := traffik.New("limit", "1/h", traffik.WithBackend(backend), traffik.WithErrorPolicy(policy))
			if err != nil {
				t.Fatal(err)
			}
			s := &script{inbound: strings.Fields("a b")}
			conn := traffikws.Wrap(s, &traffik.Request{}, limit)
			got, err := readAll(func() (string, error) {
				_, data, err := conn.Read(t.Context())
				return string(data), err
			})
			if strings.Join(got, " ") != want {
				t.Errorf("delivered %q, want %q", got, want)
			}
			if errors.Is(err, down) != (policy == traffik.Propagate) {
				t.Errorf("error %v", err)
			}
			if closed := policy == traffik.FailClosed; closed != slices.Equal(s.written, []string{`1 {"type":"rate_limit"}`}) {
				t.Errorf("written %q", s.written)
			}
		})
	}
}

// The identity of the handshake is found once and counts every message.
func TestIdentityIsFoundOnce(t *testing.T) {
	t.Parallel()
	calls := 0
	who := traffik.Identify("user", func(*traffik.Request) (string, error) {
		calls++
		return "alice", nil
	})
	limit, _ := newLimit(t, "3/h", traffik.WithIdentifier(who))
	r := httptest.NewRequest("GET", "/ws", nil)
	conn := traffikws.Wrap(&script{inbound: strings.Fields("a b c d e")}, traffikws.From(r), limit)
	got, _ := readAll(func() (string, error) {
		_, data, err := conn.Read(t.Context())
		return string(data), err
	})
	if len(got) != 3 || calls != 1 {
		t.Errorf("%d messages delivered, the identifier called %d times; want 3 and once", len(got), calls)
	}
	if err := conn.Write(t.Context(), 1, []byte("out")); err != nil {
		t.Errorf("writing through the wrapper: %v", err)
	}
}

// A function of the application's that panics does so once for a message.
func TestPanicOfACostFunction(t *testing.T) {
	t.Parallel()
	for _, mode := range []traffikws.Mode{traffikws.Notify(), traffikws.Delay(0)} {
		synctest.Test(t, func(t *testing.T) {
			limit := realLimit(t, "9/h", traffik.WithCostFunc(func(r *traffik.Request) (int64, error) {
				if m, _ := traffikws.MessageOf(r); string(m.Data) == "bad" {
					panic("in the cost function")
				}
				return 1, nil
			}))
			conn := traffikws.Wrap(&script{inbound: strings.Fields("a bad b")}, peer(), limit, traffikws.WithMode(mode))
			var got []string
			panics := 0
			read := func() (err error) {
				defer func() {
					if recover() != nil {
						panics++
					}
				}()
				for {
					_, data, err := conn.Read(t.Context())
					if err != nil {
						return err
					}
					got = append(got, string(data))
				}
			}
			_, _ = read(), read()
			if _, _, err := conn.Read(t.Context()); panics != 1 || !errors.Is(err, errEnd) || !slices.Equal(got, []string{"a", "b"}) {
				t.Errorf("%d panics, delivered %q, then %v; want one panic, the others and the end", panics, got, err)
			}
		})
	}
}

// What is nil or was not made is a programmer's mistake: a constructor panics with a text
// that names it, a call that has an error returns one that does, before anything is read,
// written or charged.
func TestNil(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "3/h")
	s := &script{inbound: []string{"a"}}
	var (
		noThrottle *traffik.Throttle
		noGate     *traffik.Gate
		noConn     *traffikws.Conn[kind]
	)
	for name, call := range map[string]func(){
		"limit":                       func() { traffikws.Wrap(s, peer(), nil) },
		"limit of messages":           func() { traffikws.WrapMessages(s, peer(), nil) },
		"throttle":                    func() { traffikws.Wrap(s, peer(), noThrottle) },
		"gate":                        func() { traffikws.Wrap(s, peer(), noGate) },
		"zero gate":                   func() { traffikws.Wrap(s, peer(), new(traffik.Gate)) },
		"request":                     func() { traffikws.Wrap(s, nil, limit) },
		"request of messages":         func() { traffikws.WrapMessages(s, nil, limit) },
		"connection":                  func() { traffikws.Wrap[kind](nil, peer(), limit) },
		"message socket":              func() { traffikws.WrapMessages(nil, peer(), limit) },
		"pointer":                     func() { traffikws.Wrap((*closing)(nil), peer(), limit) },
		"pointer, messages":           func() { traffikws.WrapMessages((*talker)(nil), peer(), limit) },
		"wrapper to wrap":             func() { traffikws.Wrap(noConn, peer(), limit) },
		"option":                      func() { traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Drop()), nil) },
		"option of messages":          func() { traffikws.WrapMessages(s, peer(), limit, nil) },
		"handshake":                   func() { traffikws.From(nil) },
		"request of a meter":          func() { traffikws.NewMeter(nil, limit) },
		"limit of a meter":            func() { traffikws.NewMeter(peer(), nil) },
		"function of a meter":         func() { traffikws.NewMeterFunc(peer(), nil) },
		"request of a choosing meter": func() { traffikws.NewMeterFunc(nil, func(traffikws.Message) traffik.Limiter { return nil }) },
	} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "traffik") || !strings.Contains(text, ";") && !strings.Contains(text, "nil") {
					t.Errorf("a nil %s: panic %q, want a text of our own", name, text)
				}
			}()
			call()
		}()
	}
	if m, ok := traffikws.MessageOf(nil); ok {
		t.Errorf("nothing has the message %+v", m)
	}
	if len(s.inbound) != 1 || len(s.written) != 0 {
		t.Errorf("unread %q, written %q; want nothing read or written", s.inbound, s.written)
	}
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "3/h")
	s := &script{inbound: []string{"a"}}
	wrapped := traffikws.Wrap(s, peer(), limit)
	var noContext context.Context
	calls := map[string]func() error{
		"read without a context":   func() error { _, _, err := wrapped.Read(noContext); return err },
		"reader without a context": func() error { _, _, err := wrapped.Reader(noContext); return err },
		"JSON without a context":   func() error { return wrapped.ReadJSON(noContext, new(any)) },
		"write without a context":  func() error { return wrapped.Write(noContext, 1, nil) },
		"write of JSON without":    func() error { return wrapped.WriteJSON(noContext, 1) },
		"writer without a context": func() error { w, _ := wrapped.Writer(noContext, 1); return w.Close() },
		"meter without a context": func() error {
			_, err := traffikws.NewMeter(peer(), limit).Allow(noContext, traffikws.Message{Type: 1})
			return err
		},
	}
	for name, m := range map[string]*traffikws.Meter{"nil": nil, "zero": {}} {
		calls[name+" meter"] = func() error { _, err := m.Allow(t.Context(), traffikws.Message{Type: 1}); return err }
	}
	for name, c := range map[string]*traffikws.Conn[kind]{"nil": nil, "zero": {}} {
		calls[name+" Conn.Read"] = func() error { _, _, err := c.Read(t.Context()); return err }
		calls[name+" Conn.Reader"] = func() error { _, _, err := c.Reader(t.Context()); return err }
		calls[name+" Conn.ReadJSON"] = func() error { return c.ReadJSON(t.Context(), new(any)) }
		calls[name+" Conn.Write"] = func() error { return c.Write(t.Context(), 1, nil) }
		calls[name+" Conn.WriteJSON"] = func() error { return c.WriteJSON(t.Context(), 1) }
		calls[name+" Conn.Writer"] = func() error { w, _ := c.Writer(t.Context(), 1); return w.Close() }
		calls[name+" Conn.Close"] = func() error { return c.Close(1000, "") }
		calls[name+" Conn.CloseNow"] = func() error { return c.CloseNow() }
	}
	for name, c := range map[string]*traffikws.MessageConn{"nil": nil, "zero": {}} {
		calls[name+" MessageConn.ReadMessage"] = func() error { _, _, err := c.ReadMessage(); return err }
		calls[name+" MessageConn.NextReader"] = func() error { _, _, err := c.NextReader(); return err }
		calls[name+" MessageConn.ReadJSON"] = func() error { return c.ReadJSON(new(any)) }
		calls[name+" MessageConn.WriteMessage"] = func() error { return c.WriteMessage(1, nil) }
		calls[name+" MessageConn.WriteJSON"] = func() error { return c.WriteJSON(1) }
		calls[name+" MessageConn.NextWriter"] = func() error { w, _ := c.NextWriter(1); return w.Close() }
		calls[name+" MessageConn.SetWriteDeadline"] = func() error { return c.SetWriteDeadline(time.Time{}) }
		calls[name+" MessageConn.WriteControl"] = func() error { return c.WriteControl(8, nil, time.Time{}) }
		calls[name+" MessageConn.Close"] = func() error { return c.Close() }
		calls[name+" WritePrepared"] = func() error { return traffikws.WritePrepared(c, &prepared{}, traffikws.Message{Type: 1}) }
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, traffik.ErrUsage) || !strings.Contains(err.Error(), ";") {
			t.Errorf("%s: %v, want ErrUsage and what to do", name, err)
		}
	}
	if got := remaining(t, limit); got != 3 || len(s.inbound) != 1 || len(s.written) != 0 {
		t.Errorf("%d remaining, unread %q, written %q; want nothing charged, read or written", got, s.inbound, s.written)
	}
}

// Any library whose connection has the two methods will do.
func ExampleWrap() {
	messages := traffik.MustNew("example:messages", "2/d")
	conn := traffikws.Wrap(&script{inbound: strings.Fields("one two three")}, &traffik.Request{RemoteAddr: "192.0.2.1:1"}, messages)
	for {
		_, data, err := conn.Read(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(string(data))
	}
	// Output:
	// one
	// two
	// end of the script
}

// A connection that is no wrapper's business charges its messages by hand.
func ExampleMeter() {
	messages := traffik.MustNew("example:meter", "2/d")
	meter := traffikws.NewMeter(&traffik.Request{RemoteAddr: "192.0.2.1:1"}, messages)
	for range 3 {
		verdict, err := meter.Allow(context.Background(), traffikws.Message{Type: 1, Data: []byte("hello")})
		fmt.Println(verdict.Allowed(), err)
	}
	// Output:
	// true <nil>
	// true <nil>
	// false <nil>
}
