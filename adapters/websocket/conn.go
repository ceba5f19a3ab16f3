package traffikws

import (
	"context"
	"errors"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Socket is a connection whose reads take a context, as that of
// coder/websocket. T is the library's type of a message's opcode. What Read
// returns stays as it is after the next Read. A Read that its context has ended is
// taken by held writes for the end of the connection, unless under [Delay].
//
// A connection that also has the method Reader(ctx) (T, [io.Reader], error) is read by
// that instead of Read, so that [WithMaxMessageBytes] can stop in the middle of a message. A
// type that embeds such a connection and changes Read must change Reader too.
type Socket[T ~int] interface {
	Read(ctx context.Context) (T, []byte, error)
	Write(ctx context.Context, kind T, data []byte) error
}

// Conn is a [Socket] with a limit on what is read, and with [WithOutbound] on
// what is written. Its methods may be called from as many goroutines as those of
// the connection beneath; one at a time reads. Those of a nil or zero Conn return an error
// that wraps [traffik.ErrUsage], and so does a nil context.
type Conn[T ~int] struct {
	Socket[T]
	life   *life
	in     *inbound
	out    *outbound
	closer func(code int, reason string) error // nil if there is no way to close
}

// Wrap limits the inbound messages of conn to what limit admits for from; the
// [Mode] says what becomes of the others. Notices are written to conn from
// within Read, so its writes must be allowed from several goroutines, as those
// of coder/websocket are; give [WithNotifier] otherwise. It panics if conn, from,
// limit or an option is nil, and if the mode closes and conn has no way to.
func Wrap[T ~int](conn Socket[T], from *traffik.Request, limit traffik.Limiter, opts ...Option) *Conn[T] {
	if isNoConn(conn) {
		panic("traffikws: Wrap of a nil connection; check the error of the handshake")
	}
	c := newConfig(limit, func(ctx context.Context, notice []byte) error {
		// A peer that does not read until we do would wait for us as we for it, and a write
		// whose context ends may take the connection along: not that of a read.
		own, cancel := context.WithTimeout(context.WithoutCancel(ctx), noticePatience)
		defer cancel()
		err := conn.Write(own, textMessage, notice)
		if err != nil && own.Err() != nil {
			return errNoTurn
		}
		return err
	}, opts)
	c.closeWith(codeCloser(conn), nil)
	sender, life := newSender(from), newLife()
	return &Conn[T]{Socket: conn, life: life, in: newInbound(sender, c, reading(conn), life), out: newOutbound(sender, c, life), closer: c.closer}
}

// Read returns the next message that the limit admits. Besides the errors of
// the connection it returns those of [Meter.Allow], of writing a notice, which takes
// five seconds at most whatever ctx does, a [DeniedError] once the connection was
// closed over the limit, and a [TooBigError] once the peer has sent a message above
// [WithMaxMessageBytes]; a read that closes it takes as long as the Close of the
// library, which is broken off after ten seconds if the library has CloseRead. What the end of ctx does to the connection is the library's
// choice: coder/websocket closes it if it is being read. Under [Delay] the end of ctx
// ends the call alone; close the connection to end it.
func (c *Conn[T]) Read(ctx context.Context) (T, []byte, error) {
	if err := c.misused(ctx); err != nil {
		return 0, nil, err
	}
	m, err := c.in.next(ctx)
	return T(m.Type), m.Data, err
}

// Write writes a message; see [WithOutbound].
func (c *Conn[T]) Write(ctx context.Context, kind T, data []byte) error {
	if err := c.misused(ctx); err != nil {
		return err
	}
	if err := c.life.denied(); err != nil {
		return err
	}
	if send, err := c.out.send(ctx, Message{Type: int(kind), Data: data}, time.Time{}); !send {
		return err
	}
	return c.life.explain(c.Socket.Write(ctx, kind, data))
}

// Close closes the connection with a status, by the library's Close(code, reason)
// or [WithCloser]; it blocks as long as that does, and the error is its own, or
// [errors.ErrUnsupported] if there is neither. Unlike a Close of the connection
// beneath it ends what [Delay] holds, in both directions, even if it fails: reads
// deliver and charge nothing more and return the error of the connection, held
// writes one that is [net.ErrClosed]. A connection that the wrapper has ended is closed
// already; that [DeniedError] or [TooBigError] is returned. Any goroutine may call it.
func (c *Conn[T]) Close(code int, reason string) error {
	if err := c.misused(context.Background()); err != nil {
		return err
	}
	if c.closer == nil {
		return errors.ErrUnsupported
	}
	if err := c.life.denied(); err != nil {
		return err
	}
	c.life.leave()
	return c.closer(code, reason)
}

// CloseNow closes the connection without a close frame, by the library's CloseNow,
// and ends what is held as [Conn.Close] does. The error is [errors.ErrUnsupported]
// if the library has no such method.
func (c *Conn[T]) CloseNow() error {
	if err := c.misused(context.Background()); err != nil {
		return err
	}
	conn, ok := c.Socket.(interface{ CloseNow() error })
	if !ok {
		return errors.ErrUnsupported
	}
	c.life.leave()
	return conn.CloseNow()
}

func (c *Conn[T]) closable() bool { return c.closer != nil }
