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

// modes are what may become of messages over the limit; the client chooses.
var modes = map[string]traffikws.Mode{
	"notify": traffikws.Notify(),
	"drop":   traffikws.Drop(),
	"delay":  traffikws.Delay(15 * time.Second), // longer than a window, so that nothing is lost
	"close":  traffikws.Close(),
	"close3": traffikws.CloseAfter(3),
}

// sockets serves WebSocket connections and echoes every message that the limit
// of their mode lets through: /ws?mode=delay, or notify unless it is named.
type sockets struct {
	limits map[string]traffik.Limiter
	ending chan struct{} // closed when the connections have to end
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

// end tells all connections that the server goes away and waits for them, up to
// the end of ctx. No new ones may come: http.Server.Shutdown goes before it,
// which waits for handshakes but not for connections.
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
