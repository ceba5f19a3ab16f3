package traffikredis

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
)

// tripTimeout bounds how long a call waits for its round trip and the answer, and
// is after how long the client does not try a round trip again. Callers have
// bounds of their own and leave earlier.
const tripTimeout = 5 * time.Second

// maxStateBytes bounds a state: a script that reads more holds up everybody.
const maxStateBytes = 1 << 20

// Backend is a [traffik.Backend] on Redis. It is safe for concurrent use; see
// the package's documentation for what it promises.
type Backend struct {
	client goredis.UniversalClient
	prefix string // what all keys begin with
	slot   string // the hash tag of all keys, if there is one
	alone  bool
	clock  traffik.Clock // nil for that of Redis

	trips   int // of a queue at once
	resends int // of what the client does not send again
	lanes   lanes
	// located says that a Cluster's client knows its servers.
	located atomic.Bool
	own     ownScripts
	turns   turns
	closed  atomic.Bool
	work    *workers
}

// New returns a backend over client, which stays the caller's: it is never
// closed here. New does no I/O, so that an app starts while Redis is down, and
// its limits begin when Redis is there. It returns an error wrapping
// [traffik.ErrConfig] for a nil client or an option that can't be.
func New(client goredis.UniversalClient, options ...Option) (*Backend, error) {
	if value := reflect.ValueOf(client); client == nil || value.Kind() == reflect.Pointer && value.IsNil() {
		return nil, fmt.Errorf("%w: traffikredis.New(nil); give a client of go-redis", traffik.ErrConfig)
	}
	b := &Backend{client: client, prefix: "traffik:{", work: newWorkers()}
	for _, option := range options {
		if err := option.apply(b); err != nil {
			return nil, err
		}
	}
	b.trips, b.resends = limitsOf(client, b.alone)
	b.lanes.only.backend = b
	return b, nil
}

// Take implements [traffik.Backend]. Ops of one place (see the package's
// documentation) are one script call, all or nothing.
func (b *Backend) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	return b.decide(ctx, ops, out, false)
}

// Peek implements [traffik.Backend].
func (b *Backend) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	return b.decide(ctx, ops, out, true)
}

func (b *Backend) decide(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool) error {
	if err := traffik.CheckOps(ops, out); err != nil {
		return err
	}
	if err := b.check(ctx); err != nil || len(ops) == 0 {
		return err
	}
	if len(ops) > maxOps {
		return fmt.Errorf("%w: %d ops in one call; at most %d are accepted", traffik.ErrUsage, len(ops), maxOps)
	}
	where, together := b.placeOf(ops)
	var err error
	if together {
		err = b.decideAt(ctx, where, ops, out, peek)
	} else {
		err = b.spread(ctx, ops, out, peek, placeApart)
	}
	if len(ops) > 1 && goredis.HasErrorPrefix(err, tryAgain) {
		err = b.spread(ctx, ops, out, peek, keyApart)
	}
	return err
}

// check returns why nothing can be done.
func (b *Backend) check(ctx context.Context) error {
	if b.closed.Load() {
		return traffik.ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// decideAt decides ops of one place.
func (b *Backend) decideAt(ctx context.Context, where place, ops []traffik.Op, out []traffik.Decision, peek bool) error {
	c := b.newCall(where, ops, peek)
	if c == nil {
		return b.decideInGo(ctx, ops, out, peek)
	}
	in := b.queueOf(c.keys[0])
	done, err := in.submit(ctx, c)
	if err == nil && !done {
		if err := c.wait(ctx, in); err != nil {
			return err
		}
	}
	if err == nil {
		err = c.answer(ops, out)
	}
	c.release()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // whichever came first
	}
	return err
}

// instant is what the scripts are told of the clock: "" for that of Redis.
func (b *Backend) instant() any {
	if b.clock == nil {
		return ""
	}
	return appendNumber(nil, float64(b.clock.Now().Add(0))) // within what an Instant may be
}

// MaxStateBytes implements [traffik.StateBounder].
func (*Backend) MaxStateBytes() int { return maxStateBytes }

// Close implements [traffik.Backend]: it waits for the round trips that the
// backend's goroutines have under way, not for those of callers whose context
// can't end, which return by themselves. While the server hangs that takes some
// five seconds more than the client's ReadTimeout. The client is left to its owner.
func (b *Backend) Close() error {
	if !b.closed.Swap(true) {
		close(b.work.end)
	}
	b.work.Wait()
	return nil
}

// workerRest is how long a goroutine without work waits for more. A new one has
// to grow its stack anew, to the depth of the client's calls.
const workerRest = time.Second

// workers is a group of goroutines that may grow while it is waited for.
type workers struct {
	mu   sync.Mutex
	busy int
	idle *sync.Cond
	jobs chan func()   // to those that rest
	end  chan struct{} // closed when none is to rest any more
}

func newWorkers() *workers {
	return &workers{jobs: make(chan func()), end: make(chan struct{})}
}

// Go runs f on a goroutine of the group.
func (w *workers) Go(f func()) {
	w.mu.Lock()
	w.busy++
	w.mu.Unlock()
	select {
	case w.jobs <- f:
	default:
		go w.run(f)
	}
}

func (w *workers) run(f func()) {
	rest := time.NewTimer(workerRest)
	defer rest.Stop()
	for {
		w.do(f)
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

func (w *workers) do(f func()) {
	defer w.done() // also when f ends its goroutine
	f()
}

func (w *workers) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy--
	if w.busy == 0 && w.idle != nil {
		w.idle.Broadcast()
	}
}

// Wait waits until none is busy.
func (w *workers) Wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.idle == nil {
		w.idle = sync.NewCond(&w.mu)
	}
	for w.busy > 0 {
		w.idle.Wait()
	}
}

var (
	_ traffik.Backend           = (*Backend)(nil)
	_ traffik.StateReader       = (*Backend)(nil)
	_ traffik.NamespaceResetter = (*Backend)(nil)
	_ traffik.StateBounder      = (*Backend)(nil)
)
