package traffikmemcached

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
)

// Backend keeps the score in Memcached. Create it with [New]. It is safe for
// concurrent use; its methods block for the time of their round trips, at most
// the bound of [WithTimeout] and until ctx ends.
//
// Methods of a nil or zero Backend, and calls with a nil context, return an error wrapping
// [traffik.ErrUsage]. Other errors wrap [traffik.ErrBackend], [traffik.ErrContention] when other
// processes changed a key each time it was to be written, or so many callers of
// this one work on it that the time was over before the turn came, or the cause of ctx's
// end. A Take that returns an error because its ctx or its time ended gives back
// what it has charged, after it returned if need be.
type Backend struct {
	client     *memcache.Client
	clock      traffik.Clock
	namespace  string
	timeout    time.Duration
	late       error // what calls end with after timeout
	crowded    error // the same, of calls that had no turn at a key until then
	maxSkew    time.Duration
	maxState   int
	locks      keyLocks
	generation generation

	mu      sync.Mutex // guards closed, and workers against growing when it is set
	closed  bool
	workers sync.WaitGroup
}

// New returns a backend on the servers of client, which is neither changed nor
// closed. It does no I/O: an application starts with its servers down. The error
// wraps [traffik.ErrConfig].
//
// The client decides how long one request may take (Timeout) and how many
// connections are kept open between requests (MaxIdleConns, two for each server
// unless set: too few for a busy application).
func New(client *memcache.Client, opts ...Option) (*Backend, error) {
	c := config{
		namespace:    defaultNamespace,
		timeout:      defaultTimeout,
		maxSkew:      defaultMaxSkew,
		maxItemBytes: defaultMaxItemBytes,
		clock:        wallClock{},
	}
	if client == nil {
		c.refuse("the client is nil; give one made by memcache.New or memcache.NewFromSelector")
	}
	for i, opt := range opts {
		if opt == nil {
			c.refuse("option %d of %d is nil; leave it out", i+1, len(opts))
			continue
		}
		opt.apply(&c)
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return &Backend{
		client:     client,
		clock:      c.clock,
		namespace:  c.namespace,
		timeout:    c.timeout,
		late:       fmt.Errorf("%w: memcached: no answer within %v", traffik.ErrBackend, c.timeout),
		crowded:    fmt.Errorf("%w: memcached: no turn at the key within %v", traffik.ErrContention, c.timeout),
		maxSkew:    c.maxSkew,
		maxState:   c.maxItemBytes - itemOverheadBytes,
		generation: generation{key: generationKey(c.namespace)},
	}, nil
}

// Take implements [traffik.Backend].
func (b *Backend) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	return b.draw(ctx, ops, out, (*take).run)
}

// Peek implements [traffik.Backend]: one round trip, nothing is written.
func (b *Backend) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	return b.draw(ctx, ops, out, (*take).look)
}

func (b *Backend) draw(ctx context.Context, ops []traffik.Op, out []traffik.Decision, run func(*take, context.Context) error) error {
	if err := b.misused(ctx); err != nil {
		return err
	}
	if err := traffik.CheckOps(ops, out); err != nil {
		return err
	}
	t := b.newTake(ops)
	err := b.do(ctx, func(ctx context.Context) error { return run(t, ctx) }, t.undo)
	if err == b.late && t.queued.Load() { //nolint:errorlint // this very value: the store has not failed
		return b.crowded
	}
	if err != nil {
		return err
	}
	for i := range ops {
		ops[i].Draw.Now = t.ops[i].Draw.Now
	}
	copy(out, t.out)
	return nil
}

// Reset implements [traffik.Backend], one round trip for each key.
func (b *Backend) Reset(ctx context.Context, keys ...traffik.Key) error {
	if err := b.misused(ctx); err != nil {
		return err
	}
	names := b.names(keys)
	return b.do(ctx, func(ctx context.Context) error {
		for _, name := range names {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := b.onFresh(func() error { return b.client.Delete(name) }); err != nil && !errors.Is(err, memcache.ErrCacheMiss) {
				return failed(err)
			}
		}
		return nil
	}, nil)
}

// ResetNamespace implements [traffik.NamespaceResetter] by writing a new
// generation number: every item of an older one is as if it were not there. Of
// items that are never drawn on again Memcached frees itself in time.
func (b *Backend) ResetNamespace(ctx context.Context) error {
	if err := b.misused(ctx); err != nil {
		return err
	}
	return b.do(ctx, b.nextGeneration, nil)
}

// ReadStates implements [traffik.StateReader], in one round trip.
func (b *Backend) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if err := b.misused(ctx); err != nil {
		return dst, 0, err
	}
	names := b.names(keys)
	entries := make([]entry, len(names))
	err := b.do(ctx, func(ctx context.Context) error { return b.fetch(ctx, names, entries) }, nil)
	if err != nil {
		return dst, 0, err
	}
	for i := range entries {
		dst = append(dst, slices.Clone(entries[i].state))
	}
	return dst, b.clock.Now().Add(0), nil // within what an Instant may be
}

// MaxStateBytes implements [traffik.StateBounder]; see [WithMaxItemBytes].
func (b *Backend) MaxStateBytes() int {
	if b == nil || b.client == nil {
		panic(errUnmade.Error())
	}
	return b.maxState
}

// Close implements [traffik.Backend]. It waits for what callers that left early
// still have under way: a request, which the client's Timeout bounds, and giving
// back what they were charged, some seconds at most. The client stays open.
func (b *Backend) Close() error {
	if b == nil || b.client == nil {
		return errUnmade
	}
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.workers.Wait()
	return nil
}

func (b *Backend) names(keys []traffik.Key) []string {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = itemKey(b.namespace, key)
	}
	return names
}

// failed is what callers get to see of an error of the client.
func failed(err error) error {
	return fmt.Errorf("%w: memcached: %w", traffik.ErrBackend, err)
}

var (
	_ traffik.Backend           = (*Backend)(nil)
	_ traffik.StateReader       = (*Backend)(nil)
	_ traffik.NamespaceResetter = (*Backend)(nil)
	_ traffik.StateBounder      = (*Backend)(nil)
)
