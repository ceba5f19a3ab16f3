package traffik

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// gift is what one backend is given back with one call. It shares nothing with the
// results that it was made from.
type gift struct {
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

// gifts returns what gives the charges of v back on the backends at such settings,
// in the order in which they were charged. From now on nobody else does.
func (v Verdict) gifts(at func(*settings) bool) []gift {
	var gifts []gift
	for i := range v.results {
		r := &v.results[i]
		if r.settings == nil || !at(r.settings) || !r.claim() {
			continue
		}
		op := r.refundOp(r.cost)
		k := slices.IndexFunc(gifts, func(g gift) bool { return g.takes(r.settings.backend, op.Key) })
		if k < 0 {
			k, gifts = len(gifts), append(gifts, gift{backend: r.settings.backend})
		}
		gifts[k].ops = append(gifts[k].ops, op)
		gifts[k].charges, gifts[k].places = append(gifts[k].charges, r.charge), append(gifts[k].places, i)
	}
	return gifts
}

// takes reports whether an op on key can be part of g: the keys of one call are
// distinct, and two throttles of one request may share one.
func (g *gift) takes(backend Backend, key Key) bool {
	return g.backend == backend && !slices.ContainsFunc(g.ops, func(op Op) bool { return op.Key == key })
}

// give gives back. After an error, or a panic of the backend, nobody knows what was.
func (g *gift) give(ctx context.Context) {
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
func allInProcess(gifts []gift) bool {
	return !slices.ContainsFunc(gifts, func(g gift) bool {
		_, in := g.backend.(*Memory)
		return !in
	})
}

func giveAll(ctx context.Context, gifts []gift) error {
	var errs []error
	for i := range gifts {
		gifts[i].give(ctx)
		errs = append(errs, gifts[i].err)
	}
	return errors.Join(errs...)
}

// giveAllGuarded is giveAll where a panic would end the process.
func giveAllGuarded(ctx context.Context, gifts []gift) error {
	var errs []error
	for i := range gifts {
		func() {
			defer func() { errs = append(errs, gifts[i].err) }()
			defer func() {
				if p := recover(); p != nil {
					gifts[i].err = fmt.Errorf("traffik: the backend panicked: %v", p)
				}
			}()
			gifts[i].give(ctx)
		}()
	}
	return errors.Join(errs...)
}
