package traffikws

import (
	"context"
	"errors"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Socket is a connection in the style of coder/websocket: its reads and writes take a context. T is
// the library's type of opcodes. Read must return a slice that later reads don't change.
//
// If the connection also has the method Reader(ctx) (T, [io.Reader], error), a Conn calls that
// instead of Read, so that [WithMaxMessageBytes] can stop in the middle of a message. A type that
// embeds such a connection and changes Read must change Reader too.
type Socket[T ~int] interface {
	Read(ctx context.Context) (T, []byte, error)
	Write(ctx context.Context, kind T, data []byte) error
}

// Conn is a [Socket] whose reads are limited, and with [WithOutbound] its writes. Call Read from one
// goroutine at a time, and the other methods from as many as the library allows. The methods of a
// nil or zero Conn return an error that wraps [traffik.ErrUsage], and so does any method with a nil
// context.
type Conn[T ~int] struct {
	Socket[T]
	limits *limits
}

// limits is the part that both wrappers share: the two directions of a connection and its
// end.
type limits struct {
	closing *closeState
	in      *inbound
	out     *direction // nil if writes are unlimited
}

func newLimits(from *traffik.Request, c *config, open openFunc, skips bool) *limits {
	sender, closing := newSender(from), newCloseState(c)
	reader := &messageReader{open: open, skips: skips, max: c.maxBytes, closing: closing}
	in := &inbound{read: reader.read, notify: c.notify}
	in.meter, in.mode, in.closing = newMeter(sender, c.limit, c.choose), c.mode, closing
	closing.refund = in.refundKept
	if c.mode.hold > 0 {
		in.ahead = &readAhead{read: reader.read, closing: closing, came: make(chan struct{}, 1)}
		in.read = in.ahead.next
	}
	l := &limits{closing: closing, in: in}
	if !isNil(c.outLimit) {
		l.out = &direction{meter: newMeter(sender, c.outLimit, nil), mode: c.outMode, closing: closing}
	}
	return l
}

// write calls send if m may be sent.
func (l *limits) write(ctx context.Context, m Message, deadline time.Time, send func() error) error {
	if err := l.closing.denied(); err != nil {
		return err
	}
	if l.out != nil {
		if ok, err := l.out.send(ctx, m, deadline); !ok {
			return err
		}
	}
	return l.closing.explain(send())
}

// Wrap limits the inbound messages of conn. Each one is a hit on limit for the client of from.
// The [Mode] decides what happens to messages over the limit. Read writes notices to conn, so
// conn must allow writes from several goroutines, as coder/websocket does. Otherwise give
// [WithNotifier]. Wrap panics if conn, from, limit or an option is nil, or if the mode closes
// connections and conn has no method for that and no [WithCloser] is given.
func Wrap[T ~int](conn Socket[T], from *traffik.Request, limit traffik.Limiter, opts ...Option) *Conn[T] {
	if isNil(conn) {
		panic("traffikws: Wrap of a nil connection; check the error of the handshake")
	}
	c := newConfig(limit, func(ctx context.Context, notice []byte) error {
		// Bounded, because a peer that reads nothing until we do would block us for ever. The read's
		// context can't be the bound, because a write whose context ends may break the connection.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), noticePatience)
		defer cancel()
		err := conn.Write(bounded, textMessage, notice)
		if err != nil && bounded.Err() != nil {
			return errNotWritten
		}
		return err
	}, opts)
	c.closeWith(codeCloser(conn), nil)
	return &Conn[T]{Socket: conn, limits: newLimits(from, c, openSocket(conn), false)}
}

// misused returns what is wrong with a use of c with ctx.
func (c *Conn[T]) misused(ctx context.Context) error {
	switch {
	case c == nil || c.limits == nil:
		return errNoConn
	case ctx == nil:
		return errNoContext
	}
	return nil
}

// Read returns the next message that the limit admits. It returns the errors of the connection, of
// [Meter.Allow] and of writing a notice. Once the connection was closed over the limit, it returns
// a [DeniedError]. Once the peer has sent a message above [WithMaxMessageBytes], it returns a
// [TooBigError].
//
// Writing a notice takes up to five seconds, even if ctx ends. A Read that closes the connection
// blocks as long as the library's Close, which is broken off after ten seconds if the library has
// CloseRead. When ctx ends, the library decides what happens to the connection: coder/websocket
// closes one that is being read. Under [Delay] only the call ends; call Close to end the connection.
// In the other modes a Read that ctx ends also ends held writes.
func (c *Conn[T]) Read(ctx context.Context) (T, []byte, error) {
	if err := c.misused(ctx); err != nil {
		return 0, nil, err
	}
	m, err := c.limits.in.next(ctx)
	return T(m.Type), m.Data, err
}

// Write writes a message; see [WithOutbound].
func (c *Conn[T]) Write(ctx context.Context, kind T, data []byte) error {
	if err := c.misused(ctx); err != nil {
		return err
	}
	return c.limits.write(ctx, Message{Type: int(kind), Data: data}, time.Time{}, func() error {
		return c.Socket.Write(ctx, kind, data)
	})
}

// Close closes the connection with a status, by the library's Close(code, reason) or [WithCloser].
// It blocks as long as that does and returns its error, or [errors.ErrUnsupported] if there is
// neither. Unlike a Close of the connection beneath, it also ends what [Delay] holds in both
// directions, even if it fails. Reads then deliver and charge nothing more and return the error of
// the connection, and held writes return an error that is [net.ErrClosed]. If the wrapper has
// closed the connection already, Close returns that [DeniedError] or [TooBigError]. Any goroutine
// may call it.
func (c *Conn[T]) Close(code int, reason string) error {
	if err := c.misused(context.Background()); err != nil {
		return err
	}
	closing := c.limits.closing
	if closing.closer == nil {
		return errors.ErrUnsupported
	}
	if err := closing.denied(); err != nil {
		return err
	}
	closing.leave()
	return closing.closer(code, reason)
}

// CloseNow closes the connection without a close frame, by the library's CloseNow, and ends held
// messages and writes, as [Conn.Close] does. It returns [errors.ErrUnsupported] if the library has
// no such method.
func (c *Conn[T]) CloseNow() error {
	if err := c.misused(context.Background()); err != nil {
		return err
	}
	conn, ok := c.Socket.(interface{ CloseNow() error })
	if !ok {
		return errors.ErrUnsupported
	}
	c.limits.closing.leave()
	return conn.CloseNow()
}

func (c *Conn[T]) closable() bool { return c.limits != nil && c.limits.closing.closer != nil }
