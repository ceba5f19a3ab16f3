package traffikws_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// polite is a connection of both styles whose peer answers a close after a
// second, in which it still sends; or closes first if it is hasty.
type polite struct {
	script
	hasty  bool
	frames []string
	asked  chan struct{}
}

func newPolite(messages string) *polite {
	return &polite{script: script{inbound: strings.Fields(messages)}, asked: make(chan struct{}, 10)}
}

func (p *polite) Read(ctx context.Context) (kind, []byte, error) {
	if len(p.inbound) > 0 {
		return p.script.Read(ctx)
	}
	if !p.hasty {
		<-p.asked
		p.hasty, p.inbound = true, []string{"late"}
		time.Sleep(time.Second) //nolint:forbidigo // the clock of the bubble
		return p.script.Read(ctx)
	}
	return 0, nil, coderCloseError{Code: 1000}
}

// Write keeps notices alone.
func (p *polite) Write(ctx context.Context, k kind, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	return p.script.Write(ctx, k, data)
}

func (p *polite) end(frame string) {
	p.frames = append(p.frames, frame)
	p.asked <- struct{}{}
}

func (p *polite) Close(code status, reason string) error {
	p.end(fmt.Sprintf("%d %s", code, reason))
	return nil
}

func (p *polite) CloseNow() error {
	p.end("now")
	return nil
}

// politeMessages is the same in the style of gorilla's.
type politeMessages struct{ *polite }

func (p politeMessages) ReadMessage() (int, []byte, error) {
	k, data, err := p.Read(context.Background())
	return int(k), data, err
}

func (p politeMessages) WriteMessage(opcode int, data []byte) error {
	if opcode == 8 {
		p.end(string(data))
	}
	return nil
}

func (p politeMessages) WriteControl(opcode int, data []byte, _ time.Time) error {
	return p.WriteMessage(opcode, data)
}

func (p politeMessages) Close() error {
	p.end("now")
	return nil
}

// ownClose is a wrapped connection and one of the ways to close it.
type ownClose struct {
	read  func() (string, error)
	write func() error
	close func() error
}

var ownCloses = map[string]func(ctx context.Context, p *polite, limit traffik.Limiter, opts ...traffikws.Option) ownClose{
	"Close":             wrapOwnClose(func(c *traffikws.Conn[kind]) error { return c.Close(1000, "bye") }),
	"CloseNow":          wrapOwnClose((*traffikws.Conn[kind]).CloseNow),
	"WriteMessage":      wrapMessagesOwnClose(func(c *traffikws.MessageConn) error { return c.WriteMessage(8, []byte("1000 bye")) }),
	"WriteControl":      wrapMessagesOwnClose(func(c *traffikws.MessageConn) error { return c.WriteControl(8, []byte("1000 bye"), time.Time{}) }),
	"Close of messages": wrapMessagesOwnClose((*traffikws.MessageConn).Close),
}

func wrapOwnClose(end func(*traffikws.Conn[kind]) error) func(context.Context, *polite, traffik.Limiter, ...traffikws.Option) ownClose {
	return func(ctx context.Context, p *polite, limit traffik.Limiter, opts ...traffikws.Option) ownClose {
		conn := traffikws.Wrap(p, peer(), limit, opts...)
		return ownClose{
			read: func() (string, error) {
				_, data, err := conn.Read(ctx)
				return string(data), err
			},
			write: func() error { return conn.Write(ctx, 1, nil) },
			close: func() error { return end(conn) },
		}
	}
}

func wrapMessagesOwnClose(end func(*traffikws.MessageConn) error) func(context.Context, *polite, traffik.Limiter, ...traffikws.Option) ownClose {
	return func(_ context.Context, p *polite, limit traffik.Limiter, opts ...traffikws.Option) ownClose {
		conn := traffikws.WrapMessages(politeMessages{p}, peer(), limit, opts...)
		return ownClose{
			read: func() (string, error) {
				_, data, err := conn.ReadMessage()
				return string(data), err
			},
			write: func() error { return conn.WriteMessage(1, nil) },
			close: func() error { return end(conn) },
		}
	}
}

