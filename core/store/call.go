package store

import (
	"context"
	"errors"
	"slices"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// callState is where a call stands. It goes from waiting to taken when a batch begins with
// it or it joins one, and from there to ended with the batch. A look may end a waiting call
// early. A caller that leaves sets left from either; the batch then leaves the call out, or
// refunds it if it was charged already.
type callState uint8

const (
	waiting callState = iota // it waits for a key
	taken                    // a batch decides it
	left                     // its caller has returned with an error
	ended                    // its answer is ready
)

// call is one Take or Peek. It has a copy of the ops, because the caller may leave.
type call struct {
	ctx     context.Context
	ops     []traffik.Op
	out     []traffik.Decision
	changes []Change
	states  [][]byte
	entries []*Entry        // of the ops; a batch shares them among its calls
	charged []bool          // the op took units that are not refunded
	now     traffik.Instant // the store's time

	keys   []traffik.Key // sorted
	locked int           // how many of keys the call holds while it waits

	state callState // guarded by keyLocks.mu
	batch *batch    // nil while the call waits
	looks bool      // it looks meanwhile; guarded by keyLocks.mu
	done  chan struct{}
	end   ending // what the caller is told, once done is closed
}

// ending is how a function ended.
type ending struct {
	err      error
	panicked any
}

// guarded runs f and catches its panic, to be raised on another goroutine.
func guarded(f func() error) (end ending) {
	defer func() { end.panicked = recover() }()
	end.err = f()
	return end
}

// result returns or panics as the function did.
func (e ending) result() error {
	if e.panicked != nil {
		panic(e.panicked)
	}
	return e.err
}

func newCall(ctx context.Context, ops []traffik.Op) *call {
	n := len(ops)
	c := &call{
		ctx: ctx, ops: slices.Clone(ops), out: make([]traffik.Decision, n), changes: make([]Change, n), states: make([][]byte, n),
		entries: make([]*Entry, n), charged: make([]bool, n), keys: make([]traffik.Key, n), done: make(chan struct{}),
	}
	for i := range ops {
		c.keys[i] = ops[i].Key
	}
	slices.SortFunc(c.keys, compareKeys)
	return c
}

// decide decides the ops from first to end at now and applies their changes to the entries.
// For a quiet store, looks and denials change nothing. If a strategy panics, the entries
// stay as they are, and the caller gets the panic.
func (c *call) decide(first, end int, now traffik.Instant, quiet bool) error {
	c.now = now
	for i := first; i < end; i++ {
		c.ops[i].Draw.Now, c.states[i] = c.entries[i].At, c.entries[i].Next
	}
	changes := c.changes[first:end]
	c.end = guarded(func() error {
		DecideAll(c.ops[first:end], c.states[first:end], c.out[first:end], changes)
		return nil
	})
	if c.end.panicked != nil {
		return errPanicked
	}
	denied := c.denied()
	for i := first; i < end; i++ {
		change, cost := &c.changes[i], c.ops[i].Draw.Cost
		if quiet && (denied || !c.out[i].Allowed || cost == 0) {
			change.Write, change.Delete = false, false
		}
		c.entries[i].apply(change, cost, &c.out[i])
	}
	return nil
}

// errPanicked stands for the panic of a strategy until the caller gets it.
var errPanicked = errors.New("a strategy panicked")

// denied reports whether an op denies the call.
func (c *call) denied() bool {
	for i := range c.ops {
		if !c.out[i].Allowed && !c.ops[i].Advisory {
			return true
		}
	}
	return false
}

// draws reports whether ops[i] took units.
func (c *call) draws(i int) bool {
	return c.changes[i].Write && c.out[i].Allowed && c.ops[i].Draw.Cost > 0
}

// charge notes which ops took units, once they are written.
func (c *call) charge() {
	denied := c.denied()
	for i := range c.ops {
		c.charged[i] = !denied && c.draws(i)
	}
}

// refunds returns the ops that refund what c was charged.
func (c *call) refunds() (ops []traffik.Op) {
	for i := range c.ops {
		if c.charged[i] {
			ops = append(ops, c.ops[i].Refund(&c.out[i], c.ops[i].Draw.Cost))
			c.charged[i] = false
		}
	}
	return ops
}

// answer copies the answers to the caller. If a key was decided ahead of the store's time,
// all waits are that much longer, but RetryAfter ends when the state is gone: spare after
// ResetAfter, unless spare is 0.
func (c *call) answer(ops []traffik.Op, out []traffik.Decision, spare time.Duration) {
	for i := range ops {
		ops[i].Draw.Now = c.ops[i].Draw.Now
		dec := c.out[i]
		if ahead := ops[i].Draw.Now.Sub(c.now); ahead > 0 {
			if dec.RetryAfter > 0 && dec.RetryAfter != traffik.Never {
				gone := traffik.Never
				if spare > 0 {
					gone = after(dec.ResetAfter, spare)
				}
				dec.RetryAfter = min(after(dec.RetryAfter, ahead), max(dec.RetryAfter, gone))
			}
			dec.ResetAfter, dec.Ahead = after(dec.ResetAfter, ahead), ahead
		}
		out[i] = dec
	}
}

// after returns d + more, at most 2^53 µs, as for all waits.
func after(d, more time.Duration) time.Duration {
	const longest = traffik.MaxUnits * time.Microsecond
	return min(d, longest-min(more, longest)) + min(more, longest)
}
