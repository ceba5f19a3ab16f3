package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// realLimit counts by the clock of the bubble it is made in.
func realLimit(t *testing.T, rate string, opts ...traffik.Option) *traffik.Throttle {
	t.Helper()
	backend, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	limit, err := traffik.New(t.Name(), rate, append([]traffik.Option{traffik.WithBackend(backend)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

func peer() *traffik.Request { return &traffik.Request{RemoteAddr: "192.0.2.1:1"} }

// deliveries reads all of conn and notes at which second each message came.
func deliveries(t *testing.T, conn *traffikws.Conn[kind]) (got []string, err error) {
	t.Helper()
	start := time.Now()
	for {
		_, data, err := conn.Read(t.Context())
		if err != nil {
			return got, err
		}
		got = append(got, fmt.Sprintf("%s@%v", data, time.Since(start)))
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		limit, _ := newLimit(t, "2/10s")
		s := &script{inbound: strings.Fields("a b c d")}
		got, err := readAll(wrap(s, limit, traffikws.WithMode(traffikws.Drop())))
		if !errors.Is(err, errEnd) || !slices.Equal(got, []string{"a", "b"}) || len(s.written) != 0 {
			t.Errorf("delivered %q, written %q, error %v; want two messages and no notice", got, s.written, err)
		}
	})
}

// Held messages come in order, each when the limit admits it.
func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Now().Truncate(10 * time.Second).Add(10 * time.Second))) //nolint:forbidigo // the clock of the bubble
		limit := realLimit(t, "2/3s")
		s := &script{inbound: strings.Fields("a b c d e"), open: time.Minute}
		conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Delay(0)))
		got, err := deliveries(t, conn)
		if want := []string{"a@0s", "b@0s", "c@3s", "d@3s", "e@6s"}; !errors.Is(err, errEnd) || len(got) != len(want) {
			t.Fatalf("delivered %q, error %v; want %q", got, err, want)
		}
		for i, want := range []string{"a@", "b@", "c@", "d@", "e@"} {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("delivered %q, want them in order", got)
			}
		}
		if len(s.written) != 0 {
			t.Errorf("written %q, want no notice", s.written)
		}
	})
}

// What would have to wait for longer than the bound is dropped with a notice,
// and so is what can never be admitted.
func TestDelayIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "1/min", traffik.WithStrategy(traffik.GCRA{}), traffik.WithCostFunc(traffikws.CostBySize(2)))
		s := &script{inbound: []string{"a", "long", "b", "c"}}
		s.before = func(message string) {
			if message == "b" {
				time.Sleep(traffikws.NoticeInterval) //nolint:forbidigo // the clock of the bubble
			}
		}
		conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Delay(58*time.Second)))
		got, err := deliveries(t, conn)
		if !errors.Is(err, errEnd) || !slices.Equal(got, []string{"a@0s"}) {
			t.Errorf("delivered %q, error %v; want the first alone, and at once", got, err)
		}
		if want := []string{`1 {"type":"rate_limit"}`, `1 {"type":"rate_limit","retry_after_ms":59000}`}; !slices.Equal(s.written, want) {
			t.Errorf("written %q, want %q", s.written, want)
		}
	})
}

// A message that others of the same identity overtake waits again, but in all
// no longer than the bound.
func TestDelayOvertaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		opts := []traffik.Option{traffik.WithBackend(backend), traffik.WithStrategy(traffik.GCRA{}), traffik.WithIdentifier(traffik.Shared())}
		other := traffik.MustNew("messages", "1/2s", opts...)
		limit := traffik.MustNew("messages", "1/2s", append(opts, traffik.WithCostFunc(func(*traffik.Request) (int64, error) {
			res, err := other.Key("shared:").Hit(t.Context()) // just before each attempt
			if err != nil || !res.Allowed {
				t.Errorf("the other connection: %+v, %v", res, err)
			}
			return 1, nil
		}))...)
		s := &script{inbound: []string{"a"}, open: time.Minute}
		start := time.Now()
		var told []time.Duration
		conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Delay(7*time.Second)), traffikws.WithNotifier(func(context.Context, []byte) error {
			told = append(told, time.Since(start))
			return nil
		}))
		got, err := deliveries(t, conn)
		if !errors.Is(err, errEnd) || !slices.Equal(told, []time.Duration{6 * time.Second}) || len(got) != 0 {
			t.Errorf("delivered %q, told after %v, error %v; want a notice after three waits", got, told, err)
		}
	})
}

