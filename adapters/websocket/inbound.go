package traffikws

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// inbound decides for each message read whether it is delivered. One goroutine
// at a time uses it, as every library asks of its readers.
type inbound struct {
	lane
	config  *config
	life    *life
	ahead   *readAhead
	told    told
	current atomic.Pointer[passage] // the message whose turn it is between two calls; whoever swaps it out owns it
	drained bool                    // what came after the close frame
}

func newInbound(from *sender, c *config, reader *messageReader, l *life) *inbound {
	reader.max, reader.life, reader.config = c.maxBytes, l, c
	in := &inbound{config: c, life: l, ahead: newReadAhead(reader.read, l, c.mode.hold > 0)}
	in.lane = lane{meter: newMeter(from, c.choose), mode: c.mode, pause: in.pauseReading}
	l.forfeit = func() { in.forfeit(context.Background()) }
	return in
}

// forfeitPatience is how long a close waits for the refund of the message that it ends; a
// store that takes longer finishes by itself.
const forfeitPatience = 50 * time.Millisecond

// forfeit refunds the message whose turn it is, if no read is at work on it.
func (in *inbound) forfeit(ctx context.Context) {
	if p := in.current.Swap(nil); p != nil {
		p.refundBy(func(v traffik.Verdict) error { return v.RefundWithin(ctx, forfeitPatience) })
	}
}

// keep leaves a message to the next read, unless the connection ends meanwhile.
func (in *inbound) keep(p *passage) {
	in.current.Store(p)
	in.life.settle()
}

func (in *inbound) pauseReading(ctx context.Context, t time.Time) error {
	in.ahead.start(ctx)
	defer in.ahead.stop()
	return pause(ctx, t, in.life.lost)
}

// next returns the next message that is to be handed to the application.
func (in *inbound) next(ctx context.Context) (Message, error) {
	for {
		if err := in.over(ctx); err != nil {
			return Message{}, err
		}
		p := in.current.Swap(nil)
		if p == nil {
			m, err := in.ahead.next(ctx)
			if denied := in.over(ctx); denied != nil {
				return Message{}, denied
			}
			if err != nil {
				return m, err
			}
			if in.deaf() {
				continue
			}
			p = in.enter(m)
			if last, closed := in.lastCall(); closed {
				p.endBy(last)
			}
		}
		m := p.message
		deliver, err := in.deliver(ctx, p)
		if err != nil && in.life.denied() != nil {
			continue // over drains first
		}
		if deliver || err != nil {
			return m, err
		}
		if ctx.Err() != nil { // while the message was judged: nothing is read with it
			return Message{}, context.Cause(ctx)
		}
	}
}

// deaf reports whether messages are read for nothing but what comes after them:
// the application closes, and the peer has yet to answer.
func (in *inbound) deaf() bool { return in.mode.hold > 0 && in.life.hasLeft() }

// lastCall reports until when the messages of a peer that has closed are
// delivered, and whether it has closed.
func (in *inbound) lastCall() (t time.Time, closed bool) {
	at, closed := in.life.closed()
	return at.Add(max(in.mode.hold, DefaultMaxDelay)), closed
}

// over returns why nothing is delivered any more, or not with ctx. What waits
// goes with the connection, or once the application closes, but what came before a
// close of the peer's has until the last call.
func (in *inbound) over(ctx context.Context) error {
	in.ahead.carryPanic()
	if in.life.hasEnded() {
		in.drain(ctx)
	}
	err := in.life.denied()
	switch {
	case err != nil:
	case in.mode.hold == 0:
		return nil // the library knows
	default:
		err = in.life.failure()
		if last, closed := in.lastCall(); err == nil && !in.deaf() || closed && now().Before(last) {
			return context.Cause(ctx)
		}
	}
	if p := in.current.Swap(nil); p != nil {
		p.refund(ctx)
	}
	if err == nil { // not read yet
		return context.Cause(ctx)
	}
	return err
}

// gone reports whether the connection has ended in a way that takes along even what is
// admitted: unless the peer has closed it.
func (in *inbound) gone() bool {
	if in.life.denied() != nil {
		return true
	}
	_, closed := in.life.closed()
	return in.mode.hold > 0 && in.life.why() != nil && !closed
}

// deliver reports whether p is to be handed to the application, and does what the
// mode asks for if it is not. A message that is undecided when ctx or the connection
// ends becomes the current one.
func (in *inbound) deliver(ctx context.Context, p *passage) (bool, error) {
	admitted, err := in.admit(ctx, p)
	switch {
	case errors.Is(err, errOver), admitted && in.gone():
		in.current.Store(p)
		return false, nil // next sees why
	case err != nil && ctx.Err() != nil:
		in.keep(p)
		return false, err
	}
	switch {
	case err != nil:
		return false, err
	case admitted:
		in.told.admitted(p.verdict, now())
		return true, nil
	case in.ends(p.verdict):
		in.life.end(p.verdict, func() {
			in.config.close(policyViolation, overLimitReason)
			in.drain(ctx)
		})
		return false, nil
	case in.mode.silent || in.told.knows(p, now()) || in.life.why() != nil:
		return false, nil
	}
	in.told.tell(p, now())
	return false, in.config.notify(ctx, notice(p.wait))
}

// drain reads what comes after the close frame of a [controller], until the peer
// has answered or its time is over: a connection closed with messages unread is
// reset, and the peer might never see why. Then the end is told.
func (in *inbound) drain(ctx context.Context) {
	if in.drained || in.config.finish == nil {
		return
	}
	in.drained = true
	for err := error(nil); err == nil; {
		_, err = in.ahead.next(context.WithoutCancel(ctx))
	}
	in.config.finish()
	in.life.hasTold()
}
