package websockets

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gorilla "github.com/gorilla/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
)

// newsroom is a gorilla server that writes news each 10 ms from a goroutine of its
// own, with a deadline for each write, and delivers nothing.
func newsroom(t *testing.T, lasts time.Duration) http.HandlerFunc {
	t.Helper()
	limit, _ := newLimit(t, "2/h")
	var upgrader gorilla.Upgrader
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit)
		written := make(chan struct{})
		defer func() {
			_ = ws.Close()
			<-written
		}()
		go func() {
			defer close(written)
			for conn.SetWriteDeadline(time.Now().Add(lasts)) == nil && conn.WriteMessage(gorilla.TextMessage, []byte("news")) == nil {
				time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the clock of the bubble
			}
		}()
		for err == nil {
			_, _, err = conn.ReadMessage()
		}
	}
}

// echoing is a gorilla server that answers from the goroutine that reads, with a deadline
// for each write set past the wrapper.
func echoing(t *testing.T, lasts time.Duration) http.HandlerFunc {
	t.Helper()
	limit, _ := newLimit(t, "2/h")
	var upgrader gorilla.Upgrader
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.Close() }()
		conn := traffikws.WrapMessages(ws, traffikws.From(r), limit)
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil || ws.SetWriteDeadline(time.Now().Add(lasts)) != nil || conn.WriteMessage(kind, data) != nil {
				return
			}
		}
	}
}

// Notices written beside the application's writes neither race with them nor fail because
// the deadline of the last one is over.
func TestNoticesBesideWritesWithDeadlines(t *testing.T) {
	t.Parallel()
	const lasts = time.Second
	for name, server := range map[string]func(*testing.T, time.Duration) http.HandlerFunc{"beside": newsroom, "before": echoing} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := dial(t, serveInMemory(t, server(t, lasts)))
				c.say("1", "2")
				time.Sleep(lasts + lasts/5) //nolint:forbidigo // past the deadline of each write so far
				c.say("3", "4")
				for end := time.Now().Add(patience); ; {
					if text := c.hear(); strings.Contains(text, "rate_limit") {
						return
					}
					if time.Now().After(end) {
						t.Fatal("no notice came")
					}
				}
			})
		})
	}
}
