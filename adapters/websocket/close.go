package traffikws

import (
	"context"
	"encoding/binary"
	"io"
	"reflect"
	"slices"
	"time"
)

const (
	// The statuses of connections that a wrapper ends (RFC 6455, section 7.4.1), and why.
	policyViolation = 1008
	overLimitReason = "rate limit exceeded"
	messageTooBig   = 1009
	tooBigReason    = "message too big"
	// closePatience is how long the peer's answer to a close is waited for, in
	// all, and how long one direction waits for the other to have sent it.
	closePatience = 5 * time.Second
)

// The statuses that no close frame carries (RFC 6455, section 7.4.1): libraries
// report with them that a connection has ended without one.
const (
	abnormalClosure = 1006
	failedTLS       = 1015
)

// closedByPeer reports whether the error of a read says that the peer has sent a
// close frame, and so all that it had to say: itself, or one that it wraps or joins.
func closedByPeer(err error) bool {
	code := codeOf(err)
	if code >= 1000 && code < 5000 {
		return code != abnormalClosure && code != failedTLS
	}
	switch err := err.(type) { //nolint:errorlint // walks the tree itself: each library has a type of its own
	case interface{ Unwrap() error }:
		return closedByPeer(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), closedByPeer)
	}
	return false
}

// codeOf returns the status that err itself has in a field Code, as the errors of
// both libraries have it, and 0 if there is none.
func codeOf(err error) int64 {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct {
		return 0
	}
	name, ok := v.Type().FieldByName("Code")
	if !ok {
		return 0
	}
	field, err := v.FieldByIndexErr(name.Index) // an embedded pointer may be nil
	if err != nil || !field.CanInt() {
		return 0
	}
	return field.Int()
}

// isNoConn reports whether conn is nil or, as after a handshake that has failed, a nil
// pointer.
func isNoConn(conn any) bool {
	v := reflect.ValueOf(conn)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}

// closable is a wrapper, which has the methods of both styles whatever it wraps.
type closable interface{ closable() bool }

func cannotClose(conn any) bool {
	c, ok := conn.(closable)
	return ok && !c.closable()
}

// codeCloser returns Close(code, reason) of a connection in the style of
// coder/websocket, nil if it has none. The code is of a type of the library's
// own, so that no interface names the method.
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
	return func(code int, reason string) error {
		defer cutOff(conn)()
		out := method.Call([]reflect.Value{reflect.ValueOf(code).Convert(t.In(0)), reflect.ValueOf(reason).Convert(t.In(1))})
		err, _ := out[0].Interface().(error)
		return err
	}
}

// cutOff breaks the connection of a Close that is not stopped in time. The Close of
// coder/websocket writes the frame for five seconds at most and waits as long for the
// answer, but a peer that stops in the middle of a message keeps it for ever, and
// CloseNow waits for it. A read whose context has ended breaks the connection; CloseRead
// is the one that needs no turn.
func cutOff(conn any) (stop func()) {
	c, ok := conn.(interface {
		CloseRead(ctx context.Context) context.Context
	})
	if !ok {
		return func() {}
	}
	timer := time.AfterFunc(2*closePatience, func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		c.CloseRead(ended)
	})
	return func() { timer.Stop() }
}

// controller is a connection in the style of gorilla/websocket, which allows
// control frames beside other writes.
type controller interface {
	WriteControl(messageType int, data []byte, deadline time.Time) error
	io.Closer
}

// controlCloser returns what sends the close frame of a controller, and what
// closes it once the peer has answered; nil if conn is none. A peer that does not
// answer in time is not waited for: no deadline would do for that, since the
// application's handlers may move it at each pong.
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
