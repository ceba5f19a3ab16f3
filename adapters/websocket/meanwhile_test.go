package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
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
				denies := realLimit(t, "1/h", traffik.WithCost(2))
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
					limit, out := realLimit(t, "1/h", traffik.WithCost(2)), realLimit(t, "1/h", traffik.WithCost(c.outCost))
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
