package traffikws

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Statuses and reasons of the connections that a wrapper ends (RFC 6455, section 7.4.1).
	policyViolation = 1008
	overLimitReason = "rate limit exceeded"
	messageTooBig   = 1009
	tooBigReason    = "message too big"
	// Statuses that libraries report for a connection that ended without a close frame.
	abnormalClosure = 1006
	failedTLS       = 1015
	// closePatience bounds the wait for the peer's answer to a close frame, and the wait of one
	// direction until the other has sent the frame.
	closePatience = 5 * time.Second
)

// errOver ends a wait or a read of a connection that is over; closeState knows why.
var errOver = errors.New("traffikws: the connection is over")

// errLeft is the error of held writes once the application has closed the connection.
var errLeft = fmt.Errorf("traffikws: the application has closed the connection: %w", net.ErrClosed)

// closeState holds what is known about the end of a connection, for both directions. Reads
// without Delay and writes take the lock only once over is closed.
type closeState struct {
	closer func(code int, reason string) error // nil if there is no way to close
	finish func()                              // closes after the peer's answer; nil if closer does
	tracks bool                                // inbound Delay: the causes below decide what is delivered
	refund func()                              // refunds the message that no read works on
	over   chan struct{}                       // closed by the first cause
	lost   chan struct{}                       // closed when pending messages are no longer delivered
	told   chan struct{}                       // closed by tell: the peer knows why the wrapper ended the connection
	tell   func()

	panicked atomic.Pointer[any] // of a goroutine that read ahead; the application's next read continues it

	mu sync.Mutex
	causes
}

// causes are the reasons why a connection is over.
type causes struct {
	ended        error     // *DeniedError or *TooBigError: the wrapper ended it
	failed       error     // of the first read that failed
	left         error     // errLeft: the application closes it
	peerClosedAt time.Time // when a read found the peer's close frame, unless the frame is an answer
}

func newCloseState(c *config) *closeState {
	over, lost, told := make(chan struct{}), make(chan struct{}), make(chan struct{})
	tell := sync.OnceFunc(func() { close(told) })
	return &closeState{closer: c.closer, finish: c.finish, tracks: c.mode.hold > 0, over: over, lost: lost, told: told, tell: tell}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// note records a cause, wakes the calls that it ends and refunds the message that it loses.
func (s *closeState) note(set func(c *causes)) {
	s.mu.Lock()
	set(&s.causes)
	if !isClosed(s.over) {
		close(s.over)
	}
	lost := s.ended != nil || s.tracks && (s.left != nil || s.failed != nil && s.peerClosedAt.IsZero())
	if lost && !isClosed(s.lost) {
		close(s.lost)
	}
	s.mu.Unlock()
	if lost {
		s.refund()
	}
}

// end closes the connection because of err, unless the wrapper has ended it before. With answered,
// other calls return only when a read has found the peer's answer and called tell.
func (s *closeState) end(err error, code int, reason string, answered bool) {
	first := false
	s.note(func(c *causes) {
		if first = c.ended == nil; first {
			c.ended = err
		}
	})
	if !first {
		return
	}
	timer := time.AfterFunc(closePatience, s.tell)
	if !answered {
		defer timer.Stop()
		defer s.tell()
	}
	if s.closer != nil {
		_ = s.closer(code, reason) // an error says that the peer is gone, as intended
	}
}

// fail notes that a read failed. If the wrapper has ended the connection, the read was waiting
// for the peer's answer.
func (s *closeState) fail(err error) {
	s.note(func(c *causes) {
		if c.failed != nil {
			return
		}
		c.failed = err
		if s.tracks && c.left == nil && closedByPeer(err) {
			c.peerClosedAt = now()
		}
	})
	if s.finish != nil && s.known().ended != nil {
		s.finish()
		s.tell()
	}
}

// leave notes that the application closes the connection. Call it before the close frame is sent:
// the peer's answer looks like a close by the peer.
func (s *closeState) leave() {
	s.note(func(c *causes) { c.left, c.peerClosedAt = errLeft, time.Time{} })
}

// known returns the causes so far.
func (s *closeState) known() causes {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.causes
}

// denied returns the error of a connection that the wrapper has ended, else nil. It waits until
// the peer has been told: the application may hang up as soon as it sees the error.
func (s *closeState) denied() error {
	if !isClosed(s.over) {
		return nil
	}
	err := s.known().ended
	if err != nil {
		<-s.told
	}
	return err
}

// why returns what ended the connection, nil if it lives.
func (s *closeState) why() error {
	c := s.known()
	return cmp.Or(s.denied(), c.failed, c.left)
}

// explain returns why the wrapper has ended the connection, in place of an error that may be a
// consequence.
func (s *closeState) explain(err error) error {
	if err == nil {
		return nil
	}
	return cmp.Or(s.denied(), err)
}

// closedByPeer reports whether err, or an error that it wraps, says that the peer has sent a close
// frame, after which no message follows. Both libraries keep the status of the frame in a field
// Code of their error.
func closedByPeer(err error) bool {
	if v := reflect.Indirect(reflect.ValueOf(err)); v.Kind() == reflect.Struct {
		if field, ok := v.Type().FieldByName("Code"); ok {
			code, err := v.FieldByIndexErr(field.Index) // an embedded pointer may be nil
			if err == nil && code.CanInt() && code.Int() >= 1000 && code.Int() < 5000 {
				return code.Int() != abnormalClosure && code.Int() != failedTLS
			}
		}
	}
	switch err := err.(type) { //nolint:errorlint // walks the tree itself: each library has its error type
	case interface{ Unwrap() error }:
		return closedByPeer(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), closedByPeer)
	}
	return false
}

