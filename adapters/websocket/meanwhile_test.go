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

// slowlyClosing is a connection whose close frame takes its time.
type slowlyClosing struct {
	*pipe
	took time.Duration
}

func (s slowlyClosing) Close(status, string) error {
	time.Sleep(s.took) //nolint:forbidigo // the clock of the bubble
	return nil
}

// A handler that returns with the error of one direction must not overtake the close
// frame that the other is sending; nor does it wait for ever.
func TestAnEndIsToldAfterTheCloseFrame(t *testing.T) {
	t.Parallel()
	const long = 2 * time.Hour
	for name, c := range map[string]struct {
		in, out    traffikws.Mode
		ends, told string
		underWay   bool // before the connection ends
	}{
		"a write after a read":   {traffikws.Close(), traffikws.Notify(), "read", "write", false},
		"a held write":           {traffikws.Close(), traffikws.Delay(long), "read", "write", true},
		"a write after a write":  {traffikws.Notify(), traffikws.Close(), "write", "write", false},
		"a read after a write":   {traffikws.Notify(), traffikws.Close(), "write", "read", false},
		"a held read":            {traffikws.Delay(long), traffikws.Close(), "write", "read", true},
		"the application closes": {traffikws.Close(), traffikws.Notify(), "read", "close", false},
	} {
		for took, want := range map[time.Duration]time.Duration{time.Second: time.Second, time.Hour: 5 * time.Second} {
			t.Run(fmt.Sprint(name, " ", took), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := slowlyClosing{newPipe(), took}
					defer close(s.messages) // ends what is read ahead
					conn := traffikws.Wrap(s, peer(), realLimit(t, "1/h"), traffikws.WithMode(c.in), traffikws.WithOutbound(realLimit(t, "1/h"), c.out))
					calls := map[string]func() error{
						"read":  func() error { _, _, err := conn.Read(t.Context()); return err },
						"write": func() error { return conn.Write(t.Context(), 1, nil) },
						"close": func() error { return conn.Close(1000, "") },
					}
					go func() {
						s.messages <- "within the limit"
						if c.ends == "read" || c.underWay {
							s.messages <- "over the limit"
						}
					}()
					if err := errors.Join(calls["read"](), calls["write"]()); err != nil {
						t.Fatal(err)
					}
					ended, told := make(chan error, 1), make(chan error, 1)
					start, tell := time.Now(), func() { told <- calls[c.told]() }
					if c.underWay {
						go tell()
						synctest.Wait()
					}
					go func() { ended <- calls[c.ends]() }()
					synctest.Wait()
					if !c.underWay {
						go tell()
					}
					var denied *traffikws.DeniedError
					if err := <-told; !errors.As(err, &denied) || !denied.Closed || time.Since(start) != want {
						t.Errorf("%v after %v; want a DeniedError that closed after %v", err, time.Since(start), want)
					}
					if err := <-ended; !errors.Is(err, denied) {
						t.Errorf("%v; want the same error", err)
					}
				})
			})
		}
	}
}

// What a store admits when the connection has just ended is neither delivered nor sent
// nor charged.
func TestAdmittedAfterTheEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in, out        traffikws.Mode
		call, meantime string
	}{
		"the application closes": {traffikws.Delay(0), traffikws.Notify(), "read", "close"},
		"a read":                 {traffikws.Notify(), traffikws.Close(), "read", "write"},
		"a read under Delay":     {traffikws.Delay(0), traffikws.Close(), "read", "write"},
		"a write":                {traffikws.Close(), traffikws.Drop(), "write", "read"},
		"a write under Delay":    {traffikws.Close(), traffikws.Delay(0), "write", "read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				var calls map[string]func() error
				backend := &contested{memory, 0, new(int), func() { _ = calls[c.meantime]() }}
				admits := traffik.MustNew("admits", "9/h", traffik.WithBackend(backend))
				denies := realLimit(t, "1/h", costs(2))
				limits := map[string]traffik.Limiter{"read": denies, "write": denies}
				limits[c.call] = admits
				s := &closing{script: script{inbound: []string{"a"}}}
				conn := traffikws.Wrap(s, peer(), limits["read"], traffikws.WithMode(c.in), traffikws.WithOutbound(limits["write"], c.out))
				calls = map[string]func() error{
					"read":  func() error { _, _, err := conn.Read(t.Context()); return err },
					"write": func() error { return conn.Write(t.Context(), 1, nil) },
					"close": func() error { return conn.Close(1000, "") },
				}
				err = calls[c.call]()
				if denied := errors.As(err, new(*traffikws.DeniedError)); denied == (c.meantime == "close") || !denied && !errors.Is(err, errEnd) {
					t.Errorf("error %v; want that of the end", err)
				}
				if stat, err := admits.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != 9 || len(s.written) != 0 {
					t.Errorf("%d remaining, %v, written %q; want nothing charged or sent", stat.Remaining, err, s.written)
				}
			})
		})
	}
}

