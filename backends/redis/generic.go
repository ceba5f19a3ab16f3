package traffikredis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

const (
	// maxAttempts bounds how often a compare-and-set is tried.
	maxAttempts = 16
	// The pause before every second attempt is random, up to a bound that
	// doubles: a call gives up after some 50 ms.
	firstPause, longestPause = 500 * time.Microsecond, 32 * time.Millisecond
)

// exchange is a Take or Peek of strategies that only Go can decide: the states
// are read, decided on, and written if nobody changed them meanwhile.
type exchange struct {
	backend *Backend
	keys    []string
	ops     []traffik.Op
	out     []traffik.Decision
	changes []store.Change
	states  [][]byte
	kept    []int64 // for how many milliseconds each state will be kept, -1 without an end
	now     traffik.Instant
}

// decideInGo decides ops of one slot, at least one of which has no script. The
// caller may leave; its slices are copied.
func (b *Backend) decideInGo(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool) error {
	x := &exchange{
		backend: b, ops: slices.Clone(ops), out: make([]traffik.Decision, len(ops)),
		changes: make([]store.Change, len(ops)), states: make([][]byte, len(ops)), kept: make([]int64, len(ops)),
	}
	for i := range ops {
		x.keys = append(x.keys, string(b.appendKey(nil, ops[i].Key)))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, roundTripTimeout, errLate)
	defer cancel()
	if err := b.leaving(ctx, func() error { return x.run(ctx, peek) }); err != nil {
		return err
	}
	for i := range ops {
		ops[i].Draw.Now = x.now
	}
	copy(out, x.out)
	return nil
}