// A queueing strategy's distances are kept under Delay.
func TestDelayOfAQueueingStrategy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "1/s", traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: 3}))
		conn := traffikws.Wrap(&script{inbound: strings.Fields("a b c"), open: time.Minute}, peer(), limit, traffikws.WithMode(traffikws.Delay(0)))
		got, _ := deliveries(t, conn)
		if want := []string{"a@0s", "b@1s", "c@2s"}; !slices.Equal(got, want) {
			t.Errorf("delivered %q, want %q", got, want)
		}
	})
}

// A place in a queue further back than the bound is refunded, and the peer
// told when to come again; an outbound message is not sent.
func TestDelayBehindALongQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "1/s", traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: 30}))
		var scripts []*script
		var errs []error
		var mu sync.Mutex
		at := map[time.Duration]int{}
		start := time.Now()
		for i := range 20 {
			s := &script{inbound: []string{fmt.Sprint(i)}, open: time.Minute}
			scripts = append(scripts, s)
			conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Delay(2*time.Second)), traffikws.WithOutbound(limit, traffikws.Delay(2*time.Second)))
			go func() {
				if _, _, err := conn.Read(t.Context()); err == nil {
					mu.Lock()
					defer mu.Unlock()
					at[time.Since(start)]++
				}
			}()
			synctest.Wait()
			if i == 10 {
				errs = append(errs, conn.Write(t.Context(), 1, nil))
			}
		}
		time.Sleep(30 * time.Second) //nolint:forbidigo // the clock of the bubble
		synctest.Wait()
		if len(at) < 3 || at[0] != 1 || at[time.Second] != 1 || at[2*time.Second] != 1 {
			t.Errorf("delivered %v, want no two at a time", at)
		}
		var denied *traffikws.DeniedError
		if len(errs) != 1 || !errors.As(errs[0], &denied) {
			t.Errorf("writing: %v, want a denial", errs)
		}
		if want := []string{`1 {"type":"rate_limit","retry_after_ms":1000}`}; !slices.Equal(scripts[3].written, want) {
			t.Errorf("written %q, want %q", scripts[3].written, want)
		}
		if stat, err := limit.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining < 29 {
			t.Errorf("%+v, %v; want the queue empty", stat, err)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // until all have ended
	})
}

// pipe is a connection whose messages a test hands over one by one.
type pipe struct {
	script
	messages chan string
	reads    chan struct{} // one for each read that has begun
}

func newPipe() *pipe {
	return &pipe{messages: make(chan string), reads: make(chan struct{}, 10_000)}
}

func (p *pipe) Read(ctx context.Context) (kind, []byte, error) {
	p.reads <- struct{}{}
	select {
	case message, ok := <-p.messages:
		if !ok {
			return 0, nil, errEnd
		}
		return 1, []byte(message), nil
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
}

// While a message is held the connection goes on being read, so that pings are
// seen, until there is no more room for what was read.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		size, want int
	}{"many": {1, 256}, "large": {40 << 10, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := realLimit(t, "1/s", traffik.WithStrategy(traffik.GCRA{}))
				p := newPipe()
				conn := traffikws.Wrap(p, peer(), limit, traffikws.WithMode(traffikws.Delay(0)))
				sent := 0
				go func() {
					for range 300 {
						p.messages <- strings.Repeat("x", c.size)
						sent++
					}
					time.Sleep(time.Hour) //nolint:forbidigo // the clock of the bubble
					close(p.messages)
				}()
				if _, _, err := conn.Read(t.Context()); err != nil {
					t.Fatal(err)
				}
				go func() { _, _, _ = conn.Read(t.Context()) }()
				synctest.Wait() // the second is held now
				if sent != 2+c.want {
					t.Errorf("%d messages were taken from the connection, want two and %d ahead", sent, c.want)
				}
				time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
				synctest.Wait()
				got := 2
				for {
					if _, _, err := conn.Read(t.Context()); err != nil {
						break
					}
					got++
				}
				if got != 300 {
					t.Errorf("%d messages delivered, want all 300", got)
				}
			})
		})
	}
}

