package traffikmemcached

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
)

// undoTimeout bounds giving back what was charged. It does not depend on the
// caller, who may be gone.
const undoTimeout = 5 * time.Second

// errConflict says that an item was changed, or went, after it had been read.
var errConflict = errors.New("changed by another process")

// take is one Take or Peek: its own copy of the ops, since the caller may have
// left, and what is known of their items.
type take struct {
	b       *Backend
	ops     []traffik.Op
	names   []string
	entries []entry
	states  [][]byte
	changes []traffik.Change
	out     []traffik.Decision
	charged []bool // units of ops[i] were taken and not given back
	queued  atomic.Bool
}

func (b *Backend) newTake(ops []traffik.Op) *take {
	n := len(ops)
	t := &take{
		b:       b,
		ops:     append([]traffik.Op(nil), ops...),
		names:   make([]string, n),
		entries: make([]entry, n),
		states:  make([][]byte, n),
		changes: make([]traffik.Change, n),
		out:     make([]traffik.Decision, n),
		charged: make([]bool, n),
	}
	for i := range ops {
		t.names[i] = itemKey(b.namespace, ops[i].Key)
	}
	return t
}

// look decides and writes nothing.
func (t *take) look(ctx context.Context) error { return t.decide(ctx) }

// run decides, and writes all that was decided or, in the end, nothing. Where
// others are at work on a key it looks before it queues up: denials of a flood
// write nothing, and don't wait for each other.
func (t *take) run(ctx context.Context) error {
	unlock, free := t.b.locks.tryLock(t.names)
	if !free {
		changes, err := t.lookAhead(ctx)
		if err != nil || !changes {
			return err
		}
		t.queued.Store(true)
		unlock, err = t.b.locks.lock(ctx, t.names)
		if err != nil {
			return err // without a turn: whoever tells the caller finds it still queued
		}
		t.queued.Store(false)
	}
	defer unlock()
	done := false
	defer func() {
		if !done { // also when a strategy panics
			t.giveBack()
		}
	}()
	err := attempt(ctx, func() error {
		if err := t.decide(ctx); err != nil {
			return err
		}
		return t.drawFirm(ctx)
	})
	if err == nil {
		err = t.writeRest(ctx)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx) // who asked has left: better now, with the keys still locked
	}
	done = err == nil
	return err
}

// lookAhead decides and reports whether anything would have to be written.
func (t *take) lookAhead(ctx context.Context) (changes bool, err error) {
	t.queued.Store(true)
	leave, err := t.b.locks.look(ctx, t.names[0])
	if err != nil {
		return false, err
	}
	t.queued.Store(false)
	defer leave()
	if err := t.decide(ctx); err != nil {
		return false, err
	}
	return slices.ContainsFunc(t.changes, func(c traffik.Change) bool { return c.Write || c.Delete }), nil
}

// decide reads all items at once and decides at one reading of the clock.
func (t *take) decide(ctx context.Context) error {
	if len(t.ops) == 0 {
		return nil
	}
	if err := t.b.fetch(ctx, t.names, t.entries); err != nil {
		return err
	}
	for i := range t.entries {
		t.states[i] = t.entries[i].state
	}
	traffik.DecideAll(t.b.clock.Now(), t.ops, t.states, t.out, t.changes)
	return nil
}

// drawFirm writes the draws that another process's can make impossible: in
// order, and if one can't be written those before it are given back.
func (t *take) drawFirm(ctx context.Context) error {
	if t.denied() {
		return nil
	}
	for i := range t.ops {
		if !t.firm(i) {
			continue
		}
		if err := t.write(ctx, i); err != nil {
			t.giveBack() // what follows may begin anew
			return err
		}
		t.charged[i] = true
	}
	return nil
}

