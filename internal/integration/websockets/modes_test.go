package websockets

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// hearAll is what is left to hear until the connection ends.
func (c *client) hearAll() (heard []string) {
	c.Helper()
	for deadline := time.After(patience); ; {
		select {
		case message, ok := <-c.heard:
			if !ok {
				return heard
			}
			heard = append(heard, message)
		case <-deadline:
			c.Fatalf("the connection did not end; heard %q", heard)
		}
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, clock := newLimit(t, "1/10s")
			c := dial(t, serve(t, handler(limit, traffikws.WithMode(traffikws.Drop()))))
			c.say("1", "2", "3")
			if got := c.hear(); got != "1" {
				t.Errorf("heard %q, want the first message", got)
			}
			c.ping()
			clock.Advance(10 * time.Second)
			c.say("4")
			if got := c.hear(); got != "4" {
				t.Errorf("heard %q, want nothing between the first and the fourth", got)
			}
		})
	}
}

// The peer sees status 1008 and its reason, however much it was sending.
func TestClose(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		for mode, c := range map[string]struct {
			mode          traffikws.Mode
			echo, notices int
		}{"at once": {traffikws.Close(), 2, 0}, "at the third": {traffikws.CloseAfter(3), 2, 1}} {
			t.Run(name+" "+mode, func(t *testing.T) {
				t.Parallel()
				limit, _ := newLimit(t, "2/10s")
				peer := dial(t, serve(t, handler(limit, traffikws.WithMode(c.mode))))
				for range 1000 {
					if peer.ws.Write(t.Context(), websocket.MessageText, []byte("flood")) != nil {
						break // closed already
					}
				}
				heard := peer.hearAll()
				var closed websocket.CloseError
				if !errors.As(peer.ended, &closed) || closed.Code != websocket.StatusPolicyViolation || closed.Reason != "rate limit exceeded" {
					t.Errorf("the connection ended by %v, want a close with 1008", peer.ended)
				}
				if len(heard) != c.echo+c.notices {
					t.Errorf("heard %q, want %d echoes and %d notices", heard, c.echo, c.notices)
				}
			})
		}
	}
}

// The reason of the close arrives at a peer that goes on sending and reads late:
// the connection is not reset beneath it.
func TestCloseOfALateReader(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "1/10s")
			over := make(chan struct{})
			server := serve(t, handler(limit, traffikws.WithMode(traffikws.Close()), traffikws.WithLimitFunc(func(m traffikws.Message) traffik.Limiter {
				if string(m.Data) == "over" { // the close comes now
					close(over)
				}
				return limit
			})))
			ws := dialQuietly(t, server, "", nil)
			for i, message := range append([]string{"x", "over"}, slices.Repeat([]string{"late"}, 18)...) {
				if err := ws.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				if message == "over" {
					<-over
				}
			}
			if _, _, err := ws.Read(t.Context()); err != nil {
				t.Errorf("the echo of the first message: %v", err)
			}
			if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("the connection ended by %v, want a close with 1008", err)
			}
		})
	}
}

// chattering writes beside its reads, and hangs up as soon as either fails.
func chattering(read, write func() error, hangUp func()) {
	defer hangUp()
	ended := make(chan error, 2)
	for _, call := range []func() error{read, write} {
		go func() {
			for {
				if err := call(); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	<-ended
}

// A handler that hangs up at the first failed write does not overtake the close frame of
// a read.
func TestCloseBesideAWriter(t *testing.T) {
	t.Parallel()
	upgrader := gorilla.Upgrader{}
	for name, handler := range map[string]func(traffik.Limiter) http.HandlerFunc{
		"coder": func(limit traffik.Limiter) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				ws, err := websocket.Accept(w, r, nil)
				if err != nil {
					return
				}
				conn := traffikws.Wrap(ws, traffikws.From(r), limit, traffikws.WithMode(traffikws.Close()))
				chattering(
					func() error { _, _, err := conn.Read(r.Context()); return err },
					func() error { return conn.Write(r.Context(), websocket.MessageText, nil) },
					func() { _ = ws.CloseNow() })
			}
		},
		"gorilla": func(limit traffik.Limiter) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				ws, err := upgrader.Upgrade(w, r, nil)
				if err != nil {
					return
				}
				conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, traffikws.WithMode(traffikws.Close()))
				chattering(
					func() error { _, _, err := conn.ReadMessage(); return err },
					func() error { return conn.WriteMessage(gorilla.TextMessage, nil) },
					func() { _ = ws.Close() })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "1/h")
			server := serve(t, handler(limit))
			for range 10 {
				ws := dialQuietly(t, server, "", nil)
				var err error
				var writing sync.WaitGroup
				writing.Go(func() {
					for ws.Write(t.Context(), websocket.MessageText, []byte("x")) == nil {
					}
				})
				for err == nil {
					_, _, err = ws.Read(t.Context())
				}
				if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
					t.Errorf("the connection ended by %v, want a close with 1008", err)
				}
				_ = ws.CloseNow()
				writing.Wait()
			}
		})
	}
}