// The end of a read's context ends the wait, and no message is lost or leaks a
// goroutine.
func TestReadsEndWhileReadingAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit := realLimit(t, "1/2s", traffik.WithStrategy(traffik.GCRA{}))
		p := newPipe()
		conn := traffikws.Wrap(p, peer(), limit, traffikws.WithMode(traffikws.Delay(0)))
		go func() { p.messages <- "a"; p.messages <- "b" }()
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			if _, _, err := conn.Read(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		// Now a read that began while b was held is under way, and does not end with
		// the context of the call that began it.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := conn.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		go func() { p.messages <- "c" }()
		_, data, err := conn.Read(t.Context())
		if err != nil || string(data) != "c" {
			t.Errorf("read %q, %v; want c", data, err)
		}
		close(p.messages)
		if _, _, err := conn.Read(t.Context()); !errors.Is(err, errEnd) {
			t.Errorf("error %v, want that of the connection", err)
		}
	})
}

// closing is a connection in the style of coder's closes.
type closing struct {
	script
	closed []string
}

// status is a type of its own, as coder/websocket has one.
type status int

func (c *closing) Close(code status, reason string) error {
	c.closed = append(c.closed, fmt.Sprintf("%d %s", code, reason))
	return errors.New("the peer did not answer")
}

func TestClose(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode      traffikws.Mode
		delivered string
		notices   int
	}{
		"at once":      {traffikws.Close(), "a b", 0},
		"0 is 1":       {traffikws.CloseAfter(0), "a b", 0},
		"at the third": {traffikws.CloseAfter(3), "a b late", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit, clock := newLimit(t, "2/10s")
				s := &closing{script: script{inbound: strings.Fields("a b over late cheap over over never")}}
				s.before = func(message string) {
					if message == "late" {
						clock.Advance(10 * time.Second)
					}
				}
				conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(c.mode))
				var got []string
				var err error
				for err == nil {
					var data []byte
					if _, data, err = conn.Read(t.Context()); err == nil && string(data) != "cheap" {
						got = append(got, string(data))
					}
				}
				var denied *traffikws.DeniedError
				if !errors.As(err, &denied) || !denied.Closed || denied.Verdict.Allowed() {
					t.Errorf("error %v, want a DeniedError that closed", err)
				}
				if !slices.Equal(s.closed, []string{"1008 rate limit exceeded"}) {
					t.Errorf("closed by %q, want 1008 once", s.closed)
				}
				if strings.Join(got, " ") != c.delivered || len(s.written) != c.notices {
					t.Errorf("delivered %q with notices %q, want %q with %d", got, s.written, c.delivered, c.notices)
				}
				left := len(s.inbound)
				if _, _, again := conn.Read(t.Context()); !errors.Is(again, err) || len(s.inbound) != left {
					t.Errorf("a further read: %v; want the same error and nothing read", again)
				}
				if again := conn.Write(t.Context(), 1, nil); !errors.Is(again, err) || len(s.written) != c.notices {
					t.Errorf("a further write: %v, written %q; want the same error and nothing sent", again, s.written)
				}
			})
		})
	}
}

// A store that fails is no fault of the peer.
func TestFailuresAreNoViolations(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	backend := traffiktest.Break(memory)
	backend.Fail(errors.New("down"))
	limit, err := traffik.New("limit", "1/h", traffik.WithBackend(backend), traffik.WithErrorPolicy(traffik.FailClosed))
	if err != nil {
		t.Fatal(err)
	}
	s := &closing{script: script{inbound: strings.Fields("a b c")}}
	conn := traffikws.Wrap(s, peer(), limit, traffikws.WithMode(traffikws.Close()), traffikws.WithOutbound(limit, traffikws.Close()))
	if _, _, err := conn.Read(t.Context()); !errors.Is(err, errEnd) || len(s.closed) != 0 || len(s.written) != 1 {
		t.Errorf("error %v, closed %q, written %q; want the connection to go on after a notice", err, s.closed, s.written)
	}
	if err := conn.Write(t.Context(), 1, nil); err == nil || len(s.closed) != 0 || !strings.Contains(err.Error(), "down") {
		t.Errorf("writing: %v, closed %q; want an error that names the cause", err, s.closed)
	}
}

