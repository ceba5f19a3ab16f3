package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Options tell [New] about a [Store]. The zero value suits most stores.
type Options struct {
	// Timeout bounds a whole call, including retries and the wait for other callers of a
	// key. 0 means 5 s.
	Timeout time.Duration
	// Late is the error of a call whose Timeout passes during a call of the store. The
	// default wraps [traffik.ErrBackend].
	Late error
	// Busy is the error of a call whose Timeout passes while it waits for other calls on
	// its keys. The default wraps [traffik.ErrContention].
	Busy error
	// Quiet stops denials and looks from writing. Set it for a store that sets
	// Entry.Latest: its states need no repair.
	Quiet bool
	// Spare is the longest time for which a store that sets Entry.Latest keeps a state
	// beyond Entry.For. RetryAfter is never longer than the time until the state is gone. 0
	// means that Spare is unknown.
	Spare time.Duration
}

const (
	defaultTimeout = 5 * time.Second
	// refundTimeout bounds refunding what was charged. It does not depend on the caller,
	// who may have left.
	refundTimeout = 5 * time.Second
	// lookAfter is how long a call waits for a key before it checks what it would change:
	// four round trips at 2.4 ms, in which the batch under way ends and the next
	// one begins. A call that joins a batch rarely waits for longer, and if it looked after
	// one or two round trips, a busy key would be read for each caller, without sooner
	// answers. A call that can't join one, over several keys without [MultiWriter], would
	// wait for all before it.
	lookAfter = 10 * time.Millisecond
	// maxLooks is how many calls look at once: enough for a flood of denials, and fewer
	// than a client has connections.
	maxLooks = 16
)

// Backend is a [traffik.Backend] over a [Store]. Make it with [New]. It is safe for
// concurrent use.
//
// A Take reads its keys, decides in Go and writes: two round trips, or one for a denial.
// Calls of one process on one key never conflict. While the backend works on one batch of
// them, others wait and form the next batch, which it decides in order of arrival with one
// read and one write. A Take that has waited for 10 ms checks whether it would be denied,
// and returns if so.
//
// A Take returns when its context ends or Options.Timeout passes. The backend then refunds
// any charge of that call.
type Backend struct {
	store   Store
	multi   MultiWriter // store, if it is one
	quiet   bool
	spare   time.Duration
	timeout time.Duration
	late    error
	busy    error
	locks   keyLocks
	looks   chan struct{} // one element for each call that looks

	mu     sync.Mutex // guards closed, and work against growing once it is set
	closed bool
	work   sync.WaitGroup
}

// New returns a Backend over s.
func New(s Store, o Options) *Backend {
	b := &Backend{store: s, quiet: o.Quiet, spare: o.Spare, timeout: o.Timeout, late: o.Late, busy: o.Busy, looks: make(chan struct{}, maxLooks)}
	b.multi, b.locks.multi = s.(MultiWriter)
	if b.timeout == 0 {
		b.timeout = defaultTimeout
	}
	if b.late == nil {
		b.late = fmt.Errorf("%w: no answer within %v", traffik.ErrBackend, b.timeout)
	}
	if b.busy == nil {
		b.busy = fmt.Errorf("%w: others worked on the key for %v", traffik.ErrContention, b.timeout)
	}
	return b
}

// Take implements [traffik.Backend].
func (b *Backend) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if err := CheckOps(ops, out); err != nil {
		return err
	}
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if len(ops) == 0 {
		return nil
	}
	c := newCall(ctx, ops)
	var late <-chan time.Time // never
	if first := b.locks.enter(c); first != nil {
		b.start(first)
	} else {
		late = time.After(lookAfter)
	}
	if err := b.await(c, ops, late); err != nil {
		return err
	}
	c.answer(ops, out, b.spare)
	return nil
}

// Peek implements [traffik.Backend].
func (b *Backend) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if err := CheckOps(ops, out); err != nil {
		return err
	}
	c := newCall(ctx, ops)
	err := b.Do(ctx, func(ctx context.Context) error {
		_, err := b.look(ctx, c)
		return err
	})
	if err == nil {
		c.answer(ops, out, b.spare)
	}
	return err
}

