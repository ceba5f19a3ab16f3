package httptraffik

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"

	traffik "github.com/traffik-go/traffik/core"
)

// Recorder stands between a handler and the writer of net/http. Before a response is sent
// it leaves one value of each header of the limits, and for [CountOnly] it notes the
// status. Adapters embed it; its zero value is ready for [Recorder.Begin].
type Recorder struct{ out http1Writer }

// Begin returns the writer to hand down the chain in place of w, for the request of ctx that
// v admitted or passed on. It is w itself if no [Response] is needed.
//
// Handlers and frameworks find out by type assertion what a writer can do. So there are
// four kinds of writer: for net/http's HTTP/1 writer it has Flush and Hijack, for the
// HTTP/2 writer Flush and Push, and for other writers Flush alone or none of these. The
// writer can flush and hijack if [http.ResponseController] can do so with w. Every kind has
// ReadFrom, WriteString, CloseNotify and Unwrap. Other abilities of w are lost: see [New].
func (r *Recorder) Begin(ctx context.Context, g *Guard, v traffik.Verdict, w http.ResponseWriter) http.ResponseWriter {
	response, needed := g.Response(ctx, v)
	if !needed {
		return w
	}
	r.out.recorder = recorder{ResponseWriter: w, response: response}
	switch flushes, hijacks := finds(w); {
	case hijacks:
		return &r.out
	case !flushes:
		return &r.out.recorder
	}
	if _, pushes := w.(http.Pusher); pushes {
		return (*http2Writer)(&r.out)
	}
	return &r.out.flushWriter
}

// finds reports what http.ResponseController can do with w.
func finds(w http.ResponseWriter) (flushes, hijacks bool) {
	for {
		if _, ok := w.(http.Flusher); ok {
			flushes = true
		} else if _, ok := w.(interface{ FlushError() error }); ok {
			flushes = true
		}
		if _, ok := w.(http.Hijacker); ok {
			return flushes, true
		}
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return flushes, false
		}
		w = outer.Unwrap()
	}
}

// End ends the response after its handler returned or panicked. A status that the Recorder
// saw being sent takes precedence over e.
func (r *Recorder) End(e Ending) {
	out := &r.out.recorder
	if out.ResponseWriter == nil {
		return
	}
	out.prepare(http.StatusOK) // if nothing was sent, the server is about to
	if out.status != 0 {
		e.Status, e.Written = out.status, true
	}
	out.response.End(e)
}

// Status returns the status that was sent, 0 if none was.
func (r *Recorder) Status() int { return r.out.status }

// CloseAfter413 makes 413 the last response of the connection. [http.MaxBytesReader] asks
// net/http's own writer to do so, by a method that no other type can have.
func (r *Recorder) CloseAfter413() { r.out.closes = true }

// recorder wraps writers that can neither flush nor hijack.
type recorder struct {
	http.ResponseWriter
	response Response
	status   int  // 0 until one is sent
	closes   bool // see CloseAfter413
	touched  bool // the header was asked for, so somebody may have added to it
}

// Unwrap serves http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Header implements http.ResponseWriter. A handler that has taken the connection over may
// send the header itself, as a reverse proxy does.
func (r *recorder) Header() http.Header {
	r.touched = true
	h := r.ResponseWriter.Header()
	if r.status == http.StatusSwitchingProtocols {
		r.response.Reconcile(h, r.status)
	}
	return h
}

// WriteHeader implements http.ResponseWriter. Among the informational statuses only 101 is
// a final answer (RFC 9110, section 15.2).
func (r *recorder) WriteHeader(status int) {
	r.prepare(status)
	r.ResponseWriter.WriteHeader(status) // panics if there is no such status
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		r.note(status)
	}
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(p []byte) (int, error) {
	r.prepare(http.StatusOK)
	r.note(http.StatusOK)
	return r.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (r *recorder) WriteString(s string) (int, error) {
	r.prepare(http.StatusOK)
	r.note(http.StatusOK)
	return io.WriteString(r.ResponseWriter, s)
}

// sniffLen is how much net/http copies to find the content type, before it sends the head
// and hands a source to the connection.
const sniffLen = 512

// ReadFrom implements io.ReaderFrom, so that net/http sends files without copying them. A
// source that is empty or fails at once sends no head and leaves the status open, so the
// first bytes are watched under [CountOnly].
func (r *recorder) ReadFrom(src io.Reader) (n int64, err error) {
	r.prepare(http.StatusOK)
	if r.status == 0 && !r.response.done {
		n, err = io.Copy(r.ResponseWriter, io.LimitReader(noticed{src, r}, sniffLen))
		if err != nil || n < sniffLen {
			return n, err
		}
	}
	rest, err := io.Copy(r.ResponseWriter, src)
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

// CloseNotify implements http.CloseNotifier, which is deprecated but taken for granted by
// frameworks such as gin. It never reports if the writer beneath has no such method.
func (r *recorder) CloseNotify() <-chan bool {
	if w, ok := r.ResponseWriter.(interface{ CloseNotify() <-chan bool }); ok {
		return w.CloseNotify()
	}
	return nil
}

// prepare makes the header ready to be sent, if that is still to come.
func (r *recorder) prepare(status int) {
	if r.status != 0 {
		return
	}
	if r.touched {
		r.response.Reconcile(r.ResponseWriter.Header(), status)
	}
	if r.closes && status == http.StatusRequestEntityTooLarge {
		r.ResponseWriter.Header().Set("Connection", "close")
	}
}

// note keeps the first status, as net/http does.
func (r *recorder) note(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// flushWriter wraps writers that can flush.
type flushWriter struct{ recorder }

// Flush implements http.Flusher.
func (w *flushWriter) Flush() { _ = w.FlushError() }

// FlushError serves http.ResponseController.
func (w *flushWriter) FlushError() error {
	w.prepare(http.StatusOK)
	err := http.NewResponseController(w.ResponseWriter).Flush()
	if !errors.Is(err, http.ErrNotSupported) {
		w.note(http.StatusOK)
		w.response.Sent(w.status)
	}
	return err
}

// http1Writer wraps writers that can hijack. If such a writer can't flush, Flush does
// nothing.
type http1Writer struct{ flushWriter }

// Hijack implements http.Hijacker.
func (w *http1Writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.note(http.StatusSwitchingProtocols)
		w.response.Sent(w.status)
	}
	return conn, rw, err
}

// http2Writer wraps writers that can flush and push.
type http2Writer struct{ flushWriter }

// Push implements http.Pusher.
func (w *http2Writer) Push(target string, opts *http.PushOptions) error {
	return w.ResponseWriter.(http.Pusher).Push(target, opts) //nolint:errcheck // Begin has looked
}
