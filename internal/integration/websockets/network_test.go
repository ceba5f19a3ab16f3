package websockets

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"
)

// host is a server and the way to it.
type host struct {
	url    string // http://…
	client *http.Client
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
}

// serve serves over TCP.
func serve(t *testing.T, handler http.Handler) *host {
	t.Helper()
	handler, wait := counted(handler)
	server := httptest.NewServer(handler)
	t.Cleanup(func() {
		server.Close()
		wait()
	})
	return hostAt(t, server.URL, new(net.Dialer).DialContext)
}

// serveInMemory serves over pipes, whose waits a bubble of synctest sees: the time of such a
// test passes only while all its goroutines wait.
func serveInMemory(t *testing.T, handler http.Handler) *host {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	handler, wait := counted(handler)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		_ = server.Close()
		served.Wait()
		wait()
	})
	return hostAt(t, "http://in.memory", l.dial)
}

// counted returns a way to wait for the handlers that are at work: a server doesn't wait for
// those of connections that are no longer HTTP.
func counted(handler http.Handler) (h http.Handler, wait func()) {
	var serving sync.WaitGroup
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		handler.ServeHTTP(w, r)
	}), serving.Wait
}

func hostAt(t *testing.T, url string, dial func(context.Context, string, string) (net.Conn, error)) *host {
	t.Helper()
	transport := &http.Transport{DialContext: dial}
	t.Cleanup(transport.CloseIdleConnections)
	return &host{url: url, client: &http.Client{Transport: transport}, dial: dial}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	up, down := newStream(), newStream()
	select {
	case l.conns <- &pipe{in: up, out: down}:
		return &pipe{in: down, out: up}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return loopback }

var loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}

// pipe is one end of a connection in memory. Unlike that of [net.Pipe] it has a buffer, as
// connections have that go through a kernel.
type pipe struct{ in, out *stream }

func (p *pipe) Read(b []byte) (int, error)  { return p.in.read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.out.write(b) }

// Close implements net.Conn. What was written is still read.
func (p *pipe) Close() error {
	p.out.change(func(s *stream) { s.ended = true })
	p.in.change(func(s *stream) { s.closed = true })
	return nil
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	return p.in.until(func(s *stream) { s.readUntil = t }, t)
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	return p.out.until(func(s *stream) { s.writeUntil = t }, t)
}

func (p *pipe) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

func (*pipe) LocalAddr() net.Addr  { return loopback }
func (*pipe) RemoteAddr() net.Addr { return loopback }

// stream is one direction of a pipe.
type stream struct {
	changed *sync.Cond // has the lock of the rest

	data                  []byte
	ended                 bool // the writer has closed
	closed                bool // the reader has
	readUntil, writeUntil time.Time
}

// maxInFlight is how many bytes are written before anything is read.
const maxInFlight = 64 << 10

func newStream() *stream { return &stream{changed: sync.NewCond(new(sync.Mutex))} }

func (s *stream) change(change func(*stream)) {
	s.changed.L.Lock()
	defer s.changed.L.Unlock()
	change(s)
	s.changed.Broadcast()
}

// until sets a deadline, whose end is a change, too.
func (s *stream) until(set func(*stream), t time.Time) error {
	s.change(set)
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() { s.change(func(*stream) {}) })
	}
	return nil
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (s *stream) read(b []byte) (int, error) {
	s.changed.L.Lock()
	defer s.changed.L.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case passed(s.readUntil):
			return 0, os.ErrDeadlineExceeded
		case len(s.data) > 0 || len(b) == 0:
			n := copy(b, s.data)
			s.data = s.data[n:]
			s.changed.Broadcast()
			return n, nil
		case s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(b []byte) (n int, err error) {
	s.changed.L.Lock()
	defer s.changed.L.Unlock()
	for {
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.closed:
			return n, io.ErrClosedPipe
		case passed(s.writeUntil):
			return n, os.ErrDeadlineExceeded
		case n == len(b):
			return n, nil
		}
		if room := min(maxInFlight-len(s.data), len(b)-n); room > 0 {
			s.data = append(s.data, b[n:n+room]...)
			n += room
			s.changed.Broadcast()
			continue
		}
		s.changed.Wait()
	}
}
