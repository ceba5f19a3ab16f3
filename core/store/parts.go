package store

import (
	"context"
	"errors"
	"slices"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// Parts takes ops that no single call of a store can take, such as those in several slots
// of a Redis Cluster. It takes them in parts, each all or nothing. If a part denies or
// fails, it refunds the draws of the others.
type Parts struct {
	// Of names the part of a key. Keys with equal names are taken together.
	Of func(key traffik.Key) any
	// Take is Take or, with peek, Peek of the ops of one part. It runs on several
	// goroutines at once.
	Take func(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool) error
	// Split reports whether a part failed with err before it did anything, and may succeed
	// if its keys are taken one by one. Nil means never.
	Split func(err error) bool
}

// part is the ops of one part.
type part struct {
	of      any
	members []int // indices in the ops of the whole
	ops     []traffik.Op
	out     []traffik.Decision
	end     ending
}

// Run takes or peeks ops. All parts draw at once. Refunds and forced charges, which nothing
// can deny, follow when all have drawn, so that they never have to be undone. A refund that
// undoes a draw is tried only once, since it may have been made even if it failed. The
// error joins those of the parts. If a part panics, Run makes the refunds and then panics
// too.
//
// Run does not return early: let it work on copies of ops and out, with a context that
// outlives the caller.
func (p Parts) Run(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool) error {
	r := &partsRun{Parts: p, ops: ops, out: out}
	again, err := r.run(ctx, peek)
	if again && r.panicked == nil {
		r.Of = func(key traffik.Key) any { return key }
		_, err = r.run(ctx, peek)
	}
	return ending{err, r.panicked}.result()
}

// partsRun is one Run. Its goroutines touch only the part that each of them takes; ops and
// out are filled when all have returned.
type partsRun struct {
	Parts
	ops      []traffik.Op
	out      []traffik.Decision
	panicked any
}

// run reports whether the whole may be taken again, key by key: a part could not be
// taken, and the others are refunded.
func (r *partsRun) run(ctx context.Context, peek bool) (again bool, err error) {
	draws, last := r.parts(func(op *traffik.Op) bool { return !sure(op) }), r.parts(sure)
	err = r.take(ctx, draws, peek)
	denied := slices.ContainsFunc(draws, (*part).denies)
	if (denied || err != nil) && !peek {
		r.refund(ctx, draws)
	}
	switch {
	case err != nil:
		return r.Split != nil && r.Split(err), err
	case !denied:
		last, err = r.takeOnce(ctx, last, peek)
		if err != nil && !peek {
			r.refund(ctx, slices.Concat(draws, last))
		}
		return false, err
	case peek:
		err = r.look(ctx, admitted(draws))
	}
	return false, errors.Join(err, r.look(ctx, last))
}

// sure reports whether nobody can deny op.
func sure(op *traffik.Op) bool { return op.Draw.Cost < 0 || op.Draw.Force }

// parts returns the parts of the ops that are wanted.
func (r *partsRun) parts(wanted func(*traffik.Op) bool) (all []*part) {
	for i := range r.ops {
		if !wanted(&r.ops[i]) {
			continue
		}
		of := r.Of(r.ops[i].Key)
		at := slices.IndexFunc(all, func(g *part) bool { return g.of == of })
		if at < 0 {
			at = len(all)
			all = append(all, &part{of: of})
		}
		all[at].add(i, r.ops[i])
	}
	return all
}

func (g *part) add(i int, op traffik.Op) {
	g.members, g.ops, g.out = append(g.members, i), append(g.ops, op), append(g.out, traffik.Decision{})
}

// pick returns the ops of g that are wanted, without answers.
func (g *part) pick(wanted func(at int) bool) *part {
	picked := &part{of: g.of}
	for at := range g.ops {
		if wanted(at) {
			picked.add(g.members[at], g.ops[at])
		}
	}
	return picked
}

// take takes or peeks parts, all at once, and notes the answers.
func (r *partsRun) take(ctx context.Context, parts []*part, peek bool) (err error) {
	var wg sync.WaitGroup
	for _, g := range parts {
		g.end = ending{err: ErrExited}
		wg.Go(func() {
			g.end = guarded(func() error { return r.Take(ctx, g.ops, g.out, peek) })
		})
	}
	wg.Wait()
	for _, g := range parts {
		if g.end.panicked != nil {
			r.panicked, g.end.err = g.end.panicked, errPanicked
		}
		if g.end.err != nil {
			err = errors.Join(err, g.end.err)
			continue
		}
		for at, i := range g.members {
			r.out[i], r.ops[i].Draw.Now = g.out[at], g.ops[at].Draw.Now
		}
	}
	return err
}

// takeOnce is take for what is not to be taken again with the whole: a part that may
// succeed key by key is, and the others are not repeated. It returns all parts then.
func (r *partsRun) takeOnce(ctx context.Context, parts []*part, peek bool) ([]*part, error) {
	if r.take(ctx, parts, peek) == nil {
		return parts, nil
	}
	var all, single []*part
	for _, g := range parts {
		if len(g.ops) == 1 || g.end.err == nil || r.Split == nil || !r.Split(g.end.err) {
			all = append(all, g)
			continue
		}
		for at := range g.ops {
			single = append(single, g.pick(func(i int) bool { return i == at }))
		}
	}
	_ = r.take(ctx, single, peek)
	all = append(all, single...)
	var err error
	for _, g := range all {
		err = errors.Join(err, g.end.err)
	}
	return all, err
}

// denies reports whether an op of g denied the whole.
func (g *part) denies() bool {
	for i := range g.ops {
		if g.end.err == nil && !g.out[i].Allowed && !g.ops[i].Advisory {
			return true
		}
	}
	return false
}

// admitted returns what was admitted of the parts that did not deny the whole: an op that
// only reports may have been denied there.
func admitted(parts []*part) (all []*part) {
	for _, g := range parts {
		if g.denies() {
			continue
		}
		if look := g.pick(func(at int) bool { return g.out[at].Allowed }); len(look.ops) > 0 {
			all = append(all, look)
		}
	}
	return all
}

// refund refunds what parts drew. What fails stays charged and is answered as charged,
// which is the truth: the units come back with time.
func (r *partsRun) refund(ctx context.Context, parts []*part) {
	var refunds []*part
	for _, g := range parts {
		if g.end.err != nil || g.denies() {
			continue
		}
		refund := g.pick(func(at int) bool { return g.out[at].Allowed && g.ops[at].Draw.Cost > 0 })
		for at, i := range refund.members {
			op := &refund.ops[at]
			*op = op.Refund(&r.out[i], op.Draw.Cost)
		}
		if len(refund.ops) > 0 {
			refunds = append(refunds, refund)
		}
	}
	_, _ = r.takeOnce(ctx, refunds, false)
}

// look answers parts as looks, which change nothing.
func (r *partsRun) look(ctx context.Context, parts []*part) error {
	for _, g := range parts {
		for i := range g.ops {
			g.ops[i].Draw.Cost = 0
		}
	}
	return r.take(ctx, parts, true)
}