func TestCloser(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/10s")
	var codes []int
	closer := traffikws.WithCloser(func(code int, _ string) error {
		codes = append(codes, code)
		return nil
	})
	conn := traffikws.WrapMessages(&script{inbound: strings.Fields("a b c")}, peer(), limit, traffikws.WithMode(traffikws.Close()), closer, traffikws.WithCloser(nil))
	_, err := readAll(func() (string, error) {
		_, data, err := conn.ReadMessage()
		return string(data), err
	})
	var denied *traffikws.DeniedError
	if !errors.As(err, &denied) || !slices.Equal(codes, []int{1008}) {
		t.Errorf("error %v, closed with %v; want 1008 through the function", err, codes)
	}
	defer func() {
		if text, ok := recover().(string); !ok || !strings.Contains(text, "WithCloser") {
			t.Errorf("panic %q, want one that says how to close", text)
		}
	}()
	traffikws.Wrap(&script{}, peer(), limit, traffikws.WithMode(traffikws.Close()))
}

func TestOutbound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode   traffikws.Mode
		denied bool
		closed int
	}{
		"notify":      {traffikws.Notify(), true, 0},
		"drop":        {traffikws.Drop(), false, 0},
		"delay":       {traffikws.Delay(time.Second), true, 0},
		"close":       {traffikws.Close(), true, 1},
		"close after": {traffikws.CloseAfter(2), true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "2/10s")
			out, _ := newLimit(t, "1/10s")
			s := &closing{script: script{inbound: strings.Fields("a b c")}}
			conn := traffikws.Wrap(s, peer(), limit, traffikws.WithOutbound(out, c.mode), traffikws.WithOutbound(out, c.mode))
			first, second := conn.Write(t.Context(), 1, []byte("x")), conn.Write(t.Context(), 1, []byte("y"))
			var denied *traffikws.DeniedError
			if errors.As(second, &denied) != c.denied || first != nil || len(s.closed) != c.closed {
				t.Errorf("writes: %v, %v, closed %q", first, second, s.closed)
			}
			if c.denied && (denied.Closed != (c.closed > 0) || denied.Verdict.RetryAfter() != 10*time.Second || denied.Unwrap() != nil) {
				t.Errorf("denied by %+v", denied)
			}
			// Notices are no messages of the application.
			_, _ = readAll(func() (string, error) {
				_, data, err := conn.Read(t.Context())
				return string(data), err
			})
			want := []string{"1 x", `1 {"type":"rate_limit","retry_after_ms":10000}`}
			if !slices.Equal(s.written, want[:2-c.closed]) { // nothing is read once it is closed
				t.Errorf("written %q, want %q", s.written, want)
			}
		})
	}
}

func TestOutboundDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		out := realLimit(t, "1/s", traffik.WithStrategy(traffik.GCRA{}))
		s := &script{}
		conn := traffikws.WrapMessages(s, peer(), out, traffikws.WithOutbound(out, traffikws.Delay(0)))
		start := time.Now()
		for _, message := range []string{"a", "b", "c"} {
			if err := conn.WriteMessage(1, []byte(message)); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(start); took != 2*time.Second || !slices.Equal(s.written, []string{"1 a", "1 b", "1 c"}) {
			t.Errorf("written %q after %v, want all three after two seconds", s.written, took)
		}
	})
}

