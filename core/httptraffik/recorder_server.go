package httptraffik

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"reflect"
	"sync/atomic"
	"time"
)

// serverHTTP1 is the recorder with the abilities of net/http's own writer for HTTP/1,
// and serverHTTP2 with those of the one for HTTP/2. They are what nearly every request
// has, so they are a part of the [Exchange] and cost no allocation.
type (
	serverHTTP1 struct{ recorder }
	serverHTTP2 struct{ recorder }
)

// controls is what http.ResponseController asks of net/http's own writers.
type controls interface {
	SetReadDeadline(deadline time.Time) error
	SetWriteDeadline(deadline time.Time) error
	EnableFullDuplex() error
}

// writer is the recorder with the abilities of the writer beneath. Go has no way
// to add methods to a value, so there is a type for each combination.
func (s *serverHTTP1) writer() http.ResponseWriter {
	const own = canFlush | canNotify | canControl
	r := &s.recorder
	abilities := abilitiesOf(r.ResponseWriter)
	switch abilities {
	case own | canHijack | canReadFrom:
		return s
	case own | canPush:
		return (*serverHTTP2)(s)
	}
	r.closes = false // not the server's own
	abilities &^= canControl
	p, _ := r.ResponseWriter.(http.Pusher)
	if n, ok := r.ResponseWriter.(notifier); ok {
		return r.notifying(abilities&^canNotify, n, p)
	}
	return r.plain(abilities, p)
}

// knownWriter is the first type of writer that was seen, which is nearly always the only
// one: to ask it for each ability takes longer.
var knownWriter atomic.Pointer[writerType]

type writerType struct {
	of        reflect.Type
	abilities int
}

func abilitiesOf(w http.ResponseWriter) (abilities int) {
	known, of := knownWriter.Load(), reflect.TypeOf(w)
	if known != nil && known.of == of {
		return known.abilities
	}
	if _, ok := w.(http.Flusher); ok {
		abilities |= canFlush
	}
	if _, ok := w.(http.Hijacker); ok {
		abilities |= canHijack
	}
	if _, ok := w.(io.ReaderFrom); ok {
		abilities |= canReadFrom
	}
	if _, ok := w.(http.Pusher); ok {
		abilities |= canPush
	}
	if _, ok := w.(notifier); ok {
		abilities |= canNotify
	}
	if _, ok := w.(controls); ok {
		abilities |= canControl
	}
	if known == nil {
		knownWriter.CompareAndSwap(nil, &writerType{of: of, abilities: abilities})
	}
	return abilities
}

// Unwrap serves http.ResponseController, which finds all that it asks for before.
func (s *serverHTTP1) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush implements http.Flusher.
func (s *serverHTTP1) Flush() { flusher{&s.recorder}.Flush() }

// FlushError is what http.ResponseController asks for first.
func (s *serverHTTP1) FlushError() error { return flusher{&s.recorder}.FlushError() }

// Hijack implements http.Hijacker.
func (s *serverHTTP1) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return hijacker{&s.recorder}.Hijack()
}

// ReadFrom implements io.ReaderFrom.
func (s *serverHTTP1) ReadFrom(src io.Reader) (int64, error) {
	return reader{&s.recorder}.ReadFrom(src)
}

// CloseNotify implements http.CloseNotifier.
func (s *serverHTTP1) CloseNotify() <-chan bool { return s.closeNotify() }

// SetReadDeadline serves http.ResponseController, as do those that follow.
func (s *serverHTTP1) SetReadDeadline(deadline time.Time) error {
	return s.controls().SetReadDeadline(deadline)
}

// SetWriteDeadline serves http.ResponseController.
func (s *serverHTTP1) SetWriteDeadline(deadline time.Time) error {
	return s.controls().SetWriteDeadline(deadline)
}

// EnableFullDuplex serves http.ResponseController.
func (s *serverHTTP1) EnableFullDuplex() error { return s.controls().EnableFullDuplex() }

// Unwrap serves http.ResponseController, which finds all that it asks for before.
func (s *serverHTTP2) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// Flush implements http.Flusher.
func (s *serverHTTP2) Flush() { flusher{&s.recorder}.Flush() }

// FlushError is what http.ResponseController asks for first.
func (s *serverHTTP2) FlushError() error { return flusher{&s.recorder}.FlushError() }

// Push implements http.Pusher.
func (s *serverHTTP2) Push(target string, opts *http.PushOptions) error {
	return s.ResponseWriter.(http.Pusher).Push(target, opts) //nolint:errcheck // checked by writer
}

// CloseNotify implements http.CloseNotifier.
func (s *serverHTTP2) CloseNotify() <-chan bool { return s.closeNotify() }

// SetReadDeadline serves http.ResponseController, as do those that follow.
func (s *serverHTTP2) SetReadDeadline(deadline time.Time) error {
	return s.controls().SetReadDeadline(deadline)
}

// SetWriteDeadline serves http.ResponseController.
func (s *serverHTTP2) SetWriteDeadline(deadline time.Time) error {
	return s.controls().SetWriteDeadline(deadline)
}

// EnableFullDuplex serves http.ResponseController.
func (s *serverHTTP2) EnableFullDuplex() error { return s.controls().EnableFullDuplex() }

// closeNotify and controls are for writers that were checked to have them.
func (r *recorder) closeNotify() <-chan bool {
	return r.ResponseWriter.(notifier).CloseNotify() //nolint:errcheck // checked by writer
}

func (r *recorder) controls() controls {
	return r.ResponseWriter.(controls) //nolint:errcheck // checked by writer
}