// leaving runs f, and returns early with the cause if ctx ends; f goes on by
// itself then. A panic of f, as of a strategy with a defect, is the caller's.
func (b *Backend) leaving(ctx context.Context, f func() error) error {
	if ctx.Done() == nil {
		return f()
	}
	done := make(chan outcome, 1)
	b.users.run(func() {
		o := outcome{err: errExited}
		defer func() { done <- o }()
		o = guarded(f)
	})
	select {
	case o := <-done:
		if err := o.end(); err != nil && ctx.Err() == nil {
			return err
		} else if err == nil {
			return nil
		}
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

// outcome is how a function ended.
type outcome struct {
	err      error
	panicked any
}

// guarded runs f, whose panic would end the process on a goroutine that nobody
// else guards.
func guarded(f func() error) (o outcome) {
	defer func() { o.panicked = recover() }()
	o.err = f()
	return o
}

// end ends the caller of f as f ended.
func (o outcome) end() error {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}

// run decides and writes. While others are at work on a key it looks before it waits
// for its turn: denials write nothing and need not wait for each other.
func (x *exchange) run(ctx context.Context, peek bool) error {
	if peek {
		_, err := x.look(ctx)
		return err
	}
	from := uptime()
	free, taken := x.backend.locks.try(x.keys)
	if free == nil {
		changes, err := x.lookAhead(ctx, taken)
		if err != nil || !changes {
			return err
		}
		if free, err = x.backend.locks.wait(ctx, x.keys); err != nil {
			return err
		}
	}
	defer free()
	if uptime().Sub(from) > maxWait {
		return errLate
	}
	return x.write(ctx)
}

// lookAhead looks when not too many others look at the key whose turn is taken.
func (x *exchange) lookAhead(ctx context.Context, taken string) (changes bool, err error) {
	end, err := x.backend.locks.look(ctx, taken)
	if err != nil {
		return false, err
	}
	defer end()
	return x.look(ctx)
}

// look decides, and reports whether there would be anything to write.
func (x *exchange) look(ctx context.Context) (changes bool, err error) {
	if err := x.read(ctx); err != nil {
		return false, err
	}
	x.decide()
	return x.changed(), nil
}

// decide decides all ops at the instant of the states.
func (x *exchange) decide() {
	for i := range x.ops {
		x.ops[i].Draw.Now = x.now
	}
	store.DecideAll(x.ops, x.states, x.out, x.changes)
}

// write decides and writes until nobody else has written meanwhile.
func (x *exchange) write(ctx context.Context) error {
	err := x.read(ctx)
	pause := firstPause
	for attempt := 1; err == nil; attempt++ {
		x.decide()
		if !x.changed() {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var swapped bool
		swapped, err = x.swap(ctx)
		switch {
		case swapped || err != nil:
			return err
		case attempt == maxAttempts:
			return fmt.Errorf("%w: gave up after %d attempts", traffik.ErrContention, maxAttempts)
		case attempt%2 == 0: // what the exchange saw will be old by then
			if err = rest(ctx, rand.N(pause)); err == nil {
				err = x.read(ctx)
			}
			pause = min(2*pause, longestPause)
		}
	}
	return err
}

func (x *exchange) read(ctx context.Context) error {
	answer, err := x.backend.run(ctx, readScript, false, x.keys, x.instant())
	if err != nil {
		return err
	}
	return x.take(answer)
}

// changed reports whether there is anything to write, be it an expiry.
func (x *exchange) changed() bool {
	for i := range x.changes {
		if x.changes[i].Write || x.changes[i].Delete || x.expiresWrongly(i) {
			return true
		}
	}
	return false
}

// expiresWrongly reports whether state i has lost its expiry, or has one of a shorter
// rate, under which it was written: it would go while what it counts still counts.
func (x *exchange) expiresWrongly(i int) bool {
	return len(x.states[i]) > 0 && (x.kept[i] == -1 || x.kept[i] < min(x.out[i].ResetAfter, longest/2).Milliseconds())
}

// swap writes the changes if the states are still those that were read, and
// reads them anew if not.
func (x *exchange) swap(ctx context.Context) (swapped bool, err error) {
	args := make([]any, 0, 1+4*len(x.keys))
	args = append(args, x.instant())
	refunds := false
	for i := range x.changes {
		change := &x.changes[i]
		what := "="
		switch {
		case change.Write:
			what = "set"
		case change.Delete && len(x.states[i]) > 0:
			what = "unlink"
		case x.expiresWrongly(i):
			what = "expire"
		}
		args = append(args, x.states[i], what, change.State, x.keep(i))
		refunds = refunds || x.ops[i].Draw.Cost < 0
	}
	answer, err := x.backend.run(ctx, swapScript, refunds, x.keys, args...)
	if err != nil {
		return false, err
	}
	if list, ok := answer.([]any); ok && len(list) == 0 {
		return true, nil
	}
	return false, x.take(answer)
}

// longest is for how long a key is kept that never resets; Redis refuses what
// overflows.
const longest = (1 << 53) / 1000 * time.Millisecond

// keep is how long Redis is to keep state i, in milliseconds.
func (x *exchange) keep(i int) int64 {
	spare := int64(1)
	if x.backend.clock != nil {
		spare += int64(time.Hour / time.Millisecond)
	}
	reset := max(0, min(x.out[i].ResetAfter, longest))
	return int64((reset+time.Millisecond-1)/time.Millisecond) + spare
}

// instant is what the reading scripts are told of the clock.
func (x *exchange) instant() string {
	if x.backend.clock == nil {
		return ""
	}
	return strconv.FormatInt(int64(x.backend.clock.Now().Add(0)), 10) // within what an Instant may be
}

// take takes the instant and the states that a script answered with.
func (x *exchange) take(answer any) error {
	list, _ := answer.([]any)
	if len(list) == 3 {
		text, _ := list[0].(string)
		stored, _ := list[1].([]any)
		kept, _ := list[2].([]any)
		now, err := strconv.ParseInt(text, 10, 64)
		if err == nil && len(stored) == len(x.states) && len(kept) == len(stored) {
			x.now = traffik.Instant(now)
			for i := range stored {
				state, _ := stored[i].(string) // nil where there is none
				x.states[i] = []byte(state)
				x.kept[i], _ = kept[i].(int64) // a script's numbers are integers
			}
			return nil
		}
	}
	return fmt.Errorf("%w: it answered %.80v", ErrScript, answer)
}