// breaking is a connection whose writes fail after a second, as they do once it is closed.
type breaking struct{ closing }

func (b *breaking) Write(context.Context, kind, []byte) error {
	time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
	return errEnd
}

func (b *breaking) ReadMessage() (int, []byte, error) {
	message, err := b.next()
	return 1, []byte(message), err
}

func (b *breaking) WriteMessage(int, []byte) error { return b.Write(context.Background(), 1, nil) }

// A write that the end over the limit breaks says so, and so does a read whose notice it
// breaks.
func TestWritesBrokenByTheEnd(t *testing.T) {
	t.Parallel()
	for broken, c := range map[string]struct {
		in, out traffikws.Mode
		outCost int64
		ends    string
	}{
		"write": {traffikws.Close(), traffikws.Notify(), 1, "read"},
		"read":  {traffikws.Notify(), traffikws.Close(), 2, "write"},
	} {
		for _, style := range []string{"Wrap", "WrapMessages"} {
			t.Run(broken+" "+style, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					limit, out := realLimit(t, "1/h", costs(2)), realLimit(t, "1/h", costs(c.outCost))
					b := &breaking{closing{script: script{inbound: []string{"a"}}}}
					opts := []traffikws.Option{
						traffikws.WithMode(c.in), traffikws.WithOutbound(out, c.out),
						traffikws.WithCloser(func(int, string) error { return nil }),
					}
					conn, messages := traffikws.Wrap(b, peer(), limit, opts...), traffikws.WrapMessages(b, peer(), limit, opts...)
					calls := map[string]func() error{
						"read":  func() error { _, _, err := conn.Read(t.Context()); return err },
						"write": func() error { return conn.Write(t.Context(), 1, nil) },
					}
					if style == "WrapMessages" {
						calls = map[string]func() error{
							"read":  func() error { _, _, err := messages.ReadMessage(); return err },
							"write": func() error { return messages.WriteMessage(1, nil) },
						}
					}
					got := make(chan error, 1)
					go func() { got <- calls[broken]() }()
					synctest.Wait()
					want := calls[c.ends]()
					if err := <-got; !errors.As(err, new(*traffikws.DeniedError)) || !errors.Is(err, want) {
						t.Errorf("%v, want %v", err, want)
					}
				})
			})
		}
	}
}

// answering is a connection whose peer answers a close, which takes a moment longer.
type answering struct {
	*pipe
	closed chan struct{}
}

func (a answering) Read(context.Context) (kind, []byte, error) {
	select {
	case m := <-a.messages:
		return 1, []byte(m), nil
	case <-a.closed:
		return 0, nil, coderCloseError{Code: 1008}
	}
}

func (a answering) Close(status, string) error {
	close(a.closed)
	time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
	return nil
}

// The answer to a close over the limit is no close of the peer's own, before which what it
// has sent would count.
func TestAdmittedAfterTheAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		var conn *traffikws.Conn[kind]
		calls := 0
		backend := &contested{memory, 0, &calls, func() {
			if calls == 3 { // for the second message, after its hold
				_ = conn.Write(t.Context(), 1, nil)
			}
		}}
		limit := traffik.MustNew("limit", "1/s", traffik.WithBackend(backend), traffik.WithStrategy(traffik.GCRA{}))
		a := answering{newPipe(), make(chan struct{})}
		go func() { a.messages <- "a"; a.messages <- "b" }()
		conn = traffikws.Wrap(a, peer(), limit, traffikws.WithMode(traffikws.Delay(0)), traffikws.WithOutbound(realLimit(t, "1/h", costs(2)), traffikws.Close()))
		got, err := deliveries(t, conn)
		if !errors.As(err, new(*traffikws.DeniedError)) || !slices.Equal(got, []string{"a@0s"}) {
			t.Errorf("delivered %q, error %v; want the first message alone", got, err)
		}
		if stat, err := limit.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != 1 {
			t.Errorf("%+v, %v; want a refund of the second", stat, err)
		}
	})
}