// One limit for each connection, one for the user, one for all: every message
// is charged to all or none.
func TestSeveralLimits(t *testing.T) {
	t.Parallel()
	limits := map[string]*traffik.Throttle{}
	var each []traffik.Limiter
	backend, err := traffik.NewMemory(traffik.WithClock(traffiktest.NewClock(time.Unix(1_700_000_000, 0))))
	if err != nil {
		t.Fatal(err)
	}
	for uid, c := range map[string]struct {
		rate string
		who  *traffik.Identifier
	}{"connection": {"2/h", traffikws.ByConnection()}, "user": {"3/h", traffik.ByHeader("X-User")}, "all": {"4/h", traffik.Shared()}} {
		limits[uid], err = traffik.New(uid, c.rate, traffik.WithBackend(backend), traffik.WithIdentifier(c.who))
		if err != nil {
			t.Fatal(err)
		}
		each = append(each, limits[uid])
	}
	connect := func(user string) func() string {
		s := &script{inbound: strings.Fields("1 2 3 4")}
		from := &traffik.Request{Header: map[string][]string{"X-User": {user}}}
		conn := traffikws.Wrap(s, from, traffik.All(each...))
		return func() string {
			got, _ := readAll(func() (string, error) {
				_, data, err := conn.Read(t.Context())
				return string(data), err
			})
			return strings.Join(got, "")
		}
	}
	for i, c := range []struct{ user, want string }{{"alice", "12"}, {"alice", "1"}, {"bob", "1"}, {"carol", ""}} {
		if got := connect(c.user)(); got != c.want {
			t.Errorf("connection %d, of %s: delivered %q, want %q", i, c.user, got, c.want)
		}
	}
}

// Limit and cost may depend on the message: kinds of messages with limits of
// their own, free ones, cost by size.
func TestLimitFunc(t *testing.T) {
	t.Parallel()
	styles(t, func(t *testing.T, wrap func(*script, traffik.Limiter, ...traffikws.Option) func() (string, error)) {
		plain, clock := newLimit(t, "1/10s")
		var free *traffik.Throttle // as a look-up in a map of them may find
		bytes, _ := newLimit(t, "10/10s", traffik.WithCostFunc(traffikws.CostBySize(1)))
		s := &script{inbound: strings.Fields("chat beat upload:3456 chat beat upload:3456 beat later chat beat")}
		s.before = func(message string) {
			if message == "later" {
				clock.Advance(2 * time.Second)
			}
		}
		got, _ := readAll(wrap(s, nil, traffikws.WithLimitFunc(func(m traffikws.Message) traffik.Limiter {
			switch {
			case strings.HasPrefix(string(m.Data), "upload"):
				return bytes
			case string(m.Data) == "beat":
				return nil
			case string(m.Data) == "later":
				return free
			}
			return plain
		})))
		if want := strings.Fields("chat beat beat beat later beat"); !slices.Equal(got, want) {
			t.Errorf("delivered %q, want %q", got, want)
		}
		// One for an upload of eleven bytes, which never fits; one for the chat.
		if len(s.written) != 2 {
			t.Errorf("written %q; want two notices however many free messages come in between", s.written)
		}
	})
}

func TestCostBySize(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1000/h", traffik.WithCostFunc(traffikws.CostBySize(1024)), traffik.WithErrorPolicy(traffik.Propagate))
	meter := traffikws.NewMeter(peer(), limit)
	remaining := int64(1000)
	for _, c := range []struct{ size, cost int }{{0, 1}, {1, 1}, {1024, 1}, {1025, 2}, {10_240, 10}} {
		v, err := meter.Allow(t.Context(), traffikws.Message{Type: 2, Data: make([]byte, c.size)})
		if remaining -= int64(c.cost); err != nil || v.Tightest().Remaining != remaining {
			t.Errorf("%d bytes: %d remaining, error %v; want %d", c.size, v.Tightest().Remaining, err, remaining)
		}
	}
	if _, err := limit.For(peer()).Hit(t.Context()); err == nil {
		t.Error("a request that is no message has a size")
	}
	if _, ok := traffikws.MessageOf(peer()); ok {
		t.Error("a request that is no message has one")
	}
	defer func() {
		if recover() == nil {
			t.Error("CostBySize(0) did not panic")
		}
	}()
	traffikws.CostBySize(0)
}

// Control frames handed to a meter are free.
func TestControlFramesAreFree(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/h")
	meter := traffikws.NewMeter(peer(), limit)
	for _, opcode := range []int{8, 9, 10, 1, 9} {
		if v, err := meter.Allow(t.Context(), traffikws.Message{Type: opcode}); err != nil || !v.Allowed() {
			t.Errorf("opcode %d: %+v, %v", opcode, v, err)
		}
	}
	if v, err := meter.Allow(t.Context(), traffikws.Message{Type: 2}); err != nil || v.Allowed() {
		t.Errorf("the second message: %+v, %v; want a denial", v, err)
	}
}

