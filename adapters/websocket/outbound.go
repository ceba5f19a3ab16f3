package traffikws

import (
	"context"
	"errors"
	"time"
)

// outbound decides for each message that the application writes whether it is
// sent. A nil outbound sends all.
type outbound struct {
	lane
	life   *life
	config *config
}

func newOutbound(from *sender, c *config, l *life) *outbound {
	if isNil(c.outLimit) {
		return nil
	}
	out := &outbound{life: l, config: c}
	out.lane = lane{meter: newMeter(from, always(c.outLimit)), mode: c.outMode, pause: out.hold}
	return out
}

// hold ends with the first end of any kind: nobody reads what is written then.
func (out *outbound) hold(ctx context.Context, t time.Time) error {
	return pause(ctx, t, out.life.over)
}

// send reports whether m is to be written. Otherwise the error is what the
// application gets. A message whose turn comes after the end of ctx, or after the
// deadline of the write unless that is zero, is denied without waiting for either.
func (out *outbound) send(ctx context.Context, m Message, deadline time.Time) (bool, error) {
	if out == nil {
		return true, nil
	}
	p := out.enter(m)
	if !deadline.IsZero() {
		p.endBy(deadline)
	}
	if end, ok := ctx.Deadline(); ok {
		p.endBy(end)
	}
	admitted, err := out.admit(ctx, p)
	if denied := out.life.denied(); denied != nil { // whatever the store says meanwhile
		p.refund(ctx)
		return false, denied
	}
	switch {
	case errors.Is(err, errOver):
		p.refund(ctx)
		return false, out.life.why()
	case err != nil:
		p.refund(ctx)
		return false, err
	case admitted:
		return true, nil
	case out.mode.silent:
		return false, nil
	case out.ends(p.verdict):
		out.life.end(p.verdict, func() { out.config.close(policyViolation, overLimitReason) })
		return false, out.life.denied()
	}
	return false, &DeniedError{Verdict: p.verdict}
}