// Whatever the store says to a write while a read ends the connection, the write tells of
// that end, and not before the close frame is out.
func TestWriteInTheStoreAtTheEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode traffikws.Mode
		cost int64
		fail error
	}{
		"admitted":    {traffikws.Notify(), 1, nil},
		"denied":      {traffikws.Notify(), 2, nil},
		"silent":      {traffikws.Drop(), 2, nil},
		"a violation": {traffikws.Close(), 2, nil},
		"held":        {traffikws.Delay(0), 2, nil},
		"failed":      {traffikws.Notify(), 1, errors.New("down")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				store := traffiktest.Break(memory)
				store.Slow(time.Second)
				time.AfterFunc(time.Millisecond, func() { store.Slow(0) }) // not the refund
				store.Fail(c.fail)
				out := traffik.MustNew("out", "1/h", traffik.WithBackend(store), costs(c.cost), traffik.WithErrorPolicy(traffik.Propagate))
				s := slowlyClosing{newPipe(), 4 * time.Second}
				conn := traffikws.Wrap(s, peer(), realLimit(t, "1/h", costs(2)), traffikws.WithMode(traffikws.Close()), traffikws.WithOutbound(out, c.mode))
				go func() {
					s.messages <- "over the limit"
				}()
				read := make(chan error, 1)
				go func() {
					_, _, err := conn.Read(t.Context())
					read <- err
				}()
				start := time.Now()
				written := conn.Write(t.Context(), 1, nil)
				if took := time.Since(start); !errors.As(written, new(*traffikws.DeniedError)) || !errors.Is(written, <-read) || took != 4*time.Second {
					t.Errorf("%v after %v; want the error of the read after 4 s", written, took)
				}
			})
		})
	}
}

// draining is a connection in the style of gorilla's whose peer sends another message and a
// ping before it answers a close. Writes under way then fail.
type draining struct {
	ping  func() error
	reads int
	sent  chan struct{}
}

func (d *draining) ReadMessage() (int, []byte, error) {
	d.reads++
	select {
	case <-d.sent:
	default:
		return 1, []byte("over the limit"), nil
	}
	if d.reads < 4 {
		return 1, []byte("late"), d.ping()
	}
	return -1, nil, errEnd
}

func (d *draining) WriteMessage(int, []byte) error {
	<-d.sent
	return errors.New("the close frame was sent")
}

func (d *draining) WriteControl(opcode int, data []byte, _ time.Time) error {
	if opcode == 8 {
		close(d.sent)
		return nil
	}
	return d.WriteMessage(opcode, data)
}

func (d *draining) Close() error { return nil }

// A read that ends the connection, or whose notice breaks with it, first reads what is left
// to read, though a handler in it answers a ping through the wrapper.
func TestDrain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, out traffikws.Mode }{
		"after a read":  {traffikws.Close(), traffikws.Notify()},
		"after a write": {traffikws.Notify(), traffikws.Close()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &draining{sent: make(chan struct{})}
				limit := realLimit(t, "1/h", costs(2))
				conn := traffikws.WrapMessages(d, peer(), limit, traffikws.WithMode(c.in), traffikws.WithOutbound(limit, c.out))
				d.ping = func() error { return conn.WriteControl(10, nil, time.Time{}) }
				start := time.Now()
				read := make(chan error, 1)
				go func() {
					_, _, err := conn.ReadMessage()
					read <- err
				}()
				synctest.Wait()
				written := conn.WriteMessage(1, nil)
				if err := <-read; !errors.Is(err, written) || d.reads != 4 || time.Since(start) != 0 {
					t.Errorf("read: %v, written: %v after %d reads and %v; want one error after 4 reads at once", err, written, d.reads, time.Since(start))
				}
				if err := conn.WriteControl(9, nil, time.Time{}); !errors.Is(err, written) {
					t.Errorf("a ping: %v, want %v", err, written)
				}
				time.Sleep(10 * time.Second) //nolint:forbidigo // the clock of the bubble
			})
		})
	}
}
