package httptraffik

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"

	traffik "github.com/traffik-go/traffik/core"
)

// recorder stands between a handler and the writer beneath. It leaves one value of
// each header of the limits before a response is sent, and notes the status for
// [CountOnly]. Handlers ask a writer for its further abilities by type assertion, so
// what [serverHTTP1.writer] returns has those of the writer beneath, no fewer and no more.
type recorder struct {
	http.ResponseWriter
	status int             // 0 until one is sent
	sent   *Watch          // is told of what leaves before the handler returns; nil if nobody wants to know
	told   traffik.Verdict // whose headers were set
	// closes makes 413 the last response of a connection. http.MaxBytesReader asks
	// net/http's own writer for that, by a method that no wrapper can have.
	closes bool
	// touched tells that the header was asked for since ours were set: nobody else can
	// have added to it.
	touched bool
}

// Unwrap serves http.ResponseController. What a writer has no method for it may
// find further beneath, past the recorder.
func (r *recorder) Unwrap() http.ResponseWriter {
	switch r.ResponseWriter.(type) {
	case unwrapper, errorFlusher:
		return &unwrapped{r, flusher{r}}
	}
	return r.ResponseWriter
}

type (
	unwrapper    interface{ Unwrap() http.ResponseWriter }
	errorFlusher interface{ FlushError() error }
)

// unwrapped stands between a recorder and a writer that flushes by another method
// than Flush or leads to others, for what these can do.
type unwrapped struct {
	*recorder
	flusher
}

// Unwrap goes on to the writer itself.
func (u *unwrapped) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// Hijack implements http.Hijacker.
func (u *unwrapped) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return u.hijacked(http.NewResponseController(u.ResponseWriter).Hijack())
}

// Header implements http.ResponseWriter. Who has taken the connection over may send
// the header by himself, as a reverse proxy does.
func (r *recorder) Header() http.Header {
	r.touched = true
	h := r.ResponseWriter.Header()
	if r.status == http.StatusSwitchingProtocols {
		r.told.ReconcileHeaders(h, r.status)
	}
	return h
}

// WriteHeader implements http.ResponseWriter. Of the informational statuses only
// 101 is an answer (RFC 9110, section 15.2).
func (r *recorder) WriteHeader(status int) {
	r.prepare(status)
	r.ResponseWriter.WriteHeader(status) // panics for what is no status
	if status >= 200 || status == http.StatusSwitchingProtocols {
		r.note(status)
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	r.begin()
	return r.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (r *recorder) WriteString(s string) (int, error) {
	r.begin()
	return io.WriteString(r.ResponseWriter, s)
}

// begin is what goes before a body without a status.
func (r *recorder) begin() {
	r.prepare(http.StatusOK)
	r.note(http.StatusOK)
}

// prepare makes the header ready to be sent, if that is still to come.
func (r *recorder) prepare(status int) {
	if r.status != 0 {
		return
	}
	if r.touched {
		r.told.ReconcileHeaders(r.ResponseWriter.Header(), status)
	}
	if r.closes && status == http.StatusRequestEntityTooLarge {
		r.ResponseWriter.Header().Set("Connection", "close")
	}
}

// finish is for a handler that returned without a response: the server sends one.
func (r *recorder) finish() {
	if r.ResponseWriter != nil {
		r.prepare(http.StatusOK)
	}
}

// note keeps the first status, as net/http does.
func (r *recorder) note(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// leave tells that the response is on its way.
func (r *recorder) leave() {
	if r.sent != nil {
		r.sent.Sent(r.status)
	}
}

// hijacked notes that the connection was taken over, unless that failed.
func (r *recorder) hijacked(conn net.Conn, rw *bufio.ReadWriter, err error) (net.Conn, *bufio.ReadWriter, error) {
	if err == nil {
		r.note(http.StatusSwitchingProtocols)
		r.leave()
	}
	return conn, rw, err
}

// The abilities, each with what it means for the status.
type (
	flusher  struct{ r *recorder }
	hijacker struct{ r *recorder }
	reader   struct{ r *recorder }
)

// Flush implements http.Flusher.
func (f flusher) Flush() { _ = f.FlushError() }

// FlushError is what http.ResponseController asks for first.
func (f flusher) FlushError() error {
	f.r.prepare(http.StatusOK)
	err := http.NewResponseController(f.r.ResponseWriter).Flush()
	if !errors.Is(err, http.ErrNotSupported) {
		f.r.note(http.StatusOK)
		f.r.leave()
	}
	return err
}

// Hijack implements http.Hijacker.
func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.r.hijacked(h.r.ResponseWriter.(http.Hijacker).Hijack()) //nolint:errcheck // checked before a hijacker is made
}

// sniffLen is how much net/http copies to find the content type, before it sends the
// head and hands a source to the connection.
const sniffLen = 512

// ReadFrom implements io.ReaderFrom. A source that is empty or fails at once sends
// no head, so that the status is still open: only a first byte tells. What is behind
// the first bytes the writer reads by itself, which a connection does faster from some
// sources.
func (f reader) ReadFrom(src io.Reader) (n int64, err error) {
	f.r.prepare(http.StatusOK)
	dst := f.r.ResponseWriter.(io.ReaderFrom) //nolint:errcheck // checked before a reader is made
	if f.r.status == 0 && f.r.sent != nil {
		n, err = dst.ReadFrom(io.LimitReader(noticed{src, f.r}, sniffLen))
		if err != nil || n < sniffLen {
			return n, err
		}
	}
	rest, err := dst.ReadFrom(src)
	return n + rest, err
}

// noticed is the source of a response that begins with its first byte.
type noticed struct {
	io.Reader
	r *recorder
}

func (s noticed) Read(p []byte) (n int, err error) {
	n, err = s.Reader.Read(p)
	if n > 0 {
		s.r.note(http.StatusOK)
	}
	return n, err
}