// The application's close ends what is held in both directions, whether or not
// the peer has closed already: nothing more is delivered or charged, and the reads
// end with the peer's answer.
func TestOwnClose(t *testing.T) {
	t.Parallel()
	for name, wrap := range ownCloses {
		for _, hasty := range []bool{false, true} {
			for strategyName, strategy := range map[string]traffik.Strategy{"gcra": traffik.GCRA{}, "queue": traffik.LeakyBucketWithQueue{Capacity: 9}} {
				t.Run(fmt.Sprint(name, " hasty ", hasty, " ", strategyName), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						limit := realLimit(t, "1/2s", traffik.WithStrategy(strategy))
						out := realLimit(t, "1/h", traffik.WithStrategy(strategy), traffik.WithIdentifier(traffik.Shared()))
						fresh, err := limit.Key("ip:192.0.2.1").Stat(t.Context())
						if err != nil {
							t.Fatal(err)
						}
						p := newPolite("a b c d e f")
						p.hasty = hasty
						conn := wrap(t.Context(), p, limit, traffikws.WithMode(traffikws.Delay(time.Minute)), traffikws.WithOutbound(out, traffikws.Delay(2*time.Hour)))
						start := time.Now()
						go func() {
							time.Sleep(3 * time.Second) //nolint:forbidigo // the clock of the bubble
							if err := conn.close(); err != nil {
								t.Errorf("closing: %v", err)
							}
						}()
						wrote := make(chan error, 1)
						if !hasty { // a peer that has closed ends writes
							go func() {
								wrote <- errors.Join(conn.write(), conn.write())
							}()
						}
						got, err := readAll(func() (string, error) {
							message, err := conn.read()
							return fmt.Sprint(message, "@", time.Since(start)), err
						})
						took, want := time.Since(start), 4*time.Second
						if hasty {
							want = 3 * time.Second
						}
						if !errors.Is(err, coderCloseError{Code: 1000}) || took != want || !slices.Equal(got, []string{"a@0s", "b@2s"}) {
							t.Errorf("delivered %q, error %v after %v; want two and the close after %v", got, err, took, want)
						}
						if !hasty {
							if err := <-wrote; !errors.Is(err, net.ErrClosed) {
								t.Errorf("the held write: %v, want net.ErrClosed", err)
							}
						}
						synctest.Wait()
						if len(p.frames) != 1 || len(p.written) != 0 {
							t.Errorf("closed by %q, written %q", p.frames, p.written)
						}
						time.Sleep(time.Second) //nolint:forbidigo // until the second is worked off
						if stat, err := limit.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Remaining != fresh.Remaining {
							t.Errorf("%d remaining, %v; want %d", stat.Remaining, err, fresh.Remaining)
						}
					})
				})
			}
		}
	}
}

// A connection over the limit is closed already; the application's close is no
// second one.
func TestOwnCloseAfterTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, name := range []string{"Close", "WriteControl", "WriteMessage"} {
			limit := realLimit(t, "1/h", traffik.WithIdentifier(traffik.Shared()))
			p := newPolite("a b")
			conn := ownCloses[name](t.Context(), p, limit, traffikws.WithMode(traffikws.Close()))
			_, err := readAll(conn.read)
			var denied *traffikws.DeniedError
			if again := conn.close(); !errors.As(err, &denied) || !errors.Is(again, err) {
				t.Errorf("%s: read %v, closed %v; want the same DeniedError", name, err, again)
			}
		}
	})
}

// A wrapper of what can't be closed can't, either, and ends nothing.
func TestCloseUnsupported(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "9/h")
	s := &script{inbound: strings.Fields("a b")}
	conn, messages := traffikws.Wrap(s, peer(), limit), traffikws.WrapMessages(s, peer(), limit)
	for _, err := range []error{conn.Close(1000, ""), conn.CloseNow(), messages.Close(), messages.WriteControl(8, nil, time.Time{})} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v, want ErrUnsupported", err)
		}
	}
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Error(err)
	}
	mode := traffikws.WithMode(traffikws.Close())
	for name, wrap := range map[string]func(){
		"Wrap":         func() { traffikws.Wrap(conn, peer(), limit, mode) },
		"WrapMessages": func() { traffikws.WrapMessages(messages, peer(), limit, mode) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s of a wrapper without a way to close does not panic", name)
				}
			}()
			wrap()
		}()
	}
	p := newPolite("")
	traffikws.Wrap(traffikws.Wrap(p, peer(), limit), peer(), limit, mode)
	traffikws.WrapMessages(traffikws.WrapMessages(politeMessages{p}, peer(), limit), peer(), limit, mode)
}
