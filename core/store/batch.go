package store

import (
	"context"
	"errors"
	"slices"

	traffik "github.com/traffik-go/traffik/core"
)

// batch is a group of calls that are decided together: it reads all their keys, decides
// one call after the other, and writes once. Without [MultiWriter], a batch of several keys
// has one call.
type batch struct {
	ctx     context.Context // ends when the last caller has left
	cancel  context.CancelCauseFunc
	calls   []*call
	gone    int // calls whose caller has left; guarded by keyLocks.mu
	entries []*Entry
	now     traffik.Instant // the time of the last read
	live    []*call         // calls of the last decision: their callers wait, no strategy panicked
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

// entry returns the entry of key, and makes one if b has none.
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

// write writes the entries that change. After ErrConflict nothing is written, and b has to
// be decided again.
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
		c := b.calls[0]
		written := false
		defer func() {
			if !written { // also when the store panics
				s.refund(c.refunds())
			}
		}()
		err = b.writeEach(ctx, s, c)
		written = err == nil
		return err
	}
	if err == nil {
		for _, c := range b.live {
			c.charge()
		}
	}
	return err
}

// writeEach writes the entries of a call one after the other. Draws that another process
// can make impossible come first. If one of them can't be written, the caller refunds
// those before it, and a conflict starts the call over. Forced charges, refunds and
// advisory draws, which can turn into denials, come last: nobody can make them
// impossible, so each is retried alone and never undone.
func (b *batch) writeEach(ctx context.Context, s *Backend, c *call) error {
	if c.denied() { // only repairs are left, and one that comes too late isn't needed
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

// writeOne writes one entry of the only call of b, unless its caller has ended the context.
// The caller may not have left yet.
func (b *batch) writeOne(ctx context.Context, s *Backend, e *Entry) error {
	caller := b.calls[0].ctx
	switch {
	case !e.changed():
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case caller.Err() != nil:
		return context.Cause(caller)
	}
	return s.store.Write(ctx, e)
}

// redecide reads and decides one op of c again, at the time of the first decision.
func (b *batch) redecide(ctx context.Context, s *Backend, c *call, i int) error {
	e := c.entries[i]
	if _, err := s.store.Read(ctx, []*Entry{e}); err != nil {
		return err
	}
	e.begin(b.now)
	return c.decide(i, i+1, b.now, s.quiet)
}