// Outbound messages over their limit are not sent, and the application is told.
func TestOutbound(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "100/h")
			out, _ := newLimit(t, "2/h")
			closing := dial(t, serve(t, handler(limit, traffikws.WithOutbound(out, traffikws.Close()))))
			closing.say("1", "2", "3")
			if heard := closing.hearAll(); !slices.Equal(heard, []string{"1", "2"}) || websocket.CloseStatus(closing.ended) != websocket.StatusPolicyViolation {
				t.Errorf("heard %q and then %v, want two echoes and 1008", heard, closing.ended)
			}
		})
	}
}

// A limit for each connection, besides one for all of an address.
func TestLimitsTogether(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := memory(t, traffik.WithClock(traffiktest.NewClock(time.Unix(1_700_000_000, 0))))
			each := traffik.MustNew("each", "2/d", traffik.WithBackend(store), traffik.WithIdentifier(traffikws.ByConnection()))
			all := traffik.MustNew("all", "3/d", traffik.WithBackend(store))
			server := serve(t, handler(traffik.All(each, all)))
			for i, want := range []int{2, 1, 0} {
				c := dial(t, server)
				c.say("x", "x", "x")
				for range want {
					if got := c.hear(); got != "x" {
						t.Errorf("connection %d heard %q, want %d echoes", i, got, want)
					}
				}
				if got := c.hear(); !strings.Contains(got, "rate_limit") {
					t.Errorf("connection %d heard %q, want a notice", i, got)
				}
			}
		})
	}
}

// pinging are servers that echo under [traffikws.Delay] and send a ping each
// second, and end a connection whose pong is missing for three.
var pinging = map[string]func(t *testing.T, limit traffik.Limiter) http.HandlerFunc{
	"coder":   coderPinging,
	"gorilla": gorillaPinging,
}

const pongWait = 3 * time.Second

func coderPinging(t *testing.T, limit traffik.Limiter) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go everySecond(ctx, func() bool {
			waiting, cancel := context.WithTimeout(ctx, pongWait)
			defer cancel()
			err := ws.Ping(waiting)
			if waiting.Err() != nil && ctx.Err() == nil { // and not because the client has left
				t.Errorf("the server missed a pong: %v", err)
			}
			return err == nil
		})
		conn := traffikws.Wrap(ws, traffikws.From(r), limit, traffikws.WithMode(traffikws.Delay(0)))
		for {
			kind, data, err := conn.Read(ctx)
			if err != nil || conn.Write(ctx, kind, data) != nil {
				return
			}
		}
	}
}

func gorillaPinging(t *testing.T, limit traffik.Limiter) http.HandlerFunc {
	t.Helper()
	upgrader := gorilla.Upgrader{}
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		alive := func(string) error { return ws.SetReadDeadline(time.Now().Add(pongWait)) }
		_ = alive("")
		ws.SetPongHandler(alive)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go everySecond(ctx, func() bool {
			return ws.WriteControl(gorilla.PingMessage, nil, time.Now().Add(pongWait)) == nil
		})
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, traffikws.WithMode(traffikws.Delay(0)))
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil || conn.WriteMessage(kind, data) != nil {
				return
			}
		}
	}
}

func everySecond(ctx context.Context, do func() bool) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if !do() {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// pingEverySecond has the client wait for a pong each second, until stop.
func (c *client) pingEverySecond() (stop func()) {
	ctx, cancel := context.WithCancel(c.Context())
	pings := make(chan struct{})
	go func() {
		defer close(pings)
		everySecond(ctx, func() bool {
			waiting, cancel := context.WithTimeout(ctx, pongWait)
			defer cancel()
			err := c.ws.Ping(waiting)
			if waiting.Err() != nil && ctx.Err() == nil {
				c.Errorf("the client missed a pong: %v", err)
			}
			return err == nil
		})
	}()
	return func() {
		cancel()
		<-pings
	}
}

// Messages that are held for longer than either side waits for a pong: both
// sides get theirs, and every message comes in its turn.
func TestDelayWithPings(t *testing.T) {
	t.Parallel()
	for name, handler := range pinging {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := bubbleLimit(t, "1/2s", traffik.WithStrategy(traffik.GCRA{}))
				c := dial(t, serveInMemory(t, handler(t, limit)))
				sent := strings.Fields("1 2 3 4 5")
				start := time.Now()
				c.say(sent...)
				stop := c.pingEverySecond()
				for i, want := range sent {
					if got, at := c.hear(), time.Since(start); got != want || at != time.Duration(i)*2*time.Second {
						t.Errorf("heard %q after %v, want %q after %d s", got, at, want, 2*i)
					}
				}
				stop()
			})
		})
	}
}

