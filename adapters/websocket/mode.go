package traffikws

import "time"

// DefaultMaxDelay is how long [Delay] holds one message unless told otherwise:
// less than peers usually wait for a pong.
const DefaultMaxDelay = 10 * time.Second

// Mode is what becomes of a message over the limit. The zero Mode is [Notify].
type Mode struct {
	silent     bool
	hold       time.Duration // how long a message may wait for its turn
	violations int           // how many end the connection; 0 for none
}

// Notify drops the message and tells the sender: a peer by a notice, once for a
// burst of denials, which ends when a message is admitted or the announced wait is
// over, and never twice within [NoticeInterval]; the application, for an outbound message, by a [DeniedError].
func Notify() Mode { return Mode{} }

// Drop drops the message and tells nobody.
func Drop() Mode { return Mode{silent: true} }

// Delay holds the message until the limit admits it, for at most so long from its
// turn on; with 0 or less, [DefaultMaxDelay]. Time that the store takes counts, but a
// call that is under way at the end is not broken off. What would have to wait longer is treated as by
// [Notify]. It also keeps the distances that a queueing strategy asks for; a
// place in its queue that is further back than the bound is refunded. Bounds of wrappers around wrappers add up: each holds the message
// for itself. Several limits over one connection are one [traffik.All].
//
// Inbound messages stay in order, and while one is held the next are read ahead,
// so that pings, pongs and closes among them are seen. Up to 256 messages, or
// 64 KiB and the message that goes beyond, are kept; then reading stops until the
// hold is over, and the peer's writes block, its pings among them. So a connection takes at
// most 64 KiB and four times [WithMaxMessageBytes] of memory.
//
// When the peer closes, what it had sent before is still delivered, each message in
// its turn, and then the error of the close; after the longer of that bound and
// [DefaultMaxDelay] in all what is left is dropped. Otherwise the held message and
// those read ahead go with the connection: once reading has failed, because the peer
// is gone, or the application closes by [Conn.Close], [Conn.CloseNow],
// [MessageConn.WriteControl] or [MessageConn.Close], they are neither charged nor
// delivered, and reads return the error of the connection. Close through the
// wrapper: a close frame that the application sends past it is answered by the peer,
// and the wrapper can't tell that answer from a close of the peer's own. Then what
// was read ahead is still delivered and charged, as above, even after the connection
// beneath is closed. When the context of a Read ends while a message is held, the
// message is the next Read's, with what is left of its wait, and not charged again; its
// charge is refunded if the connection ends instead. A write whose context or deadline
// ends before its turn is not held but denied at once.
//
// For gorilla/websocket and others with handlers and read deadlines: reading
// ahead is done by a goroutine of the wrapper's, one at a time, and a read that it
// has begun goes on after ReadMessage has returned, until a message comes. So
// handlers of pings, pongs and closes may run there at any time, and must share
// nothing with the application without a lock; a panic of theirs goes on in the
// next ReadMessage. And a read deadline runs on while a message is held or worked
// on: move it in the handler of pongs, or leave it more time than both take; one
// that runs out ends the connection.
func Delay(most time.Duration) Mode {
	if most <= 0 {
		most = DefaultMaxDelay
	}
	return Mode{hold: most}
}

// Close ends the connection with status 1008 (policy violation) at the first
// message over the limit; it is CloseAfter(1).
func Close() Mode { return CloseAfter(1) }

// CloseAfter treats messages over the limit as [Notify] does, and ends the
// connection with status 1008 (policy violation) at the n-th of its life. Each
// direction has a count of its own, with an n of its own: what the application has
// written is not held against the peer. Nor is a message that is stopped because
// the store failed. An n below 1 counts as 1.
func CloseAfter(n int) Mode { return Mode{violations: max(1, n)} }

func (m Mode) closes() bool { return m.violations > 0 }