func TestJSONAndReaders(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "12/h")
	out, _ := newLimit(t, "2/h")
	type body struct {
		N int `json:"n"`
	}
	inbound := func() *script { return &script{inbound: []string{`{"n":1}`, `{`, `{"n":3}`}} }

	s := inbound()
	conn := traffikws.Wrap(s, peer(), limit, traffikws.WithOutbound(out, traffikws.Notify()))
	var b body
	if err := conn.ReadJSON(t.Context(), &b); err != nil || b.N != 1 {
		t.Errorf("read %+v, %v", b, err)
	}
	if err := conn.ReadJSON(t.Context(), &b); err == nil {
		t.Error("half an object was read")
	}
	k, r, err := conn.Reader(t.Context())
	if data, _ := io.ReadAll(r); err != nil || k != 1 || string(data) != `{"n":3}` {
		t.Errorf("read %d %q, %v", k, data, err)
	}
	if _, _, err := conn.Reader(t.Context()); !errors.Is(err, errEnd) || !errors.Is(conn.ReadJSON(t.Context(), &b), errEnd) {
		t.Errorf("error %v, want that of the connection", err)
	}
	w, _ := conn.Writer(t.Context(), 2)
	writeTwice(t, w)
	if err := conn.WriteJSON(t.Context(), body{7}); err != nil {
		t.Error(err)
	}
	if err := conn.WriteJSON(t.Context(), func() {}); err == nil {
		t.Error("a function was written as JSON")
	}
	w, _ = conn.Writer(t.Context(), 2)
	var denied *traffikws.DeniedError
	if err := w.Close(); !errors.As(err, &denied) {
		t.Errorf("the third message written: %v, want a denial", err)
	}
	if want := []string{"2 onetwo", "1 {\"n\":7}\n"}; !slices.Equal(s.written, want) {
		t.Errorf("written %q, want %q", s.written, want)
	}

	s = inbound()
	messages := traffikws.WrapMessages(s, peer(), limit)
	if err := messages.ReadJSON(&b); err != nil || b.N != 1 {
		t.Errorf("read %+v, %v", b, err)
	}
	for message, want := range map[string]error{"": io.ErrUnexpectedEOF, "{": io.ErrUnexpectedEOF, `{"n":2} {"n":3}`: nil} {
		gorilla := traffikws.WrapMessages(&script{inbound: []string{message}}, peer(), limit)
		if err := gorilla.ReadJSON(&b); err != want { //nolint:errorlint // not wrapped, as in the library
			t.Errorf("%q: %v, want %v as from gorilla/websocket", message, err, want)
		}
	}
	opcode, r, err := messages.NextReader()
	if data, _ := io.ReadAll(r); err != nil || opcode != 1 || string(data) != `{` {
		t.Errorf("read %d %q, %v", opcode, data, err)
	}
	w, _ = messages.NextWriter(2)
	writeTwice(t, w)
	if err := messages.WriteJSON(body{7}); err != nil || messages.WriteJSON(func() {}) == nil {
		t.Error("writing JSON", err)
	}
	if want := []string{"2 onetwo", "1 {\"n\":7}\n"}; !slices.Equal(s.written, want) {
		t.Errorf("written %q, want %q", s.written, want)
	}
	_, _, _ = messages.ReadMessage()
	if _, _, err := messages.NextReader(); !errors.Is(err, errEnd) || !errors.Is(messages.ReadJSON(&b), errEnd) {
		t.Errorf("error %v, want that of the connection", err)
	}
}

// writeTwice writes one message in two parts, and nothing after its end.
func writeTwice(t *testing.T, w io.WriteCloser) {
	t.Helper()
	for _, part := range []string{"one", "two"} {
		if _, err := io.WriteString(w, part); err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(w, "late"); err == nil || w.Close() == nil {
		t.Error("a writer goes on after its end")
	}
}