// A backlog longer than what is read ahead, with pings of both sides each second,
// comes whole and in order.
func TestDelayOfABacklogWithPings(t *testing.T) {
	t.Parallel()
	for name, handler := range pinging {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := bubbleLimit(t, "150/s", traffik.WithStrategy(traffik.GCRA{Burst: 1}))
				c := dial(t, serveInMemory(t, handler(t, limit)))
				stop := c.pingEverySecond()
				defer stop()
				c.testABacklogComes(500)
			})
		})
	}
}

// testABacklogComes sends n messages as fast as they are taken, and hears them in order.
func (c *client) testABacklogComes(n int) {
	c.Helper()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		for i := range n {
			if err := c.ws.Write(c.Context(), websocket.MessageText, fmt.Append(nil, i)); err != nil {
				c.Errorf("message %d: %v", i, err)
				return
			}
		}
	})
	for i := range n {
		if got := c.hear(); got != fmt.Sprint(i) {
			c.Errorf("heard %q, want %d", got, i)
			_ = c.ws.CloseNow()
			return
		}
	}
}

// What a peer has sent before it closed is delivered, each message in its turn,
// and then the close.
func TestDelayDeliversWhatCameBeforeTheClose(t *testing.T) {
	t.Parallel()
	for name, reader := range map[string]func(traffik.Limiter, func(string), chan<- error) http.HandlerFunc{"coder": coderReader, "gorilla": gorillaReaderOf} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := bubbleLimit(t, "5/s", traffik.WithStrategy(traffik.GCRA{Burst: 1}))
				start := time.Now()
				var heard []string
				ended := make(chan error, 1)
				c := dial(t, serveInMemory(t, reader(limit, func(message string) {
					heard = append(heard, fmt.Sprint(message, "@", time.Since(start)))
				}, ended)))
				c.say("1", "2", "3", "4", "5")
				if err := c.ws.Close(websocket.StatusNormalClosure, ""); err != nil {
					t.Errorf("closing: %v", err)
				}
				if err := <-ended; websocket.CloseStatus(err) != websocket.StatusNormalClosure && !gorilla.IsCloseError(err, gorilla.CloseNormalClosure) {
					t.Errorf("ended by %v, want the close", err)
				}
				if want := []string{"1@0s", "2@200ms", "3@400ms", "4@600ms", "5@800ms"}; !slices.Equal(heard, want) {
					t.Errorf("delivered %q, want %q", heard, want)
				}
			})
		})
	}
}

func coderReader(limit traffik.Limiter, deliver func(string), ended chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		conn := traffikws.Wrap(ws, traffikws.From(r), limit, traffikws.WithMode(traffikws.Delay(0)))
		for {
			_, data, err := conn.Read(r.Context())
			if err != nil {
				ended <- err
				return
			}
			deliver(string(data))
		}
	}
}

func gorillaReaderOf(limit traffik.Limiter, deliver func(string), ended chan<- error) http.HandlerFunc {
	upgrader := gorilla.Upgrader{}
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, traffikws.WithMode(traffikws.Delay(0)))
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				ended <- err
				return
			}
			deliver(string(data))
		}
	}
}

// Prepared messages of gorilla's library are limited by what they were made of.
func TestWritePrepared(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "10/h", traffik.WithCostFunc(traffikws.CostBySize(1)))
	news := []byte("12345678")
	prepared, err := gorilla.NewPreparedMessage(gorilla.TextMessage, news)
	if err != nil {
		t.Fatal(err)
	}
	results := make(chan error, 2)
	upgrader := gorilla.Upgrader{}
	c := dial(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, traffikws.WithOutbound(limit, traffikws.Notify()))
		for range 2 {
			results <- traffikws.WritePrepared(conn, prepared, traffikws.Message{Type: gorilla.TextMessage, Data: news})
		}
	})))
	if got := c.hear(); got != string(news) {
		t.Errorf("heard %q, want the prepared message", got)
	}
	var denied *traffikws.DeniedError
	if first, second := <-results, <-results; first != nil || !errors.As(second, &denied) {
		t.Errorf("the writes: %v, %v; want the second denied", first, second)
	}
}

// A burst longer than what is read ahead comes whole and in order.
func TestDelayOfABurst(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := bubbleLimit(t, "1000/s", traffik.WithStrategy(traffik.GCRA{}))
				c := dial(t, serveInMemory(t, handler(limit, traffikws.WithMode(traffikws.Delay(0)))))
				start := time.Now()
				c.testABacklogComes(1000)
				if took := time.Since(start); took != 999*time.Millisecond {
					t.Errorf("a thousand messages took %v at 1000/s, want 999 ms", took)
				}
			})
		})
	}
}
