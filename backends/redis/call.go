package traffikredis

import (
	"context"
	"fmt"
	"sync/atomic"

	traffik "github.com/traffik-go/traffik/core"
)

// call is one Take or Peek in one slot, decided by script. It has copies of all
// it needs: its caller may leave at any time.
type call struct {
	peek  bool
	slot  slot
	keys  []string
	specs []drawSpec
	work  int // how long the script may take for it, in ops

	op traffik.Op // the only one, else nothing
	// A run of calls draws alike in one batch: each knows the next, and the first the
	// last, and where their number is in the batch's takes.
	next, end *call
	start     int

	now      traffik.Instant
	out      []traffik.Decision
	err      error
	panicked any
	// awaited says that the caller waits for done, which gets one value when the
	// above is filled, and left that nobody waits any more.
	awaited bool
	left    atomic.Bool
	beat    <-chan struct{} // the next of its queue
	beats   atomic.Int32    // that its caller has waited for
	done    chan struct{}

	buf []byte // to build keys in
}

// newCall returns a call with ops, or nil if one of them can't be decided by
// script.
func (b *Backend) newCall(where slot, ops []traffik.Op, peek bool) *call {
	c, pooled := b.calls.Get().(*call)
	if !pooled {
		c = &call{done: make(chan struct{}, 1)}
	}
	c.peek, c.slot, c.err, c.panicked, c.awaited = peek, where, nil, nil, false
	c.keys, c.specs, c.work = c.keys[:0], c.specs[:0], 0
	c.beats.Store(0)
	for i := range ops {
		s, ok := b.drawSpecOf(&ops[i])
		if !ok {
			b.release(c)
			return nil
		}
		c.specs = append(c.specs, s)
		c.work += s.work()
		c.buf = b.appendKey(c.buf[:0], ops[i].Key)
		c.addKey()
	}
	if len(ops) == 1 {
		c.op = ops[0]
	}
	return c
}

// addKey adds what buf holds; often it is the key that c had when it was used
// before.
func (c *call) addKey() {
	n := len(c.keys)
	if n < cap(c.keys) && c.keys[:n+1][n] == string(c.buf) {
		c.keys = c.keys[:n+1]
	} else {
		c.keys = append(c.keys, string(c.buf))
	}
}

// release keeps c for another call. Its caller does so, once the answer is there.
func (b *Backend) release(c *call) {
	c.op, c.next, c.end = traffik.Op{}, nil, nil
	b.calls.Put(c)
}

// needs reports whether c needs the script of a strategy, and refunds whether
// it may refund units.
func (c *call) needs() (custom, refunds bool) {
	for i := range c.specs {
		custom = custom || c.specs[i].family >= firstCustom
		refunds = refunds || c.specs[i].cost < 0 && !c.peek
	}
	return custom, refunds
}

// runs reports whether c draws what the script can draw several times at once.
func (c *call) runs() bool {
	return len(c.specs) == 1 && !c.peek && c.specs[0].counts() && c.specs[0].cost > 0 && c.specs[0].flags&flagForce == 0
}

// answer hands the decisions to the caller, or the panic of a hook of the
// client's.
func (c *call) answer(ops []traffik.Op, out []traffik.Decision) error {
	if c.panicked != nil {
		panic(c.panicked)
	}
	if c.err != nil {
		return c.err
	}
	for i := range ops {
		ops[i].Draw.Now = c.now
	}
	copy(out, c.out)
	return nil
}

// finish tells the caller, if it waits, that all is filled. The call is not
// touched afterwards.
func (c *call) finish() {
	if c.awaited {
		c.done <- struct{}{}
	}
}

// errLate is what callers get whose context lets them wait for longer.
var errLate = fmt.Errorf("%w: no answer within %v", ErrTimeout, roundTripTimeout)

// wait waits for the answer, the end of ctx, or the time that a round trip and
// the wait for it may take together. It returns an error if the call is not to be
// touched any more.
func (c *call) wait(ctx context.Context, in *queue) error {
	for beat := c.beat; c.beats.Load() <= roundTripBeats; beat = in.nextBeat() { // the first may come at once
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			in.leave(c)
			return context.Cause(ctx)
		case <-beat:
			c.beats.Add(1)
		}
	}
	in.leave(c)
	return errLate
}