// Reset implements [traffik.Backend].
func (b *Backend) Reset(ctx context.Context, keys ...traffik.Key) error {
	return b.Do(ctx, func(ctx context.Context) error {
		for _, key := range keys {
			e := &Entry{Key: key}
			err := Retry(ctx, func() error {
				now, err := b.store.Read(ctx, []*Entry{e})
				if err != nil || len(e.State) == 0 {
					return err
				}
				e.begin(now)
				e.Action, e.Next = Delete, nil
				return b.store.Write(ctx, e)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadStates implements [traffik.StateReader]. The time is the store's, or the latest time
// of a key if that is later.
func (b *Backend) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	entries := make([]*Entry, len(keys))
	for i, key := range keys {
		entries[i] = &Entry{Key: key}
	}
	var now traffik.Instant
	err := b.Do(ctx, func(ctx context.Context) (err error) {
		now, err = b.store.Read(ctx, entries)
		return err
	})
	if err != nil {
		return dst, 0, err
	}
	now = now.Add(0) // within what an Instant may be
	for _, e := range entries {
		dst = append(dst, e.State)
		now = max(now, e.Latest)
	}
	return dst, now, nil
}

// Close implements [traffik.Backend]. It waits for the calls under way, which may take
// until their store answers, and leaves no goroutine behind.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.work.Wait()
	return nil
}

// ErrExited is the error of a call whose store ended the goroutine, for example with
// runtime.Goexit. It wraps [traffik.ErrBackend].
var ErrExited = fmt.Errorf("%w: the store ended its goroutine", traffik.ErrBackend)

// Do runs f for other requests of the store. It returns the error of f or, if ctx ends or
// Options.Timeout passes first, the cause. f then continues in the background, with a
// context that has ended; [Backend.Close] waits for it. If f panics, Do panics.
func (b *Backend) Do(ctx context.Context, f func(ctx context.Context) error) error {
	ctx, leave, err := b.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	done := make(chan ending, 1)
	b.work.Go(func() {
		end := ending{err: ErrExited}
		defer func() { done <- end }()
		end = guarded(func() error { return f(ctx) })
	})
	select {
	case end := <-done:
		return end.result()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// enter counts a call, unless nothing may begin, and bounds its context.
func (b *Backend) enter(ctx context.Context) (_ context.Context, leave func(), err error) {
	if ctx == nil {
		return nil, nil, fmt.Errorf("%w: the context is nil; give context.Background() where there is no other", traffik.ErrUsage)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return nil, nil, traffik.ErrClosed
	case ctx.Err() != nil:
		return nil, nil, context.Cause(ctx)
	}
	b.work.Add(1)
	ctx, cancel := context.WithTimeoutCause(ctx, b.timeout, b.late)
	return ctx, func() { cancel(); b.work.Done() }, nil
}

// await waits until c has ended or its context ends. A call that still waits for a key when
// late fires checks what it would change.
func (b *Backend) await(c *call, ops []traffik.Op, late <-chan time.Time) error {
	var looks chan<- struct{} // nil until then
	for {
		select {
		case <-c.done:
			return c.end.result()
		case <-c.ctx.Done():
			if err := b.leave(c); err != nil {
				return err
			}
		case <-late:
			if b.waits(c, false) {
				looks = b.looks
			}
		case looks <- struct{}{}:
			looks = nil
			ahead := newCall(c.ctx, ops)
			b.work.Go(func() {
				defer func() { <-b.looks }()
				b.lookAhead(c, ahead)
			})
		}
	}
}

// leave gives up c for its caller, unless c has ended, and returns what to tell the caller.
func (b *Backend) leave(c *call) error {
	b.locks.mu.Lock()
	defer b.locks.mu.Unlock()
	cause := context.Cause(c.ctx)
	switch c.state {
	case ended:
		return nil
	case waiting:
		b.startAll(b.locks.leave(c))
		if cause == b.late && !c.looks { //nolint:errorlint // this very value: the store has not failed
			cause = b.busy
		}
	default:
		if c.batch.gone++; c.batch.gone == len(c.batch.calls) {
			c.batch.cancel(cause)
		}
	}
	c.state = left
	return cause
}

// look reads and decides c without writing, and reports whether there is anything to write.
func (b *Backend) look(ctx context.Context, c *call) (changes bool, err error) {
	alone := newBatch(c)
	alone.add(c)
	if alone.now, err = b.store.Read(ctx, alone.entries); err != nil {
		return false, err
	}
	b.decide(alone)
	return slices.ContainsFunc(alone.entries, (*Entry).changed), c.end.result()
}

// waits reports whether c still waits for a key, and notes whether the store is asked
// for it meanwhile.
func (b *Backend) waits(c *call, looks bool) bool {
	b.locks.mu.Lock()
	defer b.locks.mu.Unlock()
	c.looks = looks
	return c.state == waiting
}

// lookAhead answers c, which waits for a key, if its copy has nothing to write.
func (b *Backend) lookAhead(c, ahead *call) {
	if !b.waits(c, true) {
		return
	}
	changes, end := false, ending{err: ErrExited}
	defer func() {
		if b.waits(c, false); changes {
			return
		}
		b.locks.mu.Lock()
		defer b.locks.mu.Unlock()
		if c.state == waiting {
			b.startAll(b.locks.leave(c))
			c.state, c.end, c.ops, c.out, c.now = ended, end, ahead.ops, ahead.out, ahead.now
			close(c.done)
		}
	}()
	end = guarded(func() (err error) {
		changes, err = b.look(c.ctx, ahead)
		return err
	})
}

func (b *Backend) startAll(batches []*batch) {
	for _, next := range batches {
		b.start(next)
	}
}

// start runs t on a goroutine, which belongs to b.work. It answers the calls before it
// refunds and unlocks: callers need not wait for that. Both happen also if the store ends the
// goroutine.
func (b *Backend) start(t *batch) {
	b.work.Go(func() {
		defer b.release(t)
		defer b.settle(t)
		t.end = ending{err: ErrExited}
		t.end = guarded(func() error { return t.run(t.ctx, b) })
	})
}

// settle answers the calls of t whose callers still wait.
func (b *Backend) settle(t *batch) {
	b.locks.mu.Lock()
	defer b.locks.mu.Unlock()
	for _, c := range t.calls {
		if c.state == taken {
			c.state = ended
			if c.end.panicked == nil {
				c.end = t.end
			}
			close(c.done)
		}
	}
}

// release refunds the charges of callers that left, unlocks the keys of t and starts the
// batches that waited for them.
func (b *Backend) release(t *batch) {
	defer func() {
		b.locks.mu.Lock()
		defer b.locks.mu.Unlock()
		b.startAll(b.locks.release(t.keys()))
	}()
	t.cancel(nil)
	var refunds []traffik.Op
	for _, c := range t.calls {
		if c.state == left { // nobody else changes it any more
			refunds = append(refunds, c.refunds()...)
		}
	}
	b.refund(refunds)
}

// decide decides the calls of t whose callers still wait.
func (b *Backend) decide(t *batch) {
	b.locks.mu.Lock()
	t.live = t.live[:0]
	for _, c := range t.calls {
		if c.state != left && c.end.panicked == nil {
			t.live = append(t.live, c)
		}
	}
	b.locks.mu.Unlock()
	for _, e := range t.entries {
		e.begin(t.now)
	}
	t.live = slices.DeleteFunc(t.live, func(c *call) bool {
		return c.decide(0, len(c.ops), t.now, b.quiet) != nil
	})
}

// refund writes each refund once. It doesn't repeat one that may have arrived: a charge whose
// refund was lost expires. The keys of ops are locked.
func (b *Backend) refund(ops []traffik.Op) {
	if len(ops) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), refundTimeout)
	defer cancel()
	for len(ops) > 0 {
		t := newBatch(newCall(ctx, ops[:1]))
		key := ops[0].Key
		ops = slices.DeleteFunc(ops, func(op traffik.Op) bool {
			if together := b.multi != nil || op.Key == key; !together {
				return false
			}
			t.add(newCall(ctx, []traffik.Op{op}))
			return true
		})
		for errors.Is(guarded(func() error { return t.run(ctx, b) }).err, traffik.ErrContention) {
			// nothing was written
		}
	}
}
