package store

import (
	"context"
	"errors"
	"slices"

	traffik "github.com/traffik-go/traffik/core"
)

// batch is calls that are decided together: one read of all their keys, one decision
// after the other, one write. In a store without [MultiWriter] a batch of several keys has
// one call.
type batch struct {
	ctx     context.Context // ends when no caller waits any more
	cancel  context.CancelCauseFunc
	calls   []*call
	gone    int // calls whose caller has left; guarded by keyLocks.mu
	entries []*Entry
	now     traffik.Instant // the time of the last read
	live    []*call         // those decided last; the callers of others have left
	end     ending
}

func newBatch(first *call) *batch {
	b := &batch{}
	b.ctx, b.cancel = context.WithCancelCause(context.WithoutCancel(first.ctx))
	return b
}

func (b *batch) add(c *call) {
	for i := range c.ops {
		c.entries[i] = b.entry(c.ops[i].Key)
	}
	c.batch = b
	b.calls = append(b.calls, c)
}

// entry returns that of key, a new one if b has none.
func (b *batch) entry(key traffik.Key) *Entry {
	for _, e := range b.entries {
		if e.Key == key {
			return e
		}
	}
	e := &Entry{Key: key}
	b.entries = append(b.entries, e)
	return e
}

func (b *batch) keys() []traffik.Key {
	keys := make([]traffik.Key, len(b.entries))
	for i, e := range b.entries {
		keys[i] = e.Key
	}
	return keys
}

// run decides the calls of b and writes what they change.
func (b *batch) run(ctx context.Context, s *Backend) error {
	return Retry(ctx, func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var err error
		if b.now, err = s.store.Read(ctx, b.entries); err != nil {
			return err
		}
		s.decide(b)
		return b.write(ctx, s)
	})
}

// write writes the entries that change. It returns ErrConflict if nothing
// is written and b has to be decided anew.
func (b *batch) write(ctx context.Context, s *Backend) (err error) {
	switch {
	case !slices.ContainsFunc(b.entries, (*Entry).changed):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.multi != nil:
		err = s.multi.WriteAll(ctx, b.entries)
	case len(b.entries) == 1:
		err = s.store.Write(ctx, b.entries[0])
	default:
		return b.writeEach(ctx, s, b.calls[0])
	}
	if err == nil {
		for _, c := range b.live {
			c.charge()
		}
	}
	return err
}

// writeEach writes the entries of a call one after the other. First come the draws that
// another process can make impossible: if one can't be written, those before it are
// refunded, and a conflict lets the whole begin anew. Then comes what nobody can make
// impossible, so that it is written once and never undone: charges by force, refunds, and
// advisory draws, which may turn into denials.
func (b *batch) writeEach(ctx context.Context, s *Backend, c *call) (err error) {
	defer func() {
		if err != nil {
			s.refund(c.refunds())
		}
	}()
	if c.denied() { // repairs are left: one that comes too late isn't needed
		for _, e := range c.entries {
			if err := b.writeOne(ctx, s, e); err != nil && !errors.Is(err, ErrConflict) {
				return err
			}
		}
		return nil
	}
	var rest []int
	for i, e := range c.entries {
		op := &c.ops[i]
		if op.Draw.Cost <= 0 || op.Draw.Force || op.Advisory {
			rest = append(rest, i)
			continue
		}
		if err := b.writeOne(ctx, s, e); err != nil {
			return err
		}
		c.charged[i] = true
	}
	for _, i := range rest {
		err := Retry(ctx, func() error {
			err := b.writeOne(ctx, s, c.entries[i])
			if errors.Is(err, ErrConflict) {
				if err := b.redecide(ctx, s, c, i); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		c.charged[i] = c.draws(i)
	}
	return nil
}

func (b *batch) writeOne(ctx context.Context, s *Backend, e *Entry) error {
	switch {
	case !e.changed():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return s.store.Write(ctx, e)
}

// redecide reads and decides one op of c again, at the time of before.
func (b *batch) redecide(ctx context.Context, s *Backend, c *call, i int) error {
	e := c.entries[i]
	if _, err := s.store.Read(ctx, []*Entry{e}); err != nil {
		return err
	}
	e.begin(b.now)
	return c.decide(i, i+1, b.now, s.quiet)
}
