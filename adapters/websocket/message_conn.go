package traffikws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// MessageSocket is a connection that reads and writes whole messages without a
// context, as that of gorilla/websocket. What ReadMessage returns stays as it is
// after the next one.
//
// A connection that also has the method NextReader() (int, [io.Reader], error) is read by
// that instead of ReadMessage, so that [WithMaxMessageBytes] can stop in the middle of a
// message; as in gorilla/websocket, it must pass over what was left unread. A type that
// embeds such a connection and changes ReadMessage must change NextReader too.
type MessageSocket interface {
	ReadMessage() (messageType int, data []byte, err error)
	WriteMessage(messageType int, data []byte) error
}

// MessageConn is a [MessageSocket] with a limit on what is read, and with
// [WithOutbound] on what is written. One goroutine at a time may read;
// WriteMessage may be called from any. The methods of a nil or zero MessageConn return an
// error that wraps [traffik.ErrUsage].
type MessageConn struct {
	conn MessageSocket
	ctx  context.Context // of the calls of the store and of waits: ReadMessage has none
	life *life
	in   *inbound
	out  *outbound
	turn turn // one writer at a time, which is what gorilla asks for
	// deadline is that of the application's writes, nil before it is set.
	deadline atomic.Pointer[time.Time]
}

// noticePatience is how long a notice waits for its turn to be written, and how
// long writing it may take where the connection has deadlines for that. A deadline
// of the application's may be long over.
const noticePatience = 5 * time.Second

var errNoTurn = fmt.Errorf("traffikws: a notice was not written, because another write took more than %v: %w", noticePatience, os.ErrDeadlineExceeded)

// writeDeadliner is a connection whose writes may be given an end, as that of
// gorilla/websocket.
type writeDeadliner interface{ SetWriteDeadline(t time.Time) error }

// WrapMessages limits the inbound messages of conn to what limit admits for
// from; the [Mode] says what becomes of the others.
//
// Notices are written from within ReadMessage. The connection beneath allows
// one writer at a time, so the application must write through the MessageConn
// too, or give [WithNotifier] and keep to its own writer. What the connection has no
// lock for, such as the read limit and the compression of gorilla/websocket, is set
// before. Calls of the store
// have the context of from, which of [From] does not end. It panics if conn, from,
// limit or an option is nil, and if a mode closes and conn has no way to.
func WrapMessages(conn MessageSocket, from *traffik.Request, limit traffik.Limiter, opts ...Option) *MessageConn {
	if isNoConn(conn) {
		panic("traffikws: WrapMessages of a nil connection; check the error of the handshake")
	}
	mc := &MessageConn{conn: conn, life: newLife(), turn: newTurn()}
	c := newConfig(limit, func(_ context.Context, notice []byte) error { return mc.notify(notice) }, opts)
	c.closeWith(controlCloser(conn))
	sender := newSender(from)
	mc.in = newInbound(sender, c, readingMessages(conn), mc.life)
	mc.out = newOutbound(sender, c, mc.life)
	if mc.ctx = from.Context; mc.ctx == nil {
		mc.ctx = context.Background()
	}
	return mc
}

// ReadMessage returns the next message that the limit admits. Besides the
// errors of the connection it returns those of [Meter.Allow], of writing a
// notice, a [DeniedError] once the connection was closed over the limit, and a [TooBigError]
// once the peer has sent a message above [WithMaxMessageBytes]: then,
// without [WithCloser], what the peer had sent before is read, for five seconds at
// most, and the connection beneath is closed. A notice that another write leaves no
// turn for five seconds is dropped; the error is [os.ErrDeadlineExceeded], and the
// next call reads on.
func (c *MessageConn) ReadMessage() (messageType int, data []byte, err error) {
	if err := c.misused(); err != nil {
		return 0, nil, err
	}
	m, err := c.in.next(c.ctx)
	return m.Type, m.Data, err
}

// WriteMessage writes a message, one at a time; see [WithOutbound]. One of type 8, a
// close frame, ends what is held as [MessageConn.WriteControl] does.
func (c *MessageConn) WriteMessage(messageType int, data []byte) error {
	return c.limit(Message{Type: messageType, Data: data}, func() error { return c.conn.WriteMessage(messageType, data) })
}

