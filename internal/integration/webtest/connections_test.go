package webtest

import (
	"fmt"
	"io"
	"net/http"
)

// connections are about handlers that use the connection itself.
var connections = []behaviour{
	{name: "hijack", over: []*protocol{http1}, brokenBy: []fault{opaque}, serve: serveHijack, visit: visitHijack},
	{name: "push", over: []*protocol{http2}, brokenBy: []fault{opaque}, serve: servePush, visit: visitPush},
	{name: "refused by HTTP/2", over: []*protocol{http2, h2c}, brokenBy: []fault{opaque}, visit: get, serve: func(s *site, w http.ResponseWriter, _ *http.Request) {
		_, ok := w.(http.Hijacker)
		_, _, err := http.NewResponseController(w).Hijack()
		s.note("handler", "hijacker %t, error %v", ok, err)
		pusher := pusherOf(w)
		if s.note("handler", "pusher %t", pusher != nil); pusher != nil {
			s.note("handler", "push: %v", pusher.Push("/style.css", nil))
		}
	}},
}

// pusherOf finds a pusher in the ways that net/http, gin and echo offer.
func pusherOf(w http.ResponseWriter) http.Pusher {
	if p, ok := w.(http.Pusher); ok {
		return p
	}
	if g, ok := w.(interface{ Pusher() http.Pusher }); ok {
		return g.Pusher()
	}
	if inner := unwrap(w); inner != nil {
		return pusherOf(inner)
	}
	return nil
}

// serveHijack speaks another protocol, beginning with what the client sent along with the
// request.
func serveHijack(s *site, w http.ResponseWriter, r *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		s.note("handler", "no hijacker")
		return
	}
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		s.note("handler", "hijack: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	_, err = w.Write([]byte("not any more"))
	s.note("handler", "write: %v, context: %v", err, r.Context().Err())
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			s.note("handler", "read: %v", err)
			return
		}
		_, _ = fmt.Fprintf(conn, "you said %q\n", line)
	}
}

func visitHijack(s *site) {
	conn, r := s.dial()
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /api/users/1 HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly\n")
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		s.note("client", "%v", err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	s.note("client", "%s", res.Status)
	s.header("client", "header", res.Header)
	if res.StatusCode != http.StatusSwitchingProtocols {
		return
	}
	for _, line := range []string{"later\n", "last\n", ""} {
		answer, err := r.ReadString('\n')
		s.note("client", "%q, error %v", answer, err)
		_, _ = io.WriteString(conn, line)
	}
}
