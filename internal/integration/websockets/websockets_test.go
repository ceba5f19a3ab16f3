// Package websockets limits messages over both styles of library, with real
// connections.
package websockets

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	gorilla "github.com/gorilla/websocket"
	"go.uber.org/goleak"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode) // no debug output
	goleak.VerifyTestMain(m)
}

// servers echo what the limit lets through, one with each library.
var servers = map[string]func(limit traffik.Limiter, opts ...traffikws.Option) http.HandlerFunc{
	"coder":   coderServer,
	"gorilla": gorillaServer,
}

func coderServer(limit traffik.Limiter, opts ...traffikws.Option) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		conn := traffikws.Wrap(ws, traffikws.From(r), limit, opts...)
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if conn.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	}
}

func gorillaServer(limit traffik.Limiter, opts ...traffikws.Option) http.HandlerFunc {
	upgrader := gorilla.Upgrader{EnableCompression: true}
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, opts...)
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			if conn.WriteMessage(kind, data) != nil {
				return
			}
		}
	}
}

// client is a real peer: coder's, whatever the server is made of. It reads all
// the time, so that pongs are seen.
type client struct {
	*testing.T
	ws    *websocket.Conn
	heard chan string // closed with the connection
	ended error       // why, once it is
}

// patience is how long anything is waited for that must come, however busy the machine.
const patience = time.Minute

func dial(t *testing.T, server *host) *client {
	t.Helper()
	return dialPath(t, server, "")
}

func dialPath(t *testing.T, server *host, path string) *client {
	t.Helper()
	return dialWith(t, server, path, &websocket.DialOptions{
		CompressionMode: websocket.CompressionContextTakeover, CompressionThreshold: 1,
	})
}

func dialWith(t *testing.T, server *host, path string, opts *websocket.DialOptions) *client {
	t.Helper()
	c := &client{T: t, ws: dialQuietly(t, server, path, opts), heard: make(chan string, 1000)}
	var listening sync.WaitGroup
	listening.Go(func() { c.listen(context.WithoutCancel(t.Context())) })
	t.Cleanup(func() {
		_ = c.ws.CloseNow()
		for range c.heard { // lets listen go on to its end
		}
		listening.Wait()
	})
	return c
}

// dialQuietly connects a peer that reads when the test does.
func dialQuietly(t *testing.T, server *host, path string, opts *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	with := websocket.DialOptions{HTTPClient: server.client}
	if opts != nil {
		with.CompressionMode, with.CompressionThreshold = opts.CompressionMode, opts.CompressionThreshold
	}
	ws, _, err := websocket.Dial(ctx, server.url+path, &with) //nolint:bodyclose // coder: it need not be closed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return ws
}

func (c *client) listen(ctx context.Context) {
	defer close(c.heard)
	for {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			c.ended = err
			return
		}
		c.heard <- string(data)
	}
}

func (c *client) say(messages ...string) {
	c.Helper()
	for _, message := range messages {
		if err := c.ws.Write(c.Context(), websocket.MessageText, []byte(message)); err != nil {
			c.Fatal(err)
		}
	}
}

func (c *client) hear() string {
	c.Helper()
	select {
	case message, ok := <-c.heard:
		if !ok {
			c.Fatal("the connection was closed")
		}
		return message
	case <-time.After(patience):
		c.Fatalf("nothing was heard for %v", patience)
		return ""
	}
}

// ping waits for a pong: the server has read everything said before.
func (c *client) ping() {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	if err := c.ws.Ping(ctx); err != nil {
		c.Errorf("ping: %v", err)
	}
}

func newLimit(t *testing.T, rate string, opts ...traffik.Option) (*traffik.Throttle, *traffiktest.Clock) {
	t.Helper()
	clock := traffiktest.NewClock(time.Unix(1_700_000_000, 0))
	backend := memory(t, traffik.WithClock(clock))
	limit, err := traffik.New("messages", rate, append([]traffik.Option{traffik.WithBackend(backend)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return limit, clock
}

// Five of seven messages are echoed, the sixth gets a notice, the seventh
// nothing; the connection lives on and the next window is open.
func TestNotify(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, clock := newLimit(t, "5/10s")
			c := dial(t, serve(t, handler(limit)))
			c.say("1", "2", "3", "4", "5", "6", "7")
			var heard []string
			for range 5 {
				heard = append(heard, c.hear())
			}
			if !slices.Equal(heard, []string{"1", "2", "3", "4", "5"}) {
				t.Errorf("heard %q", heard)
			}
			var notice struct {
				Type    string `json:"type"`
				RetryMS int64  `json:"retry_after_ms"`
			}
			text := c.hear()
			if err := json.Unmarshal([]byte(text), &notice); err != nil || notice.Type != "rate_limit" || notice.RetryMS != 10_000 {
				t.Errorf("the notice is %q, want a rate_limit of 10000 ms", text)
			}
			c.ping() // answered, and not counted
			clock.Advance(10 * time.Second)
			c.say("8")
			if got := c.hear(); got != "8" {
				t.Errorf("heard %q in the next window, want 8 and no second notice", got)
			}
		})
	}
}

