package websockets

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// gorillaReader serves with gorilla's library, without an echo: prepare gets the
// connection before it is wrapped, and what ends its reads is sent to ended.
func gorillaReader(limit traffik.Limiter, prepare func(*gorilla.Conn), ended chan<- any, opts ...traffikws.Option) http.HandlerFunc {
	upgrader := gorilla.Upgrader{}
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		defer func() {
			if panicked := recover(); panicked != nil {
				ended <- panicked
			}
		}()
		prepare(ws)
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, opts...)
		for err == nil {
			_, _, err = conn.ReadMessage()
		}
		ended <- err
	}
}

func dialGorilla(t *testing.T, server *host) *gorilla.Conn {
	t.Helper()
	return dialGorillaWith(t, server, gorilla.Dialer{NetDialContext: server.dial})
}

func dialGorillaWith(t *testing.T, server *host, dialer gorilla.Dialer) *gorilla.Conn {
	t.Helper()
	ws, res, err := dialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(server.url, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// A peer over the limit that answers no close and moves the application's read
// deadline with pongs is read from for five seconds and no longer.
func TestCloseDespitePongs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, _ := newLimit(t, "1/h")
		ended := make(chan any, 1)
		peer := dialGorilla(t, serveInMemory(t, gorillaReader(limit, func(ws *gorilla.Conn) {
			alive := func(string) error { return ws.SetReadDeadline(time.Now().Add(time.Minute)) }
			_ = alive("")
			ws.SetPongHandler(alive)
		}, ended, traffikws.WithMode(traffikws.Close()))))
		go func() { // hears the close frame, and does not answer
			_, _ = io.Copy(io.Discard, peer.NetConn())
		}()
		start := time.Now()
		for peer.WriteMessage(gorilla.TextMessage, []byte("flood")) == nil && peer.WriteControl(gorilla.PongMessage, nil, time.Time{}) == nil {
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
		}
		var denied *traffikws.DeniedError
		if err, _ := (<-ended).(error); !errors.As(err, &denied) || !denied.Closed {
			t.Errorf("ended by %v, want a DeniedError", err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("the peer was read from for %v, want 5 s", took)
		}
	})
}

// A handler that panics while a message is held does so in the application's
// read, where the server recovers.
func TestPanicOfAHandler(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/h")
	ended := make(chan any, 1)
	peer := dialGorilla(t, serve(t, gorillaReader(limit, func(ws *gorilla.Conn) {
		ws.SetPingHandler(func(string) error { panic("in a handler") })
	}, ended, traffikws.WithMode(traffikws.Delay(2*time.Hour)))))
	for range 2 {
		if err := peer.WriteMessage(gorilla.TextMessage, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := peer.WriteControl(gorilla.PingMessage, nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-ended:
		if got != "in a handler" {
			t.Errorf("ended by %v, want the panic", got)
		}
	case <-time.After(patience):
		t.Error("nothing ended the read")
	}
}

// An application that closes its connection ends a read whose message is held.
func TestCloseWhileHeld(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/h")
	ended, conns := make(chan any, 1), make(chan *gorilla.Conn, 1)
	peer := dialGorilla(t, serve(t, gorillaReader(limit, func(ws *gorilla.Conn) {
		pinged := ws.PingHandler()
		ws.SetPingHandler(func(data string) error {
			conns <- ws // all before it was read
			return pinged(data)
		})
	}, ended, traffikws.WithMode(traffikws.Delay(2*time.Hour)))))
	for range 3 {
		if err := peer.WriteMessage(gorilla.TextMessage, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := peer.WriteControl(gorilla.PingMessage, nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	_ = (<-conns).Close()
	select {
	case err := <-ended:
		if err, _ := err.(error); err == nil {
			t.Errorf("ended by %v, want the error of the connection", err)
		}
	case <-time.After(patience):
		t.Error("the read goes on")
	}
}

// Under Delay the end of a read's context ends the read alone, also when nothing
// is held: coder's library would end the connection.
func TestReadsEndWithoutTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limit, _ := newLimit(t, "100/h")
		first, second := make(chan error, 1), make(chan error, 1)
		c := dial(t, serveInMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = ws.CloseNow() }()
			conn := traffikws.Wrap(ws, traffikws.From(r), limit, traffikws.WithMode(traffikws.Delay(0)))
			ctx, cancel := context.WithTimeout(r.Context(), time.Second)
			defer cancel()
			_, _, err = conn.Read(ctx)
			first <- err
			_, _, err = conn.Read(r.Context())
			second <- err
		})))
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first read: %v, want the end of its context", err)
		}
		c.say("hello")
		if err := <-second; err != nil {
			t.Errorf("the second read: %v, want the message", err)
		}
	})
}
