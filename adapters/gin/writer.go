package traffikgin

import (
	"bufio"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// writer is gin's writer, which keeps the status itself. It leaves one value of each
// header of the limits, and tells a watch of what leaves before the handlers have
// returned.
type writer struct {
	gin.ResponseWriter
	told  traffik.Verdict    // whose headers were set
	watch *httptraffik.Watch // nil if nobody wants to know
	taken bool               // the connection was taken over
	// touched tells that the header was asked for since ours were set: nobody else can
	// have added to it.
	touched bool
}

// Header implements http.ResponseWriter. Who has taken the connection over may send
// the header by himself, as a reverse proxy does.
func (w *writer) Header() http.Header {
	w.touched = true
	h := w.ResponseWriter.Header()
	if w.taken {
		w.told.ReconcileHeaders(h, http.StatusSwitchingProtocols)
	}
	return h
}

// WriteHeader implements http.ResponseWriter. Gin sends the header later; what has been
// copied into it by now is the whole of an upstream's.
func (w *writer) WriteHeader(status int) {
	w.prepare(status)
	w.ResponseWriter.WriteHeader(status)
}

// WriteHeaderNow implements gin.ResponseWriter.
func (w *writer) WriteHeaderNow() {
	w.prepare(w.Status())
	w.ResponseWriter.WriteHeaderNow()
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.prepare(w.Status())
	return w.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) {
	w.prepare(w.Status())
	return w.ResponseWriter.WriteString(s)
}

// prepare makes the header ready to be sent, if that is still to come.
func (w *writer) prepare(status int) {
	if w.touched && !w.Written() {
		w.told.ReconcileHeaders(w.ResponseWriter.Header(), status)
	}
}

// Flush implements http.Flusher.
func (w *writer) Flush() {
	w.prepare(w.Status())
	w.ResponseWriter.Flush()
	if w.watch != nil {
		w.watch.Sent(w.final())
	}
}

// final is the status that the client gets. Gin takes an informational one for the
// answer (RFC 9110, section 15.2), and ignores those that follow once it is sent, so
// that net/http answers with 200.
func (w *writer) final() int {
	if status := w.Status(); status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		return status
	}
	return http.StatusOK
}

// Hijack implements http.Hijacker. Gin says 200 of a connection that was taken over
// before a status was sent.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	status := http.StatusSwitchingProtocols
	if w.Written() && w.Status() >= http.StatusOK {
		status = w.Status()
	}
	conn, rw, err := w.ResponseWriter.Hijack()
	if w.taken = err == nil; w.taken && w.watch != nil {
		w.watch.Sent(status)
	}
	return conn, rw, err
}

// Unwrap serves http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
