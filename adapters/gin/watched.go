package traffikgin

import (
	"bufio"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/traffik-go/traffik/core/httptraffik"
)

// watched is gin's writer, which keeps the status itself, and tells of what leaves
// before the handlers have returned.
type watched struct {
	gin.ResponseWriter
	watch *httptraffik.Watch
}

// Flush implements http.Flusher.
func (w *watched) Flush() {
	w.ResponseWriter.Flush()
	w.watch.Sent(w.final())
}

// final is the status that the client gets. Gin takes an informational one for the
// answer (RFC 9110, section 15.2), and ignores those that follow once it is sent, so
// that net/http answers with 200.
func (w *watched) final() int {
	if status := w.Status(); status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		return status
	}
	return http.StatusOK
}

// Hijack implements http.Hijacker. Gin says 200 of a connection that was taken over
// before a status was sent.
func (w *watched) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	status := http.StatusSwitchingProtocols
	if w.Written() && w.Status() >= http.StatusOK {
		status = w.Status()
	}
	conn, rw, err := w.ResponseWriter.Hijack()
	if err == nil {
		w.watch.Sent(status)
	}
	return conn, rw, err
}

// Unwrap serves http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