// writeRest writes what nobody can make impossible, so that it is written once
// and never taken back: charges by force, gifts, healed states, and advisory
// draws, which may turn into denials.
func (t *take) writeRest(ctx context.Context) error {
	for i := range t.ops {
		if t.firm(i) && !t.denied() {
			continue
		}
		if err := t.writeOne(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// writeOne writes the change of an op, decided anew whenever it comes too late.
func (t *take) writeOne(ctx context.Context, i int) error {
	return attempt(ctx, func() error {
		err := t.write(ctx, i)
		switch takes := t.takes(i); {
		case err == nil:
			t.charged[i] = takes && t.ops[i].Draw.Cost > 0
			return nil
		case !errors.Is(err, errConflict):
			return err
		case !takes:
			return nil // who changed the item healed it too
		}
		if err := t.redecide(ctx, i); err != nil {
			return err
		}
		return errConflict
	})
}

// redecide reads and decides one op again, at the reading of before.
func (t *take) redecide(ctx context.Context, i int) error {
	if err := t.b.fetch(ctx, t.names[i:i+1], t.entries[i:i+1]); err != nil {
		return err
	}
	t.states[i] = t.entries[i].state
	traffik.DecideAll(t.ops[i].Draw.Now, t.ops[i:i+1], t.states[i:i+1], t.out[i:i+1], t.changes[i:i+1])
	return nil
}

// denied reports whether the whole Take is.
func (t *take) denied() bool {
	for i := range t.ops {
		if !t.out[i].Allowed && !t.ops[i].Advisory {
			return true
		}
	}
	return false
}

// firm reports whether ops[i] decides on the fate of the others.
func (t *take) firm(i int) bool {
	op := &t.ops[i]
	return op.Draw.Cost > 0 && !op.Draw.Force && !op.Advisory
}

// takes reports whether the change of ops[i] moves units, and does not only
// heal.
func (t *take) takes(i int) bool {
	return t.ops[i].Draw.Cost != 0 && t.out[i].Allowed && !t.denied()
}

// write stores the change of ops[i], if it has one and the item is as it was
// read.
func (t *take) write(ctx context.Context, i int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	change, e := &t.changes[i], &t.entries[i]
	switch {
	case change.Write:
		if len(change.State) > t.b.maxState {
			return fmt.Errorf("%w: memcached: %s wrote a state of %d bytes; an item holds at most %d",
				traffik.ErrBackend, t.ops[i].Strategy.ID(), len(change.State), t.b.maxState)
		}
		keep := t.out[i].ResetAfter + t.b.maxSkew
		return t.b.swap(t.names[i], e, change.State, expiration(max(keep, t.out[i].ResetAfter), wallSeconds()))
	case change.Delete && e.item != nil:
		return t.b.swap(t.names[i], e, nil, atOnce)
	}
	return nil
}

// swap stores state where e was read, or returns errConflict.
func (b *Backend) swap(name string, e *entry, state []byte, expiration int32) error {
	item := &memcache.Item{Key: name, Value: e.value(state), Expiration: expiration}
	var err error
	if e.item == nil {
		err = b.client.Add(item)
	} else {
		item.CasID = e.item.CasID
		err = b.client.CompareAndSwap(item)
	}
	return stored(err)
}

// stored is what the client's answer to an add or a swap means.
func stored(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, memcache.ErrNotStored), errors.Is(err, memcache.ErrCASConflict), errors.Is(err, memcache.ErrCacheMiss):
		return errConflict
	}
	return failed(err)
}

// undo gives back what a Take charged whose caller was told that it failed.
func (t *take) undo() {
	if !slices.Contains(t.charged, true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	if unlock, err := t.b.locks.lock(ctx, t.names); err == nil {
		defer unlock()
	} // else among others that draw: a gift that collides is tried again
	t.giveBack()
}

// giveBack gives back what was charged, each op once: a gift of which nobody
// knows whether it arrived is not repeated, and one that was lost runs out with
// time. The names are locked.
func (t *take) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	for i := range t.ops {
		if !t.charged[i] {
			continue
		}
		t.charged[i] = false
		gift := traffik.RefundOp(t.ops[i], &t.out[i], t.ops[i].Draw.Cost)
		// A strategy that panics here must not keep the other charges.
		_ = guarded(ctx, func(ctx context.Context) error {
			t.b.giveOnce(ctx, gift)
			return nil
		})
	}
}

// giveOnce writes a gift, however many other writers come in between. The caller
// is told why the Take failed, and not whether this did.
func (b *Backend) giveOnce(ctx context.Context, gift traffik.Op) {
	for {
		err := b.newTake([]traffik.Op{gift}).give(ctx)
		if !errors.Is(err, traffik.ErrContention) { // after which nothing is written
			return
		}
	}
}

// give writes a single gift.
func (t *take) give(ctx context.Context) error {
	if err := t.decide(ctx); err != nil {
		return err
	}
	return t.writeRest(ctx)
}
