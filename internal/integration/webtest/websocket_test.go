package webtest

import (
	"net/http"
	"strings"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
)

// webSockets echo what each library's client sends to each library's server.
var webSockets = []behaviour{
	{name: "coder to coder", over: []*protocol{http1}, brokenBy: []fault{opaque}, serve: echoCoder, visit: visitCoder},
	{name: "gorilla to coder", over: []*protocol{http1}, brokenBy: []fault{opaque}, serve: echoCoder, visit: visitGorilla},
	{name: "coder to gorilla", over: []*protocol{http1}, brokenBy: []fault{opaque}, serve: echoGorilla, visit: visitCoder},
	{name: "gorilla to gorilla", over: []*protocol{http1}, brokenBy: []fault{opaque}, serve: echoGorilla, visit: visitGorilla},
}

// said is what clients send: short, and longer than a buffer.
var said = []string{"hello", strings.Repeat("long ", 2_000)}

func echoCoder(s *site, w http.ResponseWriter, r *http.Request) {
	conn, err := coder.Accept(w, r, &coder.AcceptOptions{Subprotocols: []string{"echo"}, CompressionMode: coder.CompressionContextTakeover})
	if err != nil {
		s.note("handler", "accept: %v", err)
		return
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	for {
		kind, b, err := conn.Read(r.Context())
		if err != nil {
			s.note("handler", "read: status %d, context %v", coder.CloseStatus(err), r.Context().Err())
			return
		}
		if err := conn.Write(r.Context(), kind, b); err != nil {
			s.note("handler", "write: %v", err)
		}
	}
}

func echoGorilla(s *site, w http.ResponseWriter, r *http.Request) {
	upgrader := gorilla.Upgrader{Subprotocols: []string{"echo"}, EnableCompression: true}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		s.note("handler", "upgrade: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	for {
		kind, b, err := conn.ReadMessage()
		if err != nil {
			s.note("handler", "read: %v, context %v", err, r.Context().Err())
			return
		}
		if err := conn.WriteMessage(kind, b); err != nil {
			s.note("handler", "write: %v", err)
		}
	}
}

func visitCoder(s *site) {
	ctx := s.ctx
	conn, res, err := coder.Dial(ctx, s.server.URL+"/api/users/1", &coder.DialOptions{ //nolint:bodyclose // handshake closes it
		HTTPClient:   &http.Client{Transport: s.transport},
		Subprotocols: []string{"echo"}, CompressionMode: coder.CompressionContextTakeover,
	})
	s.handshake(res, err)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	for _, kind := range []coder.MessageType{coder.MessageText, coder.MessageBinary} {
		for _, text := range said {
			err := conn.Write(ctx, kind, []byte(text))
			s.note("client", "write %v, error %v", kind, err)
			kind, b, err := conn.Read(ctx)
			s.note("client", "read %v", kind)
			s.body("client", b, err)
		}
	}
	s.note("client", "close: %v", conn.Close(coder.StatusNormalClosure, "bye"))
}

func visitGorilla(s *site) {
	dialer := gorilla.Dialer{Subprotocols: []string{"echo"}, EnableCompression: true}
	conn, res, err := dialer.DialContext(s.ctx, "ws"+strings.TrimPrefix(s.server.URL, "http")+"/api/users/1", nil) //nolint:bodyclose // handshake closes it
	s.handshake(res, err)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	for _, kind := range []int{gorilla.TextMessage, gorilla.BinaryMessage} {
		for _, text := range said {
			err := conn.WriteMessage(kind, []byte(text))
			s.note("client", "write %d, error %v", kind, err)
			kind, b, err := conn.ReadMessage()
			s.note("client", "read %d", kind)
			s.body("client", b, err)
		}
	}
	err = conn.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseNormalClosure, "bye"))
	_, _, end := conn.ReadMessage()
	s.note("client", "close: %v, %v", err, end)
}

// handshake notes the answer to an upgrade, but not the accepted key, which is
// as random as the client's.
func (s *site) handshake(res *http.Response, err error) {
	s.note("client", "dial: %v", err)
	if res == nil {
		return
	}
	if res.Body != nil {
		defer func() { _ = res.Body.Close() }()
	}
	res.Header.Del("Sec-Websocket-Accept")
	s.note("client", "%s", res.Status)
	s.header("client", "header", res.Header)
}
