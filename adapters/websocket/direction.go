package traffikws

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// direction is one direction of a connection: it knows the limit of its messages and the mode
// for those over the limit.
type direction struct {
	meter      *Meter
	mode       Mode
	closing    *closeState
	ahead      *readAhead // of an inbound direction under Delay, else nil
	violations atomic.Int64
}

// pending is a message that is not yet delivered or sent. Under Delay its read may end first; the
// next read takes it.
type pending struct {
	message  Message
	limit    traffik.Limiter // what it is charged to, nil if it is free
	verdict  traffik.Verdict
	charged  bool          // admitted, and not refunded
	wait     time.Duration // until it would be admitted, if it is denied
	deadline time.Time     // of all holds, under Delay
	until    time.Time     // the end of the latest hold, zero if there was none
}

// enter makes m pending. Its holds end at the first of ends; a zero time is none.
func (d *direction) enter(m Message, ends ...time.Time) *pending {
	p := &pending{message: m, limit: d.meter.limitOf(m)}
	if d.mode.hold > 0 {
		p.deadline = now().Add(d.mode.hold)
		for _, end := range ends {
			if !end.IsZero() && end.Before(p.deadline) {
				p.deadline = end
			}
		}
	}
	return p
}

// admit charges a message, and under Delay waits until that succeeds. It reports whether the
// message is admitted. An error, from the store or of the wait, leaves that undecided.
func (d *direction) admit(ctx context.Context, p *pending) (bool, error) {
	for {
		if d.mode.hold > 0 && p.until.After(now()) {
			if err := d.pause(ctx, p.until); err != nil {
				return false, err
			}
		}
		if p.charged {
			return true, nil
		}
		v, err := d.meter.charge(ctx, p.message, p.limit)
		if err != nil {
			return false, err
		}
		p.verdict, p.charged = v, v.Allowed()
		if p.charged && d.mode.hold == 0 {
			return true, nil
		}
		p.wait = v.RetryAfter()
		if d.mode.hold == 0 || !p.hold() {
			p.refund(ctx)
			return false, nil
		}
	}
}

// refundPatience is how long a call waits for a refund. A slower store finishes by itself.
const refundPatience = 50 * time.Millisecond

// refund refunds the charge for a message that is not delivered, whether or not ctx has
// ended. If the store fails, the charge stays, and no caller could change that.
func (p *pending) refund(ctx context.Context) {
	if p.charged {
		p.charged = false
		_ = p.verdict.RefundWithin(ctx, refundPatience)
	}
}

// ends reports whether the denial v ends the connection, and counts it.
func (d *direction) ends(v traffik.Verdict) bool {
	return d.mode.violations > 0 && !v.Failed() && d.violations.Add(1) >= int64(d.mode.violations)
}

// send reports whether to send m, which the application writes. If not, the application gets the
// error. A message that would wait beyond the end of ctx or a deadline that is not zero is denied
// at once.
func (d *direction) send(ctx context.Context, m Message, deadline time.Time) (bool, error) {
	end, _ := ctx.Deadline()
	p := d.enter(m, end, deadline)
	admitted, err := d.admit(ctx, p)
	if errors.Is(err, errOver) {
		err = d.closing.why()
	}
	if denied := d.closing.denied(); denied != nil { // whatever the store says
		err = denied
	}
	if err != nil {
		p.refund(ctx)
	}
	if err != nil || admitted || d.mode.silent {
		return admitted && err == nil, err
	}
	if !d.ends(p.verdict) {
		return false, &DeniedError{Verdict: p.verdict}
	}
	d.closing.end(&DeniedError{Verdict: p.verdict, Closed: true}, policyViolation, overLimitReason, false)
	return false, d.closing.denied() // perhaps of another end
}

// inbound decides for each message read whether it is delivered. One goroutine at a time reads, as
// every library requires.
type inbound struct {
	direction
	read     func(ctx context.Context) (Message, error) // the next message, or the error of the connection
	notify   func(ctx context.Context, notice []byte) error
	notices  noticeLog
	kept     atomic.Pointer[pending] // that no read works on; the call that swaps it out owns it
	lastCall time.Time               // the end of delivery after the peer's close under Delay, zero before
}

// next returns the next message that is admitted.
func (in *inbound) next(ctx context.Context) (Message, error) {
	for {
		if err := in.ended(ctx); err != nil {
			return Message{}, err
		}
		p := in.kept.Swap(nil)
		if p == nil {
			m, err := in.read(ctx)
			switch {
			case isClosed(in.closing.lost):
				continue // ended says why
			case err != nil:
				return m, err
			}
			p = in.enter(m, in.lastCall)
		}
		admitted, err := in.admit(ctx, p)
		switch {
		case isClosed(in.closing.lost):
			p.refund(ctx)
			continue
		case err != nil && ctx.Err() != nil:
			if in.kept.Store(p); isClosed(in.closing.lost) { // nobody else has refunded it
				in.refundKept()
			}
			return p.message, err
		case err != nil:
			return p.message, err
		case admitted:
			in.notices.admitted(p.verdict)
			return p.message, nil
		case in.ends(p.verdict):
			in.closing.end(&DeniedError{Verdict: p.verdict, Closed: true}, policyViolation, overLimitReason, in.closing.finish != nil)
			continue
		case in.mode.silent || isClosed(in.closing.over) || !in.notices.due(p):
		default:
			if err := in.notify(ctx, notice(p.wait)); err != nil && !isClosed(in.closing.lost) {
				return p.message, err
			}
		}
		if ctx.Err() != nil && !isClosed(in.closing.lost) { // nothing is read with it
			return Message{}, context.Cause(ctx)
		}
	}
}

// ended returns why nothing more is delivered, or nothing under ctx. Pending messages are lost
// with the connection or when the application closes it. Messages that came before a close of the
// peer are delivered until the last call.
func (in *inbound) ended(ctx context.Context) error {
	if isClosed(in.closing.over) {
		if v := in.closing.panicked.Swap(nil); v != nil {
			panic(*v) // which the application's server may recover from
		}
		c := in.closing.known()
		if c.ended != nil {
			// If the library doesn't wait for the peer's answer itself, read up to it: the system
			// resets a connection that is closed with messages unread, and the peer might never see the
			// close frame.
			for in.closing.finish != nil && in.closing.known().failed == nil {
				_, _ = in.read(context.WithoutCancel(ctx))
			}
			return in.closing.denied()
		}
		in.lastCall = time.Time{}
		if !c.peerClosedAt.IsZero() {
			in.lastCall = c.peerClosedAt.Add(max(in.mode.hold, DefaultMaxDelay))
		}
		if in.mode.hold > 0 && c.failed != nil && !now().Before(in.lastCall) {
			in.refundKept()
			return c.failed
		}
	}
	if in.mode.hold > 0 {
		return context.Cause(ctx)
	}
	return nil // the library knows
}

// refundKept drops the message that is left to the next read, and refunds it.
func (in *inbound) refundKept() {
	if p := in.kept.Swap(nil); p != nil {
		p.refund(context.Background())
	}
}
