package traffiktest

import (
	"context"
	"slices"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// Recorder is a backend around another one. It remembers the ops of every Take and Peek. It
// is safe for concurrent use.
type Recorder struct {
	forward
	mu           sync.Mutex
	takes, peeks [][]traffik.Op
}

// Record returns a Recorder around backend. It panics if backend is nil.
func Record(backend traffik.Backend) *Recorder {
	return &Recorder{forward: newForward("Record", backend)}
}

// Take implements [traffik.Backend].
func (r *Recorder) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	err := r.Backend.Take(ctx, ops, out)
	r.record(&r.takes, ops)
	return err
}

// Peek implements [traffik.Backend].
func (r *Recorder) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	err := r.Backend.Peek(ctx, ops, out)
	r.record(&r.peeks, ops)
	return err
}

func (r *Recorder) record(calls *[][]traffik.Op, ops []traffik.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*calls = append(*calls, slices.Clone(ops))
}

// Takes returns the ops of every Take so far, with the time that the backend set.
func (r *Recorder) Takes() [][]traffik.Op { return r.recorded(&r.takes) }

// Peeks returns the ops of every Peek so far.
func (r *Recorder) Peeks() [][]traffik.Op { return r.recorded(&r.peeks) }

func (r *Recorder) recorded(calls *[][]traffik.Op) [][]traffik.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(*calls)
}
