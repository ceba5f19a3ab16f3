package traffikws

import (
	"context"
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// lane is one direction of a connection: what its messages are charged to and
// what becomes of those over the limit. It is safe for concurrent use if its
// parts are.
type lane struct {
	meter *Meter
	mode  Mode
	// pause waits until a time; the inbound lane reads ahead meanwhile.
	pause      func(ctx context.Context, t time.Time) error
	violations atomic.Int64
}

// minRetry is the least time between two attempts to charge a message that others
// have overtaken, so that many held messages don't hammer the store. The first
// wait is the announced one.
const minRetry = 20 * time.Millisecond

// passage is one message on its way through a lane. Under [Delay] it may be
// interrupted and go on later.
type passage struct {
	message  Message
	gate     *traffik.Gate // what it is charged to, nil if it is free
	verdict  traffik.Verdict
	charged  bool          // it is admitted and, once its hold is over, through
	wait     time.Duration // until it would be admitted, if it is denied
	denier   string        // the throttle that denies it, "" if a store has failed
	deadline time.Time     // no hold goes on beyond it
	until    time.Time     // the end of its latest hold, the zero time if there was none
}

func (l *lane) enter(m Message) *passage {
	return &passage{message: m, gate: l.meter.gateOf(m), deadline: now().Add(l.mode.hold)}
}

// admit charges a message, and under [Delay] waits until that can be done. It
// reports whether the message is admitted; an error, that of [Meter.Allow] or of
// the pause, leaves that open.
func (l *lane) admit(ctx context.Context, p *passage) (bool, error) {
	for {
		if p.until.After(now()) {
			if err := l.pause(ctx, p.until); err != nil {
				return false, err
			}
		}
		if p.charged {
			return true, nil
		}
		v, err := l.meter.charge(ctx, p.message, p.gate)
		if err != nil {
			return false, err
		}
		if !p.judged(v, l.mode) {
			p.denier = denierOf(v)
			p.refund(ctx)
			return false, nil
		}
	}
}

// judged notes a verdict, and until when to hold the message. It reports false
// if the message is denied: a store that failed knows no wait, and one that
// ends beyond the deadline, as Never does, is not begun. The time that the store took
// counts, too, but what it has admitted is not stopped for that.
func (p *passage) judged(v traffik.Verdict, mode Mode) bool {
	p.verdict, p.charged = v, v.Allowed()
	p.wait = v.RetryAfter()
	at := now()
	left := max(0, p.deadline.Sub(at))
	switch {
	case p.charged && mode.hold == 0:
		return true
	case p.charged && v.Delay() > left:
		p.wait = v.Delay() - left // then the rest is within the bound
		return false
	case p.charged:
		p.wait = v.Delay()
	case p.wait == 0 || p.wait > left:
		return false
	case !p.until.IsZero():
		p.wait = max(p.wait, min(minRetry, left))
	}
	p.until = at.Add(p.wait)
	return true
}

// denierOf returns the name of the throttle that stands in the way: of one whose queue is
// too long if v admits, and none if a store has failed.
func denierOf(v traffik.Verdict) string {
	if v.Failed() {
		return ""
	}
	denier := v.Tightest()
	for _, r := range v.Results() {
		if v.Allowed() && r.Delay == v.Delay() {
			denier = r
		}
	}
	return denier.UID()
}

// endBy has no hold of the message go on beyond t.
func (p *passage) endBy(t time.Time) {
	if t.Before(p.deadline) {
		p.deadline = t
	}
}

// refund refunds what was charged for a message that is not let through, whether or
// not ctx has ended. A store that fails keeps it, which no caller can help.
func (p *passage) refund(ctx context.Context) {
	p.refundBy(func(v traffik.Verdict) error { return v.Refund(ctx) })
}

func (p *passage) refundBy(refund func(traffik.Verdict) error) {
	if p.charged {
		p.charged = false
		_ = refund(p.verdict)
	}
}

// ends reports whether the denial v is the one that ends the connection.
func (l *lane) ends(v traffik.Verdict) bool {
	return l.mode.closes() && !v.Failed() && l.violations.Add(1) >= int64(l.mode.violations)
}