// WritePrepared writes a message that the library has prepared for many
// connections, as NewPreparedMessage of gorilla/websocket does, through c; see
// [WithOutbound]. It is charged as m, since what it was made of can't be seen any
// more: give the same type and data. Without data it costs what an empty message
// does. The error is [errors.ErrUnsupported] if the connection beneath has no
// method WritePreparedMessage for it.
func WritePrepared[P any](c *MessageConn, prepared P, m Message) error {
	if err := c.misused(); err != nil {
		return err
	}
	conn, ok := c.conn.(interface{ WritePreparedMessage(P) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return c.limit(m, func() error { return conn.WritePreparedMessage(prepared) })
}

// SetWriteDeadline sets the end of the writes to come, of a connection that has it:
// the zero time is none. Call it and not that of the connection beneath, which no
// goroutine may call while another writes, as a read writes its notices; those have
// five seconds of their own. It waits for the write that is under way.
func (c *MessageConn) SetWriteDeadline(t time.Time) error {
	if err := c.misused(); err != nil {
		return err
	}
	c.turn.take()
	defer c.turn.give()
	c.deadline.Store(&t)
	if conn, ok := c.conn.(writeDeadliner); ok {
		return conn.SetWriteDeadline(t)
	}
	return errors.ErrUnsupported
}

// notify writes a notice, unless another write keeps the connection for too long:
// the reader must get back to its pings.
func (c *MessageConn) notify(notice []byte) error {
	if !c.turn.takeWithin(noticePatience) {
		return errNoTurn
	}
	defer c.turn.give()
	if conn, ok := c.conn.(writeDeadliner); ok {
		if err := conn.SetWriteDeadline(now().Add(noticePatience)); err != nil {
			return err
		}
		defer func() { _ = conn.SetWriteDeadline(c.writeDeadline()) }()
	}
	return c.conn.WriteMessage(textMessage, notice)
}

// WriteControl writes a control frame, beside other writes, as gorilla/websocket
// does; the error is [errors.ErrUnsupported] if the connection beneath has no such
// method. A close frame, of type 8, ends what [Delay] holds, in both directions and
// even if it can't be written, unlike one written to the connection beneath: reads
// deliver and charge nothing more and return the error of the connection, once the
// peer has answered; held writes return one that is [net.ErrClosed]. So a handler of
// the peer's close must answer by the connection beneath. Of handlers of pings and pongs
// only a pong may come through here: other frames and messages would wait up to five
// seconds for the read that they are called from, once it ends the connection.
func (c *MessageConn) WriteControl(messageType int, data []byte, deadline time.Time) error {
	if err := c.misused(); err != nil {
		return err
	}
	conn, ok := c.conn.(controller)
	if !ok {
		return errors.ErrUnsupported
	}
	if messageType == pongMessage {
		return c.pong(func() error { return conn.WriteControl(messageType, data, deadline) })
	}
	if err := c.life.denied(); err != nil {
		return err
	}
	if messageType == closeMessage {
		c.life.leave()
	}
	return c.life.explain(conn.WriteControl(messageType, data, deadline))
}

// pong writes what a handler of pings answers with, perhaps within the read that waits for
// the peer's close: it must not wait for that read. A pong that the close frame has
// overtaken is not owed any more.
func (c *MessageConn) pong(write func() error) error {
	if err := write(); err != nil && !c.life.hasEnded() {
		return err
	}
	return nil
}

// Close closes the connection beneath, without a close frame in the style of
// gorilla/websocket, and ends what is held as [MessageConn.WriteControl] does. The
// error is [errors.ErrUnsupported] if there is no Close.
func (c *MessageConn) Close() error {
	if err := c.misused(); err != nil {
		return err
	}
	conn, ok := c.conn.(io.Closer)
	if !ok {
		return errors.ErrUnsupported
	}
	c.life.leave()
	return conn.Close()
}

// writeDeadline is that of the application's writes, the zero time without one.
func (c *MessageConn) writeDeadline() time.Time {
	if t := c.deadline.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

func (c *MessageConn) closable() bool {
	closer, _ := controlCloser(c.conn)
	return closer != nil
}

func (c *MessageConn) inTurn(write func() error) error {
	c.turn.take()
	defer c.turn.give()
	return write()
}

// limit calls write, as the only writer, if m may be sent.
func (c *MessageConn) limit(m Message, write func() error) error {
	if err := c.misused(); err != nil {
		return err
	}
	if err := c.life.denied(); err != nil {
		return err
	}
	if m.Type == closeMessage {
		c.life.leave()
	}
	if send, err := c.out.send(c.ctx, m, c.writeDeadline()); !send {
		return err
	}
	return c.life.explain(c.inTurn(write))
}
