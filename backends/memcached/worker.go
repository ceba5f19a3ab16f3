package traffikmemcached

import (
	"context"
	"sync/atomic"

	traffik "github.com/traffik-go/traffik/core"
)

// outcome is how a worker ended.
type outcome struct {
	err      error
	panicked any // of a strategy: handed on to the caller, where it belongs
}

// do runs work in a goroutine of its own, since the client can't be
// interrupted, and returns when it is done or ctx ended or the backend's time is
// over, whichever comes first. The worker ends when its requests do, each within
// the client's Timeout. If it succeeds after its caller was told otherwise, undo
// is called.
func (b *Backend) do(parent context.Context, work func(ctx context.Context) error, undo func()) error {
	if err := b.begin(parent); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(parent, b.timeout, b.late)
	var settled atomic.Bool // whoever sets it decides what the caller is told
	done := make(chan outcome, 1)
	go func() {
		defer b.workers.Done()
		defer cancel()
		end := guarded(ctx, work)
		if settled.CompareAndSwap(false, true) {
			done <- end
		} else if end.err == nil && end.panicked == nil && undo != nil {
			// A panic of a strategy finds nobody here whose it is.
			_ = guarded(ctx, func(context.Context) error { undo(); return nil })
		}
	}()
	select {
	case end := <-done:
		return end.told()
	case <-ctx.Done():
		if settled.CompareAndSwap(false, true) {
			return context.Cause(ctx)
		}
		return (<-done).told()
	}
}

// begin counts a worker, unless nothing may be begun.
func (b *Backend) begin(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return traffik.ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.workers.Add(1)
	return nil
}

func guarded(ctx context.Context, work func(ctx context.Context) error) (end outcome) {
	defer func() { end.panicked = recover() }()
	return outcome{err: work(ctx)}
}

func (o outcome) told() error {
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}