// A message sent in fragments counts once, and comes whole.
func TestFragmentsCountOnce(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "2/10s")
			c := dial(t, serve(t, handler(limit)))
			for range 3 {
				w, err := c.ws.Writer(c.Context(), websocket.MessageText)
				if err != nil {
					t.Fatal(err)
				}
				for range 5 {
					if _, err := w.Write([]byte(strings.Repeat("x", 5_000))); err != nil {
						t.Fatal(err)
					}
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if got := c.hear(); len(got) != 25_000 {
					t.Errorf("heard %d bytes, want 25000", len(got))
				}
			}
			if got := c.hear(); !strings.Contains(got, "rate_limit") {
				t.Errorf("heard %d bytes, want a notice for the third message", len(got))
			}
		})
	}
}

// Two clients of one address share its limit, since the handshake says who it
// is; connection attempts are limited by the middleware before.
func TestIdentityOfTheHandshake(t *testing.T) {
	t.Parallel()
	for name, handler := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "3/10s")
			attempts, _ := newLimit(t, "2/h")
			server := serve(t, httptraffik.New(attempts)(handler(limit)))
			a, b := dial(t, server), dial(t, server)
			a.say("1", "2")
			a.hear()
			a.hear()
			b.say("3", "4")
			if got := b.hear(); got != "3" {
				t.Errorf("heard %q, want the third message of the address", got)
			}
			if got := b.hear(); !strings.Contains(got, "rate_limit") {
				t.Errorf("heard %q, want a notice for the fourth", got)
			}
			_, res, err := websocket.Dial(t.Context(), server.url, &websocket.DialOptions{HTTPClient: server.client}) //nolint:bodyclose // Dial has read it
			if err == nil || res == nil || res.StatusCode != http.StatusTooManyRequests {
				t.Errorf("a third attempt: %v, %v; want 429", res, err)
			}
		})
	}
}

// A handler may return once it has upgraded, as gorilla's own examples do: the
// messages of the connection don't end with the context of its handshake.
func TestHandlerReturns(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/10s")
	upgrader := gorilla.Upgrader{}
	returned, ended := make(chan struct{}), make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit)
		go func() {
			defer close(ended)
			defer func() { _ = ws.Close() }()
			<-returned
			for {
				kind, data, err := conn.ReadMessage()
				if err != nil {
					return
				}
				if err := conn.WriteMessage(kind, data); err != nil {
					return
				}
			}
		}()
		context.AfterFunc(r.Context(), func() { close(returned) })
	}
	c := dial(t, serve(t, http.HandlerFunc(handler)))
	c.say("1", "2")
	if got := c.hear(); got != "1" {
		t.Errorf("heard %q, want the first message", got)
	}
	if got := c.hear(); !strings.Contains(got, "rate_limit") {
		t.Errorf("heard %q, want a notice", got)
	}
	_ = c.ws.CloseNow()
	<-ended
}

// Who the handshake was for is known by what middleware put into its context,
// also behind a framework with a context of its own.
func TestIdentityFromTheContext(t *testing.T) {
	t.Parallel()
	type userKey struct{}
	limit, _ := newLimit(t, "1/d", traffik.WithIdentifier(traffik.ByValue(userKey{})))
	router := gin.New()
	router.Use(func(c *gin.Context) {
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), userKey{}, c.Query("user")))
	})
	router.GET("/", gin.WrapF(coderServer(limit)))
	server := serve(t, router)
	for _, user := range []string{"alice", "bob"} {
		c := dialPath(t, server, "/?user="+user)
		c.say("1", "2")
		if got := c.hear(); got != "1" {
			t.Errorf("%s heard %q, want the first message of each user", user, got)
		}
		if got := c.hear(); !strings.Contains(got, "rate_limit") {
			t.Errorf("%s heard %q, want a notice for the second", user, got)
		}
	}
}

func memory(t *testing.T, opts ...traffik.MemoryOption) *traffik.Memory {
	t.Helper()
	m, err := traffik.NewMemory(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// bubbleLimit counts by the clock of the bubble it is made in.
func bubbleLimit(t *testing.T, rate string, opts ...traffik.Option) *traffik.Throttle {
	t.Helper()
	limit, err := traffik.New("messages", rate, append([]traffik.Option{traffik.WithBackend(memory(t))}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return limit
}
