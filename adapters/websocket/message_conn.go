package traffikws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// MessageSocket is a connection in the style of gorilla/websocket: it reads and writes whole
// messages without a context. ReadMessage must return a slice that later reads don't change.
//
// If the connection also has the method NextReader() (int, [io.Reader], error), a MessageConn
// calls that instead of ReadMessage, so that [WithMaxMessageBytes] can stop in the middle of a
// message. NextReader must skip the part left unread, as in gorilla/websocket. A type that embeds
// such a connection and changes ReadMessage must change NextReader too.
type MessageSocket interface {
	ReadMessage() (messageType int, data []byte, err error)
	WriteMessage(messageType int, data []byte) error
}

// MessageConn is a [MessageSocket] whose reads are limited, and with [WithOutbound] its writes. Call
// ReadMessage from one goroutine at a time, and WriteMessage from any. The methods of a nil or zero
// MessageConn return an error that wraps [traffik.ErrUsage].
type MessageConn struct {
	conn     MessageSocket
	ctx      context.Context // for the store and for waits: ReadMessage has none
	limits   *limits
	lock     writeLock
	deadline atomic.Pointer[time.Time] // of the application's writes, the zero time if it has set none
}

// noticePatience bounds the wait of a notice for the write lock, and the write itself where the
// connection has deadlines. The application's deadline may have passed long ago.
const noticePatience = 5 * time.Second

var errNotWritten = fmt.Errorf("traffikws: a notice was not written, because another write took more than %v: %w", noticePatience, os.ErrDeadlineExceeded)

// writeLock admits one writer at a time, as gorilla/websocket requires. It holds a value while it is
// locked.
type writeLock chan struct{}

func (l writeLock) lock() { l <- struct{}{} }

func (l writeLock) unlock() { <-l }

// writeDeadliner is a connection whose writes may have a deadline, as in gorilla/websocket.
type writeDeadliner interface{ SetWriteDeadline(t time.Time) error }

// WrapMessages limits the inbound messages of conn. Each one is a hit on limit for the client of
// from. The [Mode] decides what happens to messages over the limit. Calls of the store use the
// context of from, which doesn't end if it comes from [From]. WrapMessages panics if conn, from,
// limit or an option is nil, or if a mode closes connections and conn has no method for that and
// no [WithCloser] is given.
//
// ReadMessage writes notices, and the connection beneath allows one writer at a time. So write
// through the MessageConn, or give [WithNotifier] and keep your own writer. Before this call, set
// everything that the connection doesn't lock, such as the read limit and the compression of
// gorilla/websocket.
func WrapMessages(conn MessageSocket, from *traffik.Request, limit traffik.Limiter, opts ...Option) *MessageConn {
	if isNil(conn) {
		panic("traffikws: WrapMessages of a nil connection; check the error of the handshake")
	}
	mc := &MessageConn{conn: conn, lock: make(writeLock, 1)}
	mc.deadline.Store(new(time.Time))
	c := newConfig(limit, func(_ context.Context, notice []byte) error { return mc.notify(notice) }, opts)
	c.closeWith(controlCloser(conn))
	open, skips := openMessageSocket(conn)
	mc.limits = newLimits(from, c, open, skips)
	mc.ctx = cmp.Or(from.Context, context.Background())
	return mc
}

// misused returns what is wrong with a use of c.
func (c *MessageConn) misused() error {
	if c == nil || c.limits == nil {
		return errNoMessageConn
	}
	return nil
}

// ReadMessage returns the next message that the limit admits. It returns the errors of the
// connection, of [Meter.Allow] and of writing a notice. Once the connection was closed over the
// limit, it returns a [DeniedError]. Once the peer has sent a message above
// [WithMaxMessageBytes], it returns a [TooBigError].
//
// A read that ends the connection without [WithCloser] first reads what the peer had already sent,
// for up to five seconds, and then closes the connection beneath. If another write blocks a notice
// for five seconds, the notice is dropped and the error is [os.ErrDeadlineExceeded]; the next call
// continues.
func (c *MessageConn) ReadMessage() (messageType int, data []byte, err error) {
	if err := c.misused(); err != nil {
		return 0, nil, err
	}
	m, err := c.limits.in.next(c.ctx)
	return m.Type, m.Data, err
}

// WriteMessage writes a message, one at a time; see [WithOutbound]. A message of type 8, a close
// frame, ends held messages and writes, as [MessageConn.WriteControl] does.
func (c *MessageConn) WriteMessage(messageType int, data []byte) error {
	return c.write(Message{Type: messageType, Data: data}, func() error { return c.conn.WriteMessage(messageType, data) })
}

