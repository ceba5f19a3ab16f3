package main

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// modes are the ways to treat a message over the limit; the client chooses one.
var modes = map[string]traffikws.Mode{
	"notify": traffikws.Notify(),
	"drop":   traffikws.Drop(),
	"delay":  traffikws.Delay(15 * time.Second), // longer than the period of 10 s, so that no message of a short burst is dropped
	"close":  traffikws.Close(),
	"close3": traffikws.CloseAfter(3),
}

// sockets serves WebSocket connections and echoes every message that the limit
// admits. The client names the mode, such as /ws?mode=delay; the default is notify.
type sockets struct {
	limits map[string]traffik.Limiter
	ending chan struct{} // closed when the demo ends
	open   sync.WaitGroup
}

func newSockets(limits map[string]traffik.Limiter) *sockets {
	return &sockets{limits: limits, ending: make(chan struct{})}
}

func (s *sockets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mode := cmp.Or(r.URL.Query().Get("mode"), "notify")
	if _, ok := modes[mode]; !ok {
		http.Error(w, "the mode is unknown; accepted are notify, drop, delay, close and close3", http.StatusBadRequest)
		return
	}
	s.open.Add(1)
	defer s.open.Done()
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = ws.CloseNow() }()
	ended := make(chan struct{})
	defer close(ended)
	s.open.Go(func() {
		select {
		case <-s.ending:
			_ = ws.Close(websocket.StatusGoingAway, "the demo is ending")
		case <-ended:
		}
	})
	s.echo(r.Context(), traffikws.Wrap(ws, traffikws.From(r), s.limits[mode], traffikws.WithMode(modes[mode])))
}

func (s *sockets) echo(ctx context.Context, conn *traffikws.Conn[websocket.MessageType]) {
	for {
		kind, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if err := conn.Write(ctx, kind, message); err != nil {
			return
		}
	}
}

// end closes all connections with status 1001 and waits for them until ctx ends.
// Call http.Server.Shutdown first: it refuses new connections and waits for
// handshakes, but not for connections that are open.
func (s *sockets) end(ctx context.Context) {
	close(s.ending)
	ended := make(chan struct{})
	go func() {
		s.open.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}
