package traffik

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Refund gives n of the units back that res took, on the backend, key and rate
// it took them under, whatever has been changed since. What comes back is what the
// draw still holds: nothing that has expired, leaked or, in a queue, started. A result that took none,
// as one that repeats an outer use (see [Limiter]), or whose units
// [Verdict.Refund] has given back, is left alone; of a plain key that is known only to
// results read after that. A Result does not remember what was refunded: see to it
// that calls don't add up to more than it took. It runs on a context detached from
// ctx's end, with its own bound of five seconds. The error wraps [ErrUsage] for an n below 0 or above
// the cost of res, or a result of another throttle, and else [ErrBackend]: the store failed or
// was too slow, and nobody knows whether it has taken the units back.
func (t *Throttle) Refund(ctx context.Context, res Result, n int64) error {
	if err := t.loaded().misused(ctx); err != nil {
		return err
	}
	switch {
	case n < 0 || n > res.cost && res.charged():
		return fmt.Errorf("%w: Refund of %d units; accepted is 0 to the %d that were taken", ErrUsage, n, res.cost)
	case res.settings == nil || res.settings.owner != t:
		return fmt.Errorf("%w: Refund on throttle %q of a result of %q; give one of its own", ErrUsage, t.UID(), res.UID())
	case n == 0 || !res.charged():
		return nil
	}
	ctx, cancel := afterwards(ctx, res.settings.memory != nil)
	defer cancel()
	_, err := res.refund(ctx, n)
	return err
}

// refund refunds n of the units that r took and returns how the key stands then.
func (r *Result) refund(ctx context.Context, n int64) (Decision, error) {
	ops, out := []Op{r.refundOp(n)}, make([]Decision, 1)
	err := r.settings.backend.Take(ctx, ops, out)
	if err != nil {
		_, err = storeError(ctx, err)
	}
	return out[0], err
}

// refundOp is the refund of n of the units that r took.
func (r *Result) refundOp(n int64) Op {
	op := Op{
		Key:      Key{Scope: r.settings.scope, ID: r.id},
		Strategy: r.settings.strategy,
		Draw:     Draw{Rate: r.Rate(), Class: r.class},
	}
	return op.Refund(&r.Decision, n)
}

// Refund gives back all that v has charged, for a request whose outcome is not
// to count, with one call of each backend. What comes back is what each draw still
// holds, as with [Throttle.Refund]. Results that charged nothing, and those
// that repeat an outer use (see [Limiter]), are left alone. Like [Throttle.Refund]
// it runs on a context detached from ctx's end, with a bound of five seconds in all.
// What was given back is Uncharged from then on: a second call does nothing, and a
// later use of the same request is decided anew. The errors of the backends,
// which wrap [ErrBackend], are joined. What failed counts as charged, and is not refunded again either: the
// backend may have taken it. For verdicts on requests it is safe for concurrent use.
func (v Verdict) Refund(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	refunds := v.refunds(everywhere)
	ctx, cancel := afterwards(ctx, allInProcess(refunds))
	defer cancel()
	return refundAll(ctx, refunds)
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
	near, far := v.refunds(inProcess), v.refunds(remote)
	ctx, cancel := afterwards(ctx, len(far) == 0)
	err := refundAll(ctx, near)
	if len(far) == 0 {
		cancel()
		return err
	}
	ended := make(chan error, 1)
	run := func() {
		defer underway.Add(-1)
		defer cancel()
		ended <- refundAllGuarded(ctx, far)
	}
	if underway.Add(1) > maxUnderway {
		run()
	} else {
		go run()
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

// refund is what one backend is given back with one call. It shares nothing with the
// results that it was made from.
type refund struct {
	backend Backend
	ops     []Op
	out     []Decision
	charges []*charge // of the ops
	places  []int     // of their results
	err     error
}

func everywhere(*settings) bool    { return true }
func inProcess(set *settings) bool { return set.memory != nil }
func remote(set *settings) bool    { return set.memory == nil }

// refunds returns what gives the charges of v back on the backends at such settings,
// in the order in which they were charged. From now on nobody else does.
func (v Verdict) refunds(at func(*settings) bool) []refund {
	var refunds []refund
	for i := range v.results {
		r := &v.results[i]
		if r.settings == nil || !at(r.settings) || !r.claim() {
			continue
		}
		op := r.refundOp(r.cost)
		k := slices.IndexFunc(refunds, func(g refund) bool { return g.takes(r.settings.backend, op.Key) })
		if k < 0 {
			k, refunds = len(refunds), append(refunds, refund{backend: r.settings.backend})
		}
		refunds[k].ops = append(refunds[k].ops, op)
		refunds[k].charges, refunds[k].places = append(refunds[k].charges, r.charge), append(refunds[k].places, i)
	}
	return refunds
}

// takes reports whether an op on key can be part of g: the keys of one call are
// distinct, and two throttles of one request may share one.
func (g *refund) takes(backend Backend, key Key) bool {
	return g.backend == backend && !slices.ContainsFunc(g.ops, func(op Op) bool { return op.Key == key })
}

// take refunds. After an error, or a panic of the backend, nobody knows what was.
func (g *refund) take(ctx context.Context) {
	g.err = errUnfinished
	g.out = make([]Decision, len(g.ops))
	defer func() {
		if g.err == nil {
			return
		}
		for _, c := range g.charges {
			c.set(fateLost)
		}
	}()
	if g.err = g.backend.Take(ctx, g.ops, g.out); g.err != nil {
		_, g.err = storeError(ctx, g.err)
	}
}

// allInProcess reports whether no refund is for a store that may be slow.
func allInProcess(refunds []refund) bool {
	return !slices.ContainsFunc(refunds, func(g refund) bool {
		_, in := g.backend.(*Memory)
		return !in
	})
}

func refundAll(ctx context.Context, refunds []refund) error {
	var errs []error
	for i := range refunds {
		refunds[i].take(ctx)
		errs = append(errs, refunds[i].err)
	}
	return errors.Join(errs...)
}

// refundAllGuarded is refundAll where a panic would end the process.
func refundAllGuarded(ctx context.Context, refunds []refund) error {
	var errs []error
	for i := range refunds {
		func() {
			defer func() { errs = append(errs, refunds[i].err) }()
			defer func() {
				if p := recover(); p != nil {
					refunds[i].err = fmt.Errorf("traffik: the backend panicked: %v", p)
				}
			}()
			refunds[i].take(ctx)
		}()
	}
	return errors.Join(errs...)
}
