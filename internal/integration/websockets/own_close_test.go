package websockets

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// rest is how long a message is held before the application closes.
const rest = 100 * time.Millisecond

// closingServers deliver into got and close after the second message, in each way that
// the application has, when the third is held; the peer answers the close.
func closingServers(limit traffik.Limiter, got chan<- string) map[string]http.HandlerFunc {
	mode := traffikws.WithMode(traffikws.Delay(2 * time.Hour))
	coder := func(w http.ResponseWriter, r *http.Request) {
		defer close(got)
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		conn := traffikws.Wrap(ws, traffikws.From(r), limit, mode)
		for n := 1; ; n++ {
			_, data, err := conn.Read(r.Context())
			if err != nil {
				got <- err.Error()
				return
			}
			got <- string(data)
			if n == 2 {
				time.AfterFunc(rest, func() { _ = conn.Close(1000, "bye") })
			}
		}
	}
	goodbye := gorilla.FormatCloseMessage(1000, "bye")
	style := func(end func(*traffikws.MessageConn)) http.HandlerFunc {
		var upgrader gorilla.Upgrader
		return func(w http.ResponseWriter, r *http.Request) {
			defer close(got)
			ws, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = ws.Close() }()
			conn := traffikws.WrapMessages(ws, traffikws.From(r), limit, mode)
			for n := 1; ; n++ {
				_, data, err := conn.ReadMessage()
				if err != nil {
					got <- err.Error()
					return
				}
				got <- string(data)
				if n == 2 {
					time.AfterFunc(rest, func() { end(conn) })
				}
			}
		}
	}
	return map[string]http.HandlerFunc{
		"coder": coder,
		"gorilla by WriteControl": style(func(c *traffikws.MessageConn) {
			_ = c.WriteControl(gorilla.CloseMessage, goodbye, time.Now().Add(time.Second))
		}),
		"gorilla by WriteMessage": style(func(c *traffikws.MessageConn) { _ = c.WriteMessage(gorilla.CloseMessage, goodbye) }),
		"gorilla by Close":        style(func(c *traffikws.MessageConn) { _ = c.Close() }),
	}
}

// A close that the application starts ends the holds: the peer's answer is no close
// of its own, after which what it had sent would still be delivered.
func TestOwnCloseEndsHolds(t *testing.T) {
	t.Parallel()
	for name := range closingServers(nil, nil) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				limit := bubbleLimit(t, "1/h", traffik.WithStrategy(traffik.GCRA{Burst: 2}))
				got := make(chan string, 10)
				c := dial(t, serveInMemory(t, closingServers(limit, got)[name]))
				start := time.Now()
				for i := range 6 {
					c.say(fmt.Sprint(i))
				}
				var all []string
				for message := range got {
					all = append(all, message)
				}
				// Two, and an error.
				if took := time.Since(start); len(all) != 3 || all[0] != "0" || all[1] != "1" || took != rest {
					t.Errorf("%q after %v, want two messages and the error of the close after %v", all, took, rest)
				}
			})
		})
	}
}
