package traffiktest

import (
	"context"
	"sync"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Faulty is a backend around another one. It fails or is slow on demand. It is safe for
// concurrent use.
type Faulty struct {
	forward
	mu    sync.Mutex
	err   error
	delay time.Duration
}

// Break returns a Faulty around backend that does not fail yet. It panics if backend is nil.
func Break(backend traffik.Backend) *Faulty { return &Faulty{forward: newForward("Break", backend)} }

// Fail makes every call fail with err, without reaching the backend; nil ends that.
func (f *Faulty) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Slow makes every call wait for d, or for the end of its context, first.
func (f *Faulty) Slow(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// Take implements [traffik.Backend].
func (f *Faulty) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if err := f.fault(ctx); err != nil {
		return err
	}
	return f.Backend.Take(ctx, ops, out)
}

// Peek implements [traffik.Backend].
func (f *Faulty) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if err := f.fault(ctx); err != nil {
		return err
	}
	return f.Backend.Peek(ctx, ops, out)
}

// Reset implements [traffik.Backend].
func (f *Faulty) Reset(ctx context.Context, keys ...traffik.Key) error {
	if err := f.fault(ctx); err != nil {
		return err
	}
	return f.Backend.Reset(ctx, keys...)
}

// ReadStates implements [traffik.StateReader] as the wrapped backend does.
func (f *Faulty) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if err := f.fault(ctx); err != nil {
		return dst, 0, err
	}
	return f.forward.ReadStates(ctx, keys, dst)
}

// ResetNamespace implements [traffik.NamespaceResetter] as the wrapped backend does.
func (f *Faulty) ResetNamespace(ctx context.Context) error {
	if err := f.fault(ctx); err != nil {
		return err
	}
	return f.forward.ResetNamespace(ctx)
}

// fault waits for the time of Slow and returns the error of Fail. It waits without the
// lock, so that a test can call Fail and Slow meanwhile.
func (f *Faulty) fault(ctx context.Context) error {
	f.mu.Lock()
	err, delay := f.err, f.delay
	f.mu.Unlock()
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return err
}