// cannotClose reports whether conn is a wrapper around a connection that can't be closed: a wrapper
// has the methods for closing in any case.
func cannotClose(conn any) bool {
	c, ok := conn.(interface{ closable() bool })
	return ok && !c.closable()
}

// codeCloser returns the method Close(code, reason) of a connection in the style of
// coder/websocket, nil if it has none. The library has its own type for the code, so no interface
// can name the method.
func codeCloser(conn any) func(code int, reason string) error {
	method := reflect.ValueOf(conn).MethodByName("Close")
	if !method.IsValid() || cannotClose(conn) {
		return nil
	}
	t := method.Type()
	if t.NumIn() != 2 || t.In(0).Kind() != reflect.Int || t.In(1).Kind() != reflect.String ||
		t.NumOut() != 1 || t.Out(0) != reflect.TypeFor[error]() {
		return nil
	}
	reader, _ := conn.(interface {
		CloseRead(ctx context.Context) context.Context
	})
	return func(code int, reason string) error {
		if reader != nil {
			// Close of coder/websocket bounds the frame and the answer, but waits without bound for the
			// rest of a message that the peer never ends, and CloseNow waits for Close. CloseRead doesn't
			// wait, and breaks the connection if its context has ended.
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			defer time.AfterFunc(2*closePatience, func() { reader.CloseRead(ended) }).Stop()
		}
		out := method.Call([]reflect.Value{reflect.ValueOf(code).Convert(t.In(0)), reflect.ValueOf(reason).Convert(t.In(1))})
		err, _ := out[0].Interface().(error)
		return err
	}
}

// controller is a connection in the style of gorilla/websocket, which allows control frames beside
// other writes.
type controller interface {
	WriteControl(messageType int, data []byte, deadline time.Time) error
	io.Closer
}

// controlCloser returns a function that sends the close frame of a controller, and one that closes
// the connection after the peer's answer; nil if conn is no controller. A timer bounds the wait for
// the answer: a read deadline can't, since the application's handlers may move it at each pong.
func controlCloser(conn any) (closer func(code int, reason string) error, finish func()) {
	c, ok := conn.(controller)
	if !ok || cannotClose(conn) {
		return nil, nil
	}
	finish = func() { _ = c.Close() }
	closer = func(code int, reason string) error {
		time.AfterFunc(closePatience, finish)
		payload := append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...) //nolint:gosec // statuses have four digits
		return c.WriteControl(closeMessage, payload, now().Add(closePatience))
	}
	return closer, finish
}
