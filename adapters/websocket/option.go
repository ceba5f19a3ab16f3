package traffikws

import (
	"context"
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// Option configures [Wrap] and [WrapMessages].
type Option interface {
	apply(c *config)
}

type config struct {
	mode     Mode
	maxBytes int // of an inbound message
	choose   func(Message) traffik.Limiter
	outLimit traffik.Limiter
	outMode  Mode
	notify   func(ctx context.Context, notice []byte) error
	closer   func(code int, reason string) error
	finish   func() // closes what closer has ended, once it is read empty; nil if closer does
}

type optionFunc func(c *config)

func (f optionFunc) apply(c *config) { f(c) }

// WithMode sets what becomes of inbound messages over the limit; the default is
// [Notify].
func WithMode(mode Mode) Option {
	return optionFunc(func(c *config) { c.mode = mode })
}

// WithLimitFunc chooses the limit of each inbound message, in place of the one
// given to [Wrap] or [WrapMessages], which may be nil then. A message for which
// it returns nil is free, be it a nil [traffik.Throttle] or [traffik.Gate]. It is
// called once for each message, from the goroutine that reads. A nil function
// keeps the one limit.
func WithLimitFunc(choose func(m Message) traffik.Limiter) Option {
	return optionFunc(func(c *config) { c.choose = choose })
}

// WithMaxMessageBytes bounds the size of each inbound message to n bytes, counted after
// decompression; the default is [DefaultMaxMessageBytes], 1 MiB. A larger message is
// neither delivered nor charged. It ends the connection with status 1009, as [Close]
// does with 1008, and reads and writes return a [TooBigError] from then on. What [Delay]
// holds is dropped.
//
// Reading stops one byte above the bound if the connection has the method Reader, as that
// of coder/websocket, or NextReader, as that of gorilla/websocket. A connection without
// reads the message whole first. The read limit of the library holds besides, with an
// error of the library's: coder/websocket allows 32,768 bytes until SetReadLimit is
// called, and gorilla/websocket counts bytes before decompression. What the application
// writes is not bounded.
//
// It panics if n is below 1. Give [math.MaxInt] for no bound.
func WithMaxMessageBytes(n int) Option {
	if n < 1 {
		panic(fmt.Sprintf("traffikws: WithMaxMessageBytes(%d); accepted is 1 byte or more", n))
	}
	return optionFunc(func(c *config) { c.maxBytes = n })
}

// WithOutbound limits what the application writes, too. A message over the limit
// is not sent: under [Notify] and [CloseAfter] the write returns a [DeniedError],
// under [Drop] it returns nil, under [Delay] it blocks first, at most until the
// connection's reads have failed; a write whose context or deadline ends before its turn
// is denied at once. Once the connection was closed over the limit
// all writes return the same DeniedError, and so do reads: go on reading until then
// over gorilla/websocket, whose peer might else not see why. Notices are not counted. A nil limit,
// be it a nil [traffik.Throttle] or [traffik.Gate], keeps writes unlimited.
func WithOutbound(limit traffik.Limiter, mode Mode) Option {
	return optionFunc(func(c *config) { c.outLimit, c.outMode = limit, mode })
}

// WithNotifier sends notices through a function of the application instead of
// the connection itself, for applications with one goroutine that writes. The
// notice is a JSON text, the function's own from then on. It is called from
// Read; its error is returned there. A nil function keeps the default.
func WithNotifier(notify func(ctx context.Context, notice []byte) error) Option {
	return optionFunc(func(c *config) {
		if notify != nil {
			c.notify = notify
		}
	})
}

// WithCloser ends the connection through a function of the application, for
// libraries with a way of their own; [Close] and [CloseAfter] call it with
// status 1008, [WithMaxMessageBytes] with 1009, once for a connection, in the goroutine
// that reads or writes, and [Conn.Close] with the status it is given.
// After that nothing is read or written through the wrapper; a read that is under
// way is the function's to end. Other calls of the wrapper learn of the end when the
// function has returned, or after five seconds: it must not use the wrapper itself.
// Without it both styles of
// closing are known: Close(code, reason), as in coder/websocket, and
// WriteControl, as in gorilla/websocket. A nil function keeps them.
func WithCloser(closer func(code int, reason string) error) Option {
	return optionFunc(func(c *config) {
		if closer != nil {
			c.closer = closer
		}
	})
}

// newConfig applies opts. Limit is for messages that no function chooses for.
func newConfig(limit traffik.Limiter, notify func(context.Context, []byte) error, opts []Option) *config {
	c := &config{maxBytes: DefaultMaxMessageBytes, notify: notify}
	for i, opt := range opts {
		if opt == nil {
			panic(fmt.Sprintf("traffikws: option %d is nil; leave it out", i+1))
		}
		opt.apply(c)
	}
	if c.choose == nil {
		c.choose = always(limit)
	}
	return c
}

// close tells the peer why it is hung up on, if there is a way to. An error says that it
// is gone already, which is what was wanted.
func (c *config) close(code int, reason string) {
	if c.closer != nil {
		_ = c.closer(code, reason)
	}
}

// closeWith sets how the library closes, in one step or with finish in two,
// unless the application closes. It panics if nobody can: when the connection is
// wrapped rather than when a message is over the limit.
func (c *config) closeWith(closer func(code int, reason string) error, finish func()) {
	if c.closer == nil {
		c.closer, c.finish = closer, finish
	}
	if c.closer == nil && (c.mode.closes() || c.outMode.closes()) {
		panic("traffikws: this connection has neither Close(code, reason) nor WriteControl; give WithCloser to close it over the limit")
	}
}
