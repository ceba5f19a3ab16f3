package traffiktest

import (
	"context"
	"slices"
	"sync"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Recorder is a backend around another that remembers what it was asked. It is
// safe for concurrent use.
type Recorder struct {
	traffik.Backend
	mu    sync.Mutex
	takes [][]traffik.Op
	peeks [][]traffik.Op
}

// Record returns a Recorder around backend. It panics if that is nil.
func Record(backend traffik.Backend) *Recorder {
	if backend == nil {
		panic("traffiktest: Record(nil); give a backend")
	}
	return &Recorder{Backend: backend}
}

// Take implements [traffik.Backend].
func (r *Recorder) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	err := r.Backend.Take(ctx, ops, out)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.takes = append(r.takes, slices.Clone(ops))
	return err
}

// Peek implements [traffik.Backend].
func (r *Recorder) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	err := r.Backend.Peek(ctx, ops, out)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.peeks = append(r.peeks, slices.Clone(ops))
	return err
}

// Takes returns the ops of every Take so far, with the time the backend set.
func (r *Recorder) Takes() [][]traffik.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.takes)
}

// Peeks returns the ops of every Peek so far.
func (r *Recorder) Peeks() [][]traffik.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.peeks)
}

// ReadStates implements [traffik.StateReader] if the backend beneath does.
func (r *Recorder) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	return readStates(ctx, r.Backend, keys, dst)
}

// ResetNamespace implements [traffik.NamespaceResetter] if the backend beneath
// does.
func (r *Recorder) ResetNamespace(ctx context.Context) error {
	return resetNamespace(ctx, r.Backend)
}

// MaxStateBytes implements [traffik.StateBounder]: the bound of the backend
// beneath, or none.
func (r *Recorder) MaxStateBytes() int { return maxStateBytes(r.Backend) }

// ErrorPolicy implements [traffik.PolicySetter]: the policy of the backend
// beneath, or the default.
func (r *Recorder) ErrorPolicy(err error) traffik.ErrorPolicy { return errorPolicy(r.Backend, err) }

// Faulty is a backend around another that fails and is slow on demand. It is
// safe for concurrent use.
type Faulty struct {
	traffik.Backend
	mu    sync.Mutex
	err   error
	delay time.Duration
}

// Break returns a Faulty around backend that does not fail yet. It panics if backend is
// nil.
func Break(backend traffik.Backend) *Faulty {
	if backend == nil {
		panic("traffiktest: Break(nil); give a backend")
	}
	return &Faulty{Backend: backend}
}

// Fail makes every call fail with err, without reaching the backend; nil ends
// that.
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

// ReadStates implements [traffik.StateReader] if the backend beneath does.
func (f *Faulty) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if err := f.fault(ctx); err != nil {
		return dst, 0, err
	}
	return readStates(ctx, f.Backend, keys, dst)
}

// ResetNamespace implements [traffik.NamespaceResetter] if the backend beneath
// does.
func (f *Faulty) ResetNamespace(ctx context.Context) error {
	if err := f.fault(ctx); err != nil {
		return err
	}
	return resetNamespace(ctx, f.Backend)
}

// MaxStateBytes implements [traffik.StateBounder]: the bound of the backend
// beneath, or none.
func (f *Faulty) MaxStateBytes() int { return maxStateBytes(f.Backend) }

// ErrorPolicy implements [traffik.PolicySetter]: the policy of the backend
// beneath, or the default.
func (f *Faulty) ErrorPolicy(err error) traffik.ErrorPolicy { return errorPolicy(f.Backend, err) }

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
