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
	if res.inProcess() && res.refundKnown(n) {
		return nil
	}
	ctx, cancel := afterwards(ctx, res.settings.memory != nil)
	defer cancel()
	f := refund{backend: res.settings.backend, ops: []Op{res.op(res.Rate()).Refund(&res.Decision, n)}}
	return f.take(ctx)
}

// inProcess reports whether an in-process store has counted r, and can refund it.
func (r *Result) inProcess() bool {
	return r.settings != nil && r.settings.memory != nil && !r.settings.memory.closed.Load()
}

// refundKnown refunds n of the units that r took in process. It reports false, and has done
// nothing, if the key has no entry any more.
func (r *Result) refundKnown(n int64) (done bool) {
	set := r.settings
	d, dec := Draw{Rate: r.Rate(), Class: r.class}, Decision{}
	d.refund(&r.Decision, n)
	return set.memory.takeKnown(Key{Scope: set.scope, ID: r.id}, set.strategy, set.counting, &d, &dec, true)
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
	all := v.refunds(everywhere)
	if len(all) == 0 {
		return nil
	}
	ctx, cancel := afterwards(ctx, all.inProcess())
	defer cancel()
	return all.take(ctx, (*refund).take)
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
	err := near.take(ctx, (*refund).take)
	if len(far) == 0 {
		cancel()
		return err
	}
	ended := make(chan error, 1)
	run := func() {
		defer underway.Add(-1)
		defer cancel()
		ended <- far.take(ctx, (*refund).takeGuarded)
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

// refund is what one backend refunds with one call. It shares nothing with the results
// that it was made from.
type refund struct {
	backend Backend
	ops     []Op
	out     []Decision
	charges []*charge // of the ops
	indexes []int     // of their results
}

// refunds are those of one use, one for each backend.
type refunds []refund

func everywhere(*settings) bool    { return true }
func inProcess(set *settings) bool { return set.memory != nil }
func remote(set *settings) bool    { return set.memory == nil }

// refunds returns what refunds the charges of v on the backends at such settings, in the
// order in which they were charged. From now on nobody else refunds them.
func (v Verdict) refunds(at func(*settings) bool) (all refunds) {
	for i := range v.len() {
		set := v.settings(i)
		if set == nil || !at(set) {
			continue
		}
		r := v.result(i)
		if set.counting != nil && r.inProcess() && r.claim() && r.refundKnown(r.cost) {
			continue
		}
		all = all.add(i, r)
	}
	return all
}

// add adds the refund of r, result i, if its charge is the caller's to refund.
func (all refunds) add(i int, r Result) refunds {
	if !r.claim() {
		return all
	}
	op := r.op(r.Rate()).Refund(&r.Decision, r.cost)
	k := slices.IndexFunc(all, func(f refund) bool { return f.fits(r.settings.backend, op.Key) })
	if k < 0 {
		k, all = len(all), append(all, refund{backend: r.settings.backend})
	}
	f := &all[k]
	f.ops, f.charges, f.indexes = append(f.ops, op), append(f.charges, r.charge), append(f.indexes, i)
	return all
}

// inProcess reports whether no refund is for a store that may be slow.
func (all refunds) inProcess() bool {
	return !slices.ContainsFunc(all, func(f refund) bool {
		_, in := f.backend.(*Memory)
		return !in
	})
}

// take has each refund taken.
func (all refunds) take(ctx context.Context, take func(*refund, context.Context) error) error {
	var errs []error
	for i := range all {
		errs = append(errs, take(&all[i], ctx))
	}
	return errors.Join(errs...)
}

// fits reports whether an op on key can be part of f: the keys of one call are
// distinct, and two throttles of one request may share one.
func (f *refund) fits(backend Backend, key Key) bool {
	return f.backend == backend && !slices.ContainsFunc(f.ops, func(op Op) bool { return op.Key == key })
}

// take refunds. After an error, or a panic of the backend, nobody knows what was refunded.
func (f *refund) take(ctx context.Context) (err error) {
	f.out = make([]Decision, len(f.ops))
	done := false
	defer func() {
		for _, c := range f.charges {
			if !done {
				c.set(fateLost)
			}
		}
	}()
	if err = f.backend.Take(ctx, f.ops, f.out); err != nil {
		_, err = storeError(ctx, err)
	}
	done = err == nil
	return err
}

// takeGuarded is take where a panic would end the process.
func (f *refund) takeGuarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("traffik: the backend panicked: %v", p)
		}
	}()
	return f.take(ctx)
}
