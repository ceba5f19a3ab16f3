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
	"github.com/traffik-go/traffik/core/store"
)

// undoTimeout bounds refunding what was charged, besides the request that is under
// way then. It does not depend on the caller, who may be gone.
const undoTimeout = 5 * time.Second

// errConflict says that an item was changed, or went, after it had been read.
var errConflict = errors.New("changed by another process")

// take is one Take or Peek: its own copy of the ops, since the caller may have
// left, and what is known of their items.
type take struct {
	b       *Backend
	own     traffik.Instant // this server's reading of its clock
	ops     []traffik.Op    // each at its item's time, see decideRead
	names   []string
	entries []entry
	states  [][]byte
	changes []store.Change
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
		changes: make([]store.Change, n),
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
// others are at work on a key it looks before it queues up: denials write nothing,
// and don't wait for each other.
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
			t.giveBackNow()
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
	return slices.ContainsFunc(t.changes, func(c store.Change) bool { return c.Write || c.Delete }), nil
}

// decide reads all items at once, and the clock, and decides.
func (t *take) decide(ctx context.Context) error {
	if len(t.ops) == 0 {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := t.b.fetch(ctx, t.names, t.entries); err != nil {
		return err
	}
	t.own = t.b.clock.Now().Add(0) // within what an Instant may be
	t.decideRead(ctx, 0, len(t.ops))
	return nil
}

// decideRead decides the ops from first up to end over their entries, each at its item's
// time: the clock's, or the stamp if that is later, by however much. So one key's time
// never goes back, and no server's clock counts as time that passed for another. What
// is decided to be written takes units or gives them back. Nothing is ever repaired:
// no state lies ahead of its stamp.
func (t *take) decideRead(ctx context.Context, first, end int) {
	for i := first; i < end; i++ {
		t.states[i] = t.entries[i].state
		t.ops[i].Draw.Now = max(t.own, t.entries[i].stamp)
		t.b.watchClocks(ctx, &t.ops[i], t.own)
	}
	store.DecideAll(t.ops[first:end], t.states[first:end], t.out[first:end], t.changes[first:end])
	denied := t.denied()
	for i := first; i < end; i++ {
		if c := &t.changes[i]; denied || !t.out[i].Allowed || t.ops[i].Draw.Cost == 0 {
			c.Write, c.Delete = false, false
		}
	}
}

// told is the answer to ops[i] as of the caller's present: the waits count from this
// server's own time, which may lie before the item's.
func (t *take) told(i int) traffik.Decision {
	dec := t.out[i]
	gap := t.ops[i].Draw.Now.Sub(t.own)
	if gap <= 0 {
		return dec
	}
	if dec.RetryAfter > 0 && dec.RetryAfter != traffik.Never {
		// The item is gone by then, whoever's clock it was that ran ahead.
		gone := after(dec.ResetAfter, t.b.maxSkew+goneAfter)
		dec.RetryAfter = min(after(dec.RetryAfter, gap), max(dec.RetryAfter, gone))
	}
	dec.ResetAfter, dec.Ahead = after(dec.ResetAfter, gap), gap
	return dec
}

// after is d and then more, stopping at 2^53 µs as all waits do.
func after(d, more time.Duration) time.Duration {
	const longest = traffik.MaxUnits * time.Microsecond
	return min(d, longest-min(more, longest)) + min(more, longest)
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
			t.giveBackNow() // what follows may begin anew
			return err
		}
		t.charged[i] = true
	}
	return nil
}

// writeRest writes what nobody can make impossible, so that it is written once
// and never taken back: charges by force, refunds, and advisory draws, which may turn
// into denials.
func (t *take) writeRest(ctx context.Context) error {
	for i := range t.ops {
		if t.firm(i) {
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
		if err == nil {
			t.charged[i] = t.changes[i].Write && t.ops[i].Draw.Cost > 0
			return nil
		}
		if !errors.Is(err, errConflict) {
			return err
		}
		if err := t.redecide(ctx, i); err != nil {
			return err
		}
		return errConflict
	})
}

// redecide reads and decides one op again, at the clock's reading of before.
func (t *take) redecide(ctx context.Context, i int) error {
	if err := t.b.fetch(ctx, t.names[i:i+1], t.entries[i:i+1]); err != nil {
		return err
	}
	t.decideRead(ctx, i, i+1)
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
		return t.b.swap(t.names[i], e, t.ops[i].Draw.Now, change.State, t.out[i].ResetAfter)
	case change.Delete && e.state != nil:
		// A server whose clock is behind would begin anew at its own time, and one
		// whose clock is ahead after that, and so on: the stamp stays until all
		// clocks have passed it.
		return t.b.swap(t.names[i], e, t.ops[i].Draw.Now, nil, 0)
	}
	return nil
}

// swap stores stamp and state where e was read, to be kept for reset and as long as
// clocks may differ, or returns errConflict.
func (b *Backend) swap(name string, e *entry, stamp traffik.Instant, state []byte, reset time.Duration) error {
	item := &memcache.Item{
		Key: name, Value: e.value(stamp, state),
		Expiration: expiration(after(reset, b.maxSkew), wallSeconds()),
	}
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

// undo refunds what a Take charged whose caller was told that it failed.
func (t *take) undo() {
	if !slices.Contains(t.charged, true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	turn, giveUp := context.WithTimeout(ctx, undoTimeout/2)
	defer giveUp()
	if unlock, err := t.b.locks.lock(turn, t.names); err == nil {
		defer unlock()
	} // else among others that draw: a refund that collides is tried again
	t.giveBack(ctx)
}

// giveBackNow is giveBack within a bound that does not depend on the caller.
func (t *take) giveBackNow() {
	ctx, cancel := context.WithTimeout(context.Background(), undoTimeout)
	defer cancel()
	t.giveBack(ctx)
}

// giveBack refunds what was charged, each op once: a refund of which nobody knows
// whether it arrived is not repeated, and a charge whose refund was lost runs out with
// time. The names are locked.
func (t *take) giveBack(ctx context.Context) {
	for i := range t.ops {
		if !t.charged[i] {
			continue
		}
		t.charged[i] = false
		refund := t.ops[i].Refund(&t.out[i], t.ops[i].Draw.Cost)
		// A strategy that panics here must not keep the other charges.
		_ = guarded(ctx, func(ctx context.Context) error {
			t.b.refundOnce(ctx, refund)
			return nil
		})
	}
}

// refundOnce writes a refund, however many other writers come in between. The caller
// is told why the Take failed, and not whether this did.
func (b *Backend) refundOnce(ctx context.Context, refund traffik.Op) {
	for {
		err := b.newTake([]traffik.Op{refund}).refund(ctx)
		if !errors.Is(err, traffik.ErrContention) { // after which nothing is written
			return
		}
	}
}

// refund writes a single refund.
func (t *take) refund(ctx context.Context) error {
	if err := t.decide(ctx); err != nil {
		return err
	}
	return t.writeRest(ctx)
}
