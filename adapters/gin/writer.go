package traffikgin

import (
	"bufio"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/traffik-go/traffik/core/httptraffik"
)

// writer wraps gin's writer, which keeps the status itself. Before the header is sent, it
// leaves one value of each header of the limits. It also notes responses that are sent
// before the handlers have returned.
type writer struct {
	gin.ResponseWriter
	response httptraffik.Response
	hijacked bool
	touched  bool // the header was asked for, so somebody may have added to it
}

// Header implements http.ResponseWriter. A handler that has taken the connection over may
// send the header itself, as a reverse proxy does.
func (w *writer) Header() http.Header {
	w.touched = true
	h := w.ResponseWriter.Header()
	if w.hijacked {
		w.response.Reconcile(h, http.StatusSwitchingProtocols)
	}
	return h
}

// WriteHeaderNow implements gin.ResponseWriter.
func (w *writer) WriteHeaderNow() {
	w.prepare()
	w.ResponseWriter.WriteHeaderNow()
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.prepare()
	return w.ResponseWriter.Write(p)
}

// WriteString implements io.StringWriter.
func (w *writer) WriteString(s string) (int, error) {
	w.prepare()
	return w.ResponseWriter.WriteString(s)
}

// prepare makes the header ready to be sent, if that is still to come.
func (w *writer) prepare() {
	if w.touched && !w.Written() {
		w.response.Reconcile(w.ResponseWriter.Header(), w.Status())
	}
}

// Flush implements http.Flusher.
func (w *writer) Flush() {
	w.prepare()
	w.ResponseWriter.Flush()
	w.response.Sent(w.final())
}

// final is the status that the client gets. Gin takes an informational status (RFC 9110,
// section 15.2) for the answer and ignores those that follow, so net/http sends 200.
func (w *writer) final() int {
	if status := w.Status(); status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		return status
	}
	return http.StatusOK
}

// Hijack implements http.Hijacker. If no status was sent before, gin says 200 for a
// connection that is taken over.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	status := http.StatusSwitchingProtocols
	if w.Written() && w.Status() >= http.StatusOK {
		status = w.Status()
	}
	conn, rw, err := w.ResponseWriter.Hijack()
	if w.hijacked = err == nil; w.hijacked {
		w.response.Sent(status)
	}
	return conn, rw, err
}

// Unwrap serves http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