// WritePrepared writes through c a message that the library has prepared for many connections, such
// as one of NewPreparedMessage of gorilla/websocket; see [WithOutbound]. WritePrepared can't see
// its content, so it charges the message as m: give the same type and data. Without data it costs
// as much as an empty message. It returns [errors.ErrUnsupported] if the connection beneath has no
// method WritePreparedMessage for it.
func WritePrepared[P any](c *MessageConn, prepared P, m Message) error {
	if err := c.misused(); err != nil {
		return err
	}
	conn, ok := c.conn.(interface{ WritePreparedMessage(P) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return c.write(m, func() error { return conn.WritePreparedMessage(prepared) })
}

// write calls send, as the only writer, if m may be sent.
func (c *MessageConn) write(m Message, send func() error) error {
	if err := c.misused(); err != nil {
		return err
	}
	if m.Type == closeMessage {
		c.limits.closing.leave()
	}
	return c.limits.write(c.ctx, m, *c.deadline.Load(), func() error {
		c.lock.lock()
		defer c.lock.unlock()
		return send()
	})
}

// SetWriteDeadline sets the deadline of later writes; the zero time means none. It waits for the
// write under way, and returns [errors.ErrUnsupported] if the connection beneath has no deadlines
// for writes. Call it instead of the method of the connection beneath: that must not be called
// during a write, and reads write notices. A notice has a separate deadline of five seconds.
func (c *MessageConn) SetWriteDeadline(t time.Time) error {
	if err := c.misused(); err != nil {
		return err
	}
	c.lock.lock()
	defer c.lock.unlock()
	c.deadline.Store(&t)
	if conn, ok := c.conn.(writeDeadliner); ok {
		return conn.SetWriteDeadline(t)
	}
	return errors.ErrUnsupported
}

// notify writes a notice, unless another write takes too long: the reader must get back to the
// peer's pings.
func (c *MessageConn) notify(notice []byte) error {
	timer := time.NewTimer(noticePatience)
	defer timer.Stop()
	select {
	case c.lock <- struct{}{}:
	case <-timer.C:
		return errNotWritten
	}
	defer c.lock.unlock()
	if conn, ok := c.conn.(writeDeadliner); ok {
		if err := conn.SetWriteDeadline(now().Add(noticePatience)); err != nil {
			return err
		}
		defer func() { _ = conn.SetWriteDeadline(*c.deadline.Load()) }()
	}
	return c.conn.WriteMessage(textMessage, notice)
}

// WriteControl writes a control frame, concurrently with other writes. It returns
// [errors.ErrUnsupported] if the connection beneath has no such method.
//
// Unlike one written to the connection beneath, a close frame (type 8) ends what [Delay] holds in
// both directions, even if it can't be written. Reads then deliver and charge nothing more and,
// once the peer has answered, return the error of the connection. Held writes return an error that
// is [net.ErrClosed]. So a handler of the peer's close frame must answer through the connection
// beneath. Handlers of pings and pongs may write pongs here, but must send all other frames and
// messages through the connection beneath. Here these would wait up to five seconds for the read
// that calls the handler, once that read ends the connection.
func (c *MessageConn) WriteControl(messageType int, data []byte, deadline time.Time) error {
	if err := c.misused(); err != nil {
		return err
	}
	conn, ok := c.conn.(controller)
	if !ok {
		return errors.ErrUnsupported
	}
	closing := c.limits.closing
	if messageType == pongMessage { // perhaps from within the read that waits for the peer's answer
		err := conn.WriteControl(messageType, data, deadline)
		if closing.known().ended != nil {
			return nil // after a close frame no pong is due
		}
		return err
	}
	if err := closing.denied(); err != nil {
		return err
	}
	if messageType == closeMessage {
		closing.leave()
	}
	return closing.explain(conn.WriteControl(messageType, data, deadline))
}

// Close closes the connection beneath, which with gorilla/websocket sends no close frame. It ends
// held messages and writes, as [MessageConn.WriteControl] does. It returns
// [errors.ErrUnsupported] if the connection beneath has no Close.
func (c *MessageConn) Close() error {
	if err := c.misused(); err != nil {
		return err
	}
	conn, ok := c.conn.(io.Closer)
	if !ok {
		return errors.ErrUnsupported
	}
	c.limits.closing.leave()
	return conn.Close()
}

func (c *MessageConn) closable() bool {
	closer, _ := controlCloser(c.conn)
	return closer != nil
}
