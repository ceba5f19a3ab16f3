package traffik

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Refund gives back all that v has charged, for a request whose outcome is not
// to count, with one call of each backend. What comes back is what each draw still
// holds, as with [Throttle.Refund]. Results that charged nothing, and those
// that repeat an outer use (see [Limiter]), are left alone. Like [Throttle.Refund]
// it runs on a context detached from ctx's end, with a bound of five seconds in all.
// What was given back is Uncharged from then on: a second call does nothing, and a
// later use of the same request is judged anew. The errors of the backends,
// which wrap [ErrBackend], are joined. What failed counts as charged, and is not refunded again either: the
// backend may have taken it. For verdicts on requests it is safe for concurrent use.
func (v Verdict) Refund(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	gifts := v.gifts(everywhere)
	ctx, cancel := afterwards(ctx, allInProcess(gifts))
	defer cancel()
	return giveAll(ctx, gifts)
}

// RefundWithin is [Verdict.Refund] for callers that a slow store must not hold up:
// it returns after wait at the latest. What is under way then goes on by itself, for
// Refund's five seconds at most: it is Uncharged from then on unless it fails, and
// the error is lost. In-process backends are waited for. So are all while a thousand
// refunds of the process are under way, so that a store that hangs does not gather
// ever more of them. A panic of a backend that may be slow is an error.
func (v Verdict) RefundWithin(ctx context.Context, wait time.Duration) error {
	if ctx == nil {
		return errNoContext
	}
	near, far := v.gifts(inProcess), v.gifts(remote)
	ctx, cancel := afterwards(ctx, len(far) == 0)
	err := giveAll(ctx, near)
	if len(far) == 0 {
		cancel()
		return err
	}
	ended := make(chan error, 1)
	give := func() {
		defer underway.Add(-1)
		defer cancel()
		ended <- giveAllGuarded(ctx, far)
	}
	if underway.Add(1) > maxUnderway {
		give()
	} else {
		go give()
	}
	return errors.Join(err, endWithin(ended, wait))
}

// underway counts the refunds that run beside their requests, at a few kilobytes
// each.
var underway atomic.Int64

const maxUnderway = 1000

// endWithin is what ended says, or nil after wait.
func endWithin(ended <-chan error, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return nil
	}
}
