package websockets

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	gorilla "github.com/gorilla/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
)

// A gorilla server that writes from a goroutine of its own, with a deadline for
// each write: notices written meanwhile neither race with that nor fail because
// the last deadline is over.
func TestNoticesBesideWritesWithDeadlines(t *testing.T) {
	t.Parallel()
	const patience = time.Second
	var upgrader gorilla.Upgrader
	limit, _ := newLimit(t, "2/h")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit)
		done := make(chan struct{})
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(done)
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if conn.SetWriteDeadline(time.Now().Add(patience)) != nil || conn.WriteMessage(gorilla.TextMessage, []byte("news")) != nil {
					return
				}
				time.Sleep(time.Millisecond) //nolint:forbidigo // news come as they come
			}
		})
		for {
			if _, _, err := conn.ReadMessage(); err != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	testNoticesArrive(t, server)
}

// The same of a server that writes from the goroutine that reads: the deadline of
// its last write is over when the notice is due.
func TestNoticeAfterADeadline(t *testing.T) {
	t.Parallel()
	const patience = time.Second
	var upgrader gorilla.Upgrader
	limit, _ := newLimit(t, "2/h")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit)
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			_ = ws.SetWriteDeadline(time.Now().Add(patience))
			if conn.WriteMessage(kind, data) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	testNoticesArrive(t, server)
}

func testNoticesArrive(t *testing.T, server *httptest.Server) {
	t.Helper()
	c := dial(t, server)
	for i := range 4 {
		c.say("hello")
		if i == 1 {
			time.Sleep(1200 * time.Millisecond) //nolint:forbidigo // past each deadline
		}
	}
	for {
		select {
		case text, open := <-c.heard:
			if !open {
				t.Fatalf("the connection ended: %v", c.ended)
			}
			if strings.Contains(text, "rate_limit") {
				return
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no notice came")
		}
	}
}
