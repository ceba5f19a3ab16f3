package traffikredis

import (
	"sync"
	"sync/atomic"
	"time"
)

// workerRest is how long a goroutine without work waits for more: long enough that a
// busy backend keeps its goroutines, whose stacks have grown to the depth of the
// client's calls, and short enough that an idle one has none.
const workerRest = 100 * time.Millisecond

// workers are the goroutines of a backend. They are counted together with the calls
// under way, since only those start goroutines: when the count is zero after the
// end, it stays zero.
type workers struct {
	users atomic.Int64  // calls and goroutines, plus ending
	jobs  chan func()   // to goroutines that rest
	end   chan struct{} // closed when none may rest any more
	gone  chan struct{} // closed when all have ended after that

	ended, last sync.Once
}

// ending is added to workers.users when no more calls may come.
const ending = 1 << 62

func newWorkers() *workers {
	return &workers{jobs: make(chan func()), end: make(chan struct{}), gone: make(chan struct{})}
}

// enter counts a call, which has to leave. It returns false after the end.
func (w *workers) enter() bool {
	if w.users.Add(1) >= ending {
		w.leave()
		return false
	}
	return true
}

func (w *workers) leave() {
	if w.users.Add(-1) == ending {
		w.last.Do(func() { close(w.gone) })
	}
}

// isEnding reports whether close was called.
func (w *workers) isEnding() bool { return w.users.Load() >= ending }

// close refuses new calls, and waits until those under way and all goroutines have
// ended.
func (w *workers) close() {
	w.ended.Do(func() {
		w.users.Add(ending + 1) // the one is for leave to find that all have ended
		close(w.end)
		w.leave()
	})
	<-w.gone
}

// Go runs f on a goroutine. The caller must be one that is counted.
func (w *workers) Go(f func()) {
	select {
	case w.jobs <- f:
	default:
		w.users.Add(1)
		go w.run(f)
	}
}

func (w *workers) run(f func()) {
	defer w.leave() // also when f ends its goroutine
	rest := time.NewTimer(workerRest)
	defer rest.Stop()
	for {
		f()
		rest.Reset(workerRest)
		select {
		case f = <-w.jobs:
		case <-rest.C:
			return
		case <-w.end:
			return
		}
	}
}
