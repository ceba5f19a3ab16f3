package traffikws

import (
	"context"
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// DefaultMaxDelay is how long [Delay] holds a message at most if you give it no bound. Peers
// usually wait longer for a pong.
const DefaultMaxDelay = 10 * time.Second

// Mode decides what happens to a message over the limit. The zero Mode is [Notify].
type Mode struct {
	silent     bool
	hold       time.Duration // the bound of Delay, else 0
	violations int           // how many end the connection, 0 for none
}

// Notify drops the message and tells the sender. For an inbound message a notice tells the peer,
// once per burst of denials and never twice within [NoticeInterval]. A burst ends when a message is
// admitted or the announced wait is over. For an outbound message the write returns a
// [DeniedError].
func Notify() Mode { return Mode{} }

// Drop drops the message silently.
func Drop() Mode { return Mode{silent: true} }

// Delay holds the message until the limit admits it, for at most the given time after the messages
// before it are done; 0 or less means [DefaultMaxDelay]. The time that the store takes is part of
// the bound, but a call of the store is not cut short. A message that would have to wait longer is
// treated as by [Notify]. Delay also waits as long as a queueing strategy asks for, and refunds a
// draw whose turn is beyond the bound. Limits of wrappers around wrappers hold one after the
// other; join them with [traffik.All] instead.
//
// Inbound messages stay in order. While one is held, the next ones are read ahead, so that pings,
// pongs and closes among them are seen. Up to 256 messages or 64 KiB, and the message that exceeds
// this, are kept. Then reading stops until the hold is over, and the peer's writes block, its pings
// included. So a connection takes at most 64 KiB and four times [WithMaxMessageBytes] of memory.
//
// When the peer closes, the messages that it sent before are still delivered, each in its turn, and
// then the error of the close. Messages left after the longer of the bound and [DefaultMaxDelay] are
// dropped. When the connection breaks, or you close it by [Conn.Close], [Conn.CloseNow],
// [MessageConn.WriteControl] or [MessageConn.Close], the held message and those read ahead are
// dropped uncharged. Reads then return the error of the connection. Close through the wrapper. If
// you close the connection beneath, the wrapper can't tell the peer's answer from a close by the
// peer: messages read ahead are then delivered and charged as above, even after the connection
// beneath is closed.
//
// When the context of a Read ends while a message is held, the next Read continues with the message
// and the rest of its wait, and doesn't charge it again. If the connection ends instead, the charge
// is refunded. A write whose context or deadline ends before its turn is denied at once.
//
// A goroutine of the wrapper reads ahead, and its read continues after ReadMessage has returned,
// until a message comes. That matters with gorilla/websocket and other libraries that have handlers
// and read deadlines. So handlers of pings, pongs and closes may run there at any time: share
// nothing with them without a lock. A panic in a handler continues in the next ReadMessage. A read
// deadline also runs while a message is held or processed, and ends the connection: move it in the
// handler of pongs, or make it longer than both take.
func Delay(most time.Duration) Mode {
	if most <= 0 {
		most = DefaultMaxDelay
	}
	return Mode{hold: most}
}

// Close ends the connection with status 1008 (policy violation) at the first message over the
// limit. It is CloseAfter(1).
func Close() Mode { return CloseAfter(1) }

// CloseAfter treats messages over the limit as [Notify] does, and ends the connection with status
// 1008 (policy violation) at the n-th of them. Each direction has a separate count and n, for the
// whole life of the connection: messages that the application writes are not held against the
// peer. Messages stopped by a failure of the store don't count. An n below 1 counts as 1.
func CloseAfter(n int) Mode { return Mode{violations: max(1, n)} }

// Option configures [Wrap] and [WrapMessages].
type Option interface {
	apply(c *config)
}

type optionFunc func(c *config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	mode     Mode
	maxBytes int // of an inbound message
	limit    traffik.Limiter
	choose   func(Message) traffik.Limiter // instead of limit, unless it is nil
	outLimit traffik.Limiter
	outMode  Mode
	notify   func(ctx context.Context, notice []byte) error
	closer   func(code int, reason string) error
	finish   func() // closes what closer has ended, after the peer's answer; nil if closer does
}

// WithMode sets what happens to inbound messages over the limit. The default is [Notify].
func WithMode(mode Mode) Option {
	return optionFunc(func(c *config) { c.mode = mode })
}

// WithLimitFunc chooses the limit of each inbound message, in place of the limit given to [Wrap] or
// [WrapMessages], which may then be nil. A message is free if choose returns nil, or a nil
// [traffik.Throttle] or [traffik.Gate]. Choose is called once for each message, in the goroutine
// that reads. A nil function keeps the one limit. If choose returns a zero Throttle or Gate,
// the read fails with an error that wraps [traffik.ErrUsage].
func WithLimitFunc(choose func(m Message) traffik.Limiter) Option {
	return optionFunc(func(c *config) { c.choose = choose })
}

// WithMaxMessageBytes limits the size of inbound messages to n bytes, counted after decompression.
// The default is [DefaultMaxMessageBytes], 1 MiB; [math.MaxInt] means no bound. It panics if n is
// below 1.
//
// A larger message is neither delivered nor charged. It ends the connection with status 1009, as
// [Close] does with 1008, From then on, reads and writes return a [TooBigError], and messages held
// by [Delay] are dropped.
//
// Reading stops one byte above the bound if the connection has the method Reader, as coder/websocket
// does, or NextReader, as gorilla/websocket does. Otherwise the message is read whole first. The
// library's read limit applies too, with the library's error: coder/websocket allows 32,768 bytes
// until you call SetReadLimit, and gorilla/websocket counts bytes before decompression. Messages
// that the application writes are not bounded.
func WithMaxMessageBytes(n int) Option {
	if n < 1 {
		panic(fmt.Sprintf("traffikws: WithMaxMessageBytes(%d); accepted is 1 byte or more", n))
	}
	return optionFunc(func(c *config) { c.maxBytes = n })
}

// WithOutbound limits what the application writes. Notices are not counted. A nil limit, or a nil
// [traffik.Throttle] or [traffik.Gate], leaves writes unlimited.
//
// A message over the limit is not sent. Under [Notify] and [CloseAfter] the write returns a
// [DeniedError], under [Drop] nil. Under [Delay] the write blocks first, at most until a read of the
// connection fails; a write whose context or deadline ends before its turn is denied at once. Once
// the connection was closed over the limit, all writes and reads return the same DeniedError. With
// gorilla/websocket, go on reading until they do, or else the peer might not see the reason.
func WithOutbound(limit traffik.Limiter, mode Mode) Option {
	return optionFunc(func(c *config) { c.outLimit, c.outMode = limit, mode })
}

// WithNotifier sends notices through notify instead of the connection. Give it if one goroutine of
// the application does all writes. The notice is a JSON text that notify may keep. Read calls notify
// and returns its error. A nil function keeps the default.
func WithNotifier(notify func(ctx context.Context, notice []byte) error) Option {
	return optionFunc(func(c *config) {
		if notify != nil {
			c.notify = notify
		}
	})
}

// WithCloser ends the connection through closer. Give it for libraries that have neither
// Close(code, reason), like coder/websocket, nor WriteControl, like gorilla/websocket. A nil
// function keeps the library's method.
//
// [Close] and [CloseAfter] call closer with status 1008 and [WithMaxMessageBytes] with 1009, once
// per connection, in the goroutine that reads or writes; [Conn.Close] calls it with the status that
// it is given. From then on the wrapper neither reads nor writes; a read under way is for closer to
// end. Other calls of the wrapper return when closer has returned, or after five seconds. So closer
// must not use the wrapper.
func WithCloser(closer func(code int, reason string) error) Option {
	return optionFunc(func(c *config) {
		if closer != nil {
			c.closer = closer
		}
	})
}

func newConfig(limit traffik.Limiter, notify func(context.Context, []byte) error, opts []Option) *config {
	c := &config{maxBytes: DefaultMaxMessageBytes, limit: limit, notify: notify}
	for i, opt := range opts {
		if opt == nil {
			panic(fmt.Sprintf("traffikws: option %d is nil; leave it out", i+1))
		}
		opt.apply(c)
	}
	return c
}

// closeWith sets how the library closes, unless the application does: in one step or, with finish,
// in two. It panics if a mode needs a way to close and there is none, rather than at the first
// message over the limit.
func (c *config) closeWith(closer func(code int, reason string) error, finish func()) {
	if c.closer == nil {
		c.closer, c.finish = closer, finish
	}
	if c.closer == nil && (c.mode.violations > 0 || c.outMode.violations > 0) {
		panic("traffikws: this connection has neither Close(code, reason) nor WriteControl; give WithCloser to close it over the limit")
	}
}
