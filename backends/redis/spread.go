package traffikredis

import (
	"context"
	"errors"
	"slices"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
)

// group is the ops of one slot in a Take that spans several.
type group struct {
	where   slot
	members []int // indices in the ops of the whole
	ops     []traffik.Op
	out     []traffik.Decision
	err     error
}

// spread decides ops that lie in several slots. It goes on by itself when ctx
// ends: what was drawn is refunded exactly once whoever waits for it.
func (b *Backend) spread(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool, how parting) error {
	s := &spreading{backend: b, ops: slices.Clone(ops), out: make([]traffik.Decision, len(ops)), peek: peek, parting: how}
	ctx, cancel := context.WithTimeoutCause(ctx, roundTripTimeout, errLate)
	defer cancel()
	if err := b.leaving(ctx, func() error { return s.run(context.WithoutCancel(ctx)) }); err != nil {
		return err
	}
	for i := range ops {
		ops[i].Draw.Now = s.ops[i].Draw.Now
	}
	copy(out, s.out)
	return nil
}

// errPanicked stands for a panic until what was drawn is refunded.
var errPanicked = errors.New("traffikredis: a strategy panicked")

// parting is what is decided on its own: the ops of a slot or, while a slot moves
// from one server to another and its keys lie at both, those of a key.
type parting bool

const (
	slotApart parting = false
	keyApart  parting = true
)

type spreading struct {
	backend *Backend
	parting
	ops  []traffik.Op
	out  []traffik.Decision
	peek bool
	// panicked is what a strategy panicked with, else nil.
	panicked any
}

// run draws first in all slots at once, each slot all or nothing. If one
// denies or fails, the others refund what they drew. Units are refunded to
// keys of ops, which nobody can take away again, and taken by force, of which a
// bucket refunds no more than it holds, only when all have drawn.
func (s *spreading) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	err := s.draw(ctx)
	if s.panicked != nil {
		panic(s.panicked)
	}
	return err
}

func (s *spreading) draw(ctx context.Context) error {
	sure := func(op *traffik.Op) bool { return op.Draw.Cost < 0 || op.Draw.Force }
	draws, last := s.groups(func(op *traffik.Op) bool { return !sure(op) }), s.groups(sure)
	err := s.decide(ctx, draws, s.peek)
	stopped := slices.ContainsFunc(draws, (*group).stops)
	if (stopped || err != nil) && !s.peek {
		s.undo(ctx, draws)
	}
	switch {
	case err != nil:
		return err
	case !stopped:
		if last, err = s.decideOnce(ctx, last, s.peek); err != nil && !s.peek {
			s.undo(ctx, slices.Concat(draws, last))
		}
		return err
	case s.peek:
		err = s.look(ctx, admitted(draws))
	}
	return errors.Join(err, s.look(ctx, last))
}

// decideOnce is decide for what is not to be done again with the whole: while the keys
// of a group lie at two servers, it goes key by key, and the others not again. The
// groups that it returns are those that were decided.
func (s *spreading) decideOnce(ctx context.Context, groups []*group, peek bool) ([]*group, error) {
	err := s.decide(ctx, groups, peek)
	if err == nil {
		return groups, nil
	}
	var decided, apart []*group
	for _, g := range groups {
		if len(g.ops) == 1 || !goredis.HasErrorPrefix(g.err, tryAgain) {
			decided = append(decided, g)
			continue
		}
		for at := range g.ops {
			apart = append(apart, g.pick(func(i int) bool { return i == at }))
		}
	}
	_ = s.decide(ctx, apart, peek)
	decided, err = append(decided, apart...), nil
	for _, g := range decided {
		err = errors.Join(err, g.err)
	}
	return decided, err
}

// pick returns the ops of g that are wanted, as a group without answers.
func (g *group) pick(wanted func(at int) bool) *group {
	picked := &group{where: g.where}
	for at := range g.ops {
		if wanted(at) {
			picked.members, picked.ops = append(picked.members, g.members[at]), append(picked.ops, g.ops[at])
		}
	}
	picked.out = make([]traffik.Decision, len(picked.ops))
	return picked
}

// admitted returns what is admitted of the groups that did not stop the whole: an op
// that only reports may have been denied there.
func admitted(groups []*group) []*group {
	var all []*group
	for _, g := range groups {
		if g.stops() {
			continue
		}
		if look := g.pick(func(at int) bool { return g.out[at].Allowed }); len(look.ops) > 0 {
			all = append(all, look)
		}
	}
	return all
}

// groups returns the ops that are of the kind wanted, by slot.
func (s *spreading) groups(wanted func(*traffik.Op) bool) []*group {
	var all []*group
	for i := range s.ops {
		if !wanted(&s.ops[i]) {
			continue
		}
		where := s.backend.slotOfKey(s.ops[i].Key)
		at := slices.IndexFunc(all, func(g *group) bool {
			return g.where == where && (s.parting == slotApart || g.ops[0].Key == s.ops[i].Key)
		})
		if at < 0 {
			at = len(all)
			all = append(all, &group{where: where})
		}
		all[at].members = append(all[at].members, i)
		all[at].ops = append(all[at].ops, s.ops[i])
	}
	for _, g := range all {
		g.out = make([]traffik.Decision, len(g.ops))
	}
	return all
}

// decide takes or peeks groups, all at once, and notes the answers.
func (s *spreading) decide(ctx context.Context, groups []*group, peek bool) error {
	var wg sync.WaitGroup
	ends := make([]outcome, len(groups))
	for i, g := range groups {
		wg.Go(func() {
			ends[i] = guarded(func() error { return s.backend.decideAt(ctx, g.where, g.ops, g.out, peek) })
		})
	}
	wg.Wait()
	var err error
	for i, g := range groups {
		if g.err = ends[i].err; ends[i].panicked != nil {
			s.panicked, g.err = ends[i].panicked, errPanicked
		}
		if g.err != nil {
			g.err = typed(g.err)
			err = errors.Join(err, g.err)
			continue
		}
		for at, i := range g.members {
			s.out[i], s.ops[i].Draw.Now = g.out[at], g.ops[at].Draw.Now
		}
	}
	return err
}

// stops reports whether an op of g denied the whole.
func (g *group) stops() bool {
	for i := range g.ops {
		if g.err == nil && !g.out[i].Allowed && !g.ops[i].Advisory {
			return true
		}
	}
	return false
}

// undo refunds, once, what was drawn. A refund that fails is not tried again:
// it may have been taken; the units come back with time.
func (s *spreading) undo(ctx context.Context, groups []*group) {
	var back []*group
	for _, g := range groups {
		if g.err != nil || g.stops() {
			continue
		}
		refund := g.pick(func(at int) bool { return g.out[at].Allowed && g.ops[at].Draw.Cost > 0 })
		for at, i := range refund.members {
			op := &refund.ops[at]
			*op = op.Refund(&s.out[i], op.Draw.Cost)
		}
		if len(refund.ops) > 0 {
			back = append(back, refund)
		}
	}
	// What fails here stays charged and is answered as charged, which is the truth.
	_, _ = s.decideOnce(context.WithoutCancel(ctx), back, false)
}

// look answers groups as looks, which change nothing.
func (s *spreading) look(ctx context.Context, groups []*group) error {
	for _, g := range groups {
		for i := range g.ops {
			g.ops[i].Draw.Cost = 0
		}
	}
	return s.decide(ctx, groups, true)
}
