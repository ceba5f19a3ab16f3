package webtest

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds waits that end at once unless something is broken.
const patience = 20 * time.Second

// protocol is a way to speak HTTP.
type protocol struct {
	name  string
	start func(s *httptest.Server)
	curl  string // the option that makes curl speak it
}

var (
	http1 = &protocol{name: "HTTP1", start: (*httptest.Server).Start, curl: "--http1.1"}
	http2 = &protocol{name: "HTTP2", start: startHTTP2, curl: "--http2"}
	h2c   = &protocol{name: "H2C", start: startH2C, curl: "--http2-prior-knowledge"}
	every = []*protocol{http1, http2, h2c}
)

func startHTTP2(s *httptest.Server) {
	s.EnableHTTP2 = true
	s.StartTLS()
}

// startH2C serves HTTP/2 without TLS.
func startH2C(s *httptest.Server) {
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
}

// site is an app on a real listener, with what its visitors and its handler
// observe, and the means for both to take turns.
type site struct {
	*observation
	t         *testing.T
	protocol  *protocol
	server    *httptest.Server
	transport *http.Transport
	// ctx ends with the site, or when patience does.
	ctx    context.Context
	cancel context.CancelFunc
	// turns passes the turn between the client and the handler.
	turns chan struct{}
	// running are the handlers, which outlast the server on hijacked connections.
	running  sync.WaitGroup
	panicked atomic.Int32 // how many of them did, other than to abort
	closing  sync.Once
	// ended is closed when the context of the first request has ended, as the
	// server made it.
	ended chan struct{}
}

// open starts a server; the caller closes it, after which nothing more is seen.
func open(t *testing.T, p *protocol, o *observation, build func(s *site) http.Handler) *site {
	t.Helper()
	s := &site{observation: o, t: t, protocol: p, turns: make(chan struct{}), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithTimeout(t.Context(), patience)
	s.server = httptest.NewUnstartedServer(build(s))
	s.server.Listener = listener{s.server.Listener, o}
	s.server.Config.ErrorLog = log.New(o, "", 0)
	if p == http1 {
		// HTTP/2 moves between active and idle with each stream, whenever it comes.
		s.server.Config.ConnState = o.state
	}
	p.start(s.server)
	trusting, ok := s.server.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatalf("the test server's client has a %T", s.server.Client().Transport)
	}
	s.transport = trusting.Clone()
	s.transport.DisableCompression = true
	s.transport.ExpectContinueTimeout = patience
	if p == h2c {
		s.transport.Protocols = s.server.Config.Protocols
	}
	return s
}

// close returns when all is over: handlers have returned, and panics that reached the server
// are in its log, which HTTP/2 writes after the answer.
func (s *site) close() {
	s.closing.Do(func() {
		s.transport.CloseIdleConnections()
		s.server.Close()
		s.running.Wait()
		s.cancel()
		for range s.panicked.Load() {
			select {
			case <-s.panics:
			case <-time.After(patience):
				s.t.Error("a panic was not logged")
			}
		}
	})
}

// pass gives the turn to the other side.
func (s *site) pass() {
	select {
	case s.turns <- struct{}{}:
	case <-time.After(patience):
		s.t.Error("the other side never took its turn")
	}
}

// wait waits for the other side to pass its turn.
func (s *site) wait() {
	select {
	case <-s.turns:
	case <-time.After(patience):
		s.t.Error("the turn never came")
	}
}

// request is one for the app's route, with header lines of the form
// "Name: value", of which 1xx answers are noted.
func (s *site) request(method string, body io.Reader, lines ...string) *http.Request {
	s.t.Helper()
	ctx := httptrace.WithClientTrace(s.ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			s.note("client", "informational %d", code)
			s.header("client", "informational", http.Header(h))
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, method, s.server.URL+"/api/users/42?verbose=1", body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	return req
}

// send sends a request and notes the head of the answer, or returns nil.
func (s *site) send(req *http.Request) *http.Response {
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		s.note("client", "error %v", err)
		return nil
	}
	s.note("client", "%s %s, length %d, close %t, encoding %v", res.Proto, res.Status, res.ContentLength, res.Close, res.TransferEncoding)
	s.header("client", "header", res.Header)
	return res
}

// finish notes the body and the trailer.
func (s *site) finish(res *http.Response) {
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	s.body("client", b, err)
	s.header("client", "trailer", res.Trailer)
}

// visit sends a request and notes the whole answer.
func (s *site) visit(method string, body io.Reader, lines ...string) {
	s.t.Helper()
	s.finish(s.send(s.request(method, body, lines...))) //nolint:bodyclose // finish closes it
}

// wire sends text as it is over a new connection without TLS, and notes all that comes back
// until the server closes it.
func (s *site) wire(text string) {
	conn, r := s.dial()
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Error(err)
	}
	b, err := io.ReadAll(r)
	s.lines("client", string(b))
	s.note("client", "error %v", err)
}

func (s *site) dial() (net.Conn, *bufio.Reader) {
	conn, err := new(net.Dialer).DialContext(s.ctx, "tcp", s.server.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// listener notes when a connection is handed a source to read itself, as for
// sendfile.
type listener struct {
	net.Listener
	seen *observation
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &sendingConn{conn, l.seen}, nil
}

type sendingConn struct {
	net.Conn
	seen *observation
}

// ReadFrom implements [io.ReaderFrom].
func (c *sendingConn) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if ok {
		src = limited.R
	}
	c.seen.note("listener", "read from %T itself", src)
	if ok {
		src = limited
	}
	return io.Copy(c.Conn, src)
}
