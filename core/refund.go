package traffik

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Refund refunds n of the units that res took, on the backend, key and rate that it took
// them under, whatever has changed since. It restores what the draw still holds: nothing
// that has expired, leaked or, in a queue, started. It does nothing for a result that took
// nothing, that repeats an outer use (see [Limiter]), or whose verdict was refunded by
// [Verdict.Refund]. It does not remember how much was refunded: make sure that your calls
// don't add up to more than res took.
//
// Refund ignores the end of ctx and has its own bound of five seconds. The error wraps
// [ErrUsage] if n is below 0 or above the cost of res, or if res is of another throttle.
// It wraps [ErrBackend] if the store failed or was too slow; the store may then have made
// the refund or not.
func (t *Throttle) Refund(ctx context.Context, res Result, n int64) error {
	if _, err := t.use(ctx); err != nil {
		return err
	}
	switch {
	case n < 0 || n > res.cost && res.fate() == fateTaken:
		return fmt.Errorf("%w: Refund of %d units; accepted is 0 to the %d that were taken", ErrUsage, n, res.cost)
	case res.settings == nil || res.settings.owner != t:
		return fmt.Errorf("%w: Refund on throttle %q of a result of %q; give one of its own", ErrUsage, t.UID(), res.UID())
	case n == 0 || res.fate() != fateTaken || res.refundKnown(n):
		return nil
	}
	ctx, cancel := afterwards(ctx, res.settings.memory != nil)
	defer cancel()
	f := refund{backend: res.settings.backend, ops: []Op{res.op(res.Rate()).Refund(&res.Decision, n)}}
	return f.take(ctx)
}

// refundKnown refunds n of the units that r took if the in-process store still has the key.
// Otherwise it reports false and has done nothing.
func (r *Result) refundKnown(n int64) (done bool) {
	set := r.settings
	if set.memory == nil || set.memory.closed.Load() {
		return false
	}
	d, dec := Draw{Rate: r.Rate(), Class: r.class}, Decision{}
	d.refund(&r.Decision, n)
	return set.memory.takeKnown(Key{Scope: set.scope, ID: r.id}, set.strategy, set.counting, &d, &dec, true)
}

// Refund refunds all that v has charged, with one call of each backend: use it for a request
// that should not count after all. It restores what each draw still holds, as
// [Throttle.Refund] does, and does nothing for results that charged nothing or that repeat
// an outer use (see [Limiter]). All copies of v are Uncharged from then on. A second call
// does nothing, even a concurrent one, and a later use of the same request is decided anew.
//
// Refund ignores the end of ctx and has its own bound of five seconds. The errors of the
// backends wrap [ErrBackend] and are joined. A charge whose refund failed stays Admitted and
// is not refunded again, because the backend may have made the refund.
func (v Verdict) Refund(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	all := v.refunds()
	if all.empty() {
		return nil
	}
	ctx, cancel := afterwards(ctx, len(all.far) == 0)
	defer cancel()
	return errors.Join(takeEach(ctx, all.near, (*refund).take), takeEach(ctx, all.far, (*refund).take))
}

// RefundWithin is [Verdict.Refund] for callers that must not wait long for a slow store: it
// returns after wait at the latest. A refund that takes longer goes on in the background for
// up to five seconds. It counts as Uncharged unless it fails, and its error is lost.
// RefundWithin always waits for in-process stores. While a thousand refunds of the process
// run in the background, it waits for all stores, so that a store that hangs does not
// collect more and more of them. If a backend other than an in-process one panics, the panic
// is returned as an error.
func (v Verdict) RefundWithin(ctx context.Context, wait time.Duration) error {
	if ctx == nil {
		return errNoContext
	}
	all := v.refunds()
	if all.empty() {
		return nil
	}
	ctx, cancel := afterwards(ctx, len(all.far) == 0)
	err := takeEach(ctx, all.near, (*refund).take)
	if len(all.far) == 0 {
		cancel()
		return err
	}
	ended := make(chan error, 1)
	run := func() {
		defer underway.Add(-1)
		defer cancel()
		ended <- takeEach(ctx, all.far, (*refund).takeGuarded)
	}
	if underway.Add(1) > maxUnderway {
		run()
	} else {
		go run()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case late := <-ended:
		return errors.Join(err, late)
	case <-timer.C:
		return err
	}
}

// underway counts the refunds in the background, which take a few kilobytes each.
var underway atomic.Int64

const maxUnderway = 1000

// refunds are those of one use: one for each backend, as a rule.
type refunds struct {
	near, far []refund // of stores in process, and of others
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

func (all *refunds) empty() bool { return len(all.near)+len(all.far) == 0 }

// refunds returns what refunds the charges of v, in the order of charging. Nobody else
// refunds them from now on. What stores in process count in integers is refunded at once.
func (v Verdict) refunds() (all refunds) {
	for i := range v.n {
		r := v.result(i)
		if !r.claim() || r.settings.counting != nil && r.refundKnown(r.cost) {
			continue
		}
		all.add(i, &r)
	}
	return all
}

// add adds the refund of r, result i, whose charge the caller has claimed.
func (all *refunds) add(i int, r *Result) {
	list := &all.far
	if r.settings.memory != nil {
		list = &all.near
	}
	op := r.op(r.Rate()).Refund(&r.Decision, r.cost)
	k := slices.IndexFunc(*list, func(f refund) bool { return f.fits(r.settings.backend, op.Key) })
	if k < 0 {
		k, *list = len(*list), append(*list, refund{backend: r.settings.backend})
	}
	f := &(*list)[k]
	f.ops, f.charges, f.indexes = append(f.ops, op), append(f.charges, r.charge), append(f.indexes, i)
}

// fits reports whether an op on key can be part of f: the keys of one call are distinct,
// and two throttles of one request may share a key.
func (f *refund) fits(backend Backend, key Key) bool {
	return f.backend == backend && !slices.ContainsFunc(f.ops, func(op Op) bool { return op.Key == key })
}

// take makes the refund. After an error, or a panic of the backend, the charges are lost.
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

// takeGuarded is take in the background, where a panic would end the process.
func (f *refund) takeGuarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("traffik: the backend panicked: %v", p)
		}
	}()
	return f.take(ctx)
}

func takeEach(ctx context.Context, list []refund, take func(*refund, context.Context) error) error {
	var errs []error
	for i := range list {
		errs = append(errs, take(&list[i], ctx))
	}
	return errors.Join(errs...)
}
