package traffikmemcached

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// Backend stores counters in Memcached. Create it with [New] and call Close when you
// are done with it. It is safe for concurrent use. Its methods block for the time of
// their round trips, and return when ctx ends or the bound of [WithTimeout] has passed,
// whichever comes first, also while a server hangs.
//
// Methods of a nil or zero Backend, and calls with a nil context, return an error wrapping
// [traffik.ErrUsage]. Other errors wrap [traffik.ErrBackend] when a server failed or did
// not answer within the bound; [traffik.ErrContention] when other processes changed a key
// each time it was to be written, or so many callers of this process work on it that the
// bound passed before the turn came; [traffik.ErrClosed] after Close; or the cause of ctx's end. A Take that
// returns an error because its ctx ended or the bound passed refunds what it has charged,
// after it returned if need be.
//
// Each key has one time for all servers: the latest that any of them wrote it at. A
// draw is decided at that time or at the caller's own, whichever is later, and
// [traffik.Decision.Ahead] tells the difference. RetryAfter and ResetAfter count from
// the caller's own time. See [WithMaxSkew].
type Backend struct {
	engine *store.Backend
	items  *items
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
	s := &items{
		client: client, clock: c.clock, namespace: c.namespace,
		maxSkew:    c.maxSkew.Truncate(time.Microsecond),
		maxState:   c.maxItemBytes - itemOverheadBytes,
		clocks:     clockWarner{logger: c.logger},
		generation: generation{key: generationKey(c.namespace)},
	}
	return &Backend{items: s, engine: store.New(s, store.Options{
		Timeout: c.timeout,
		Late:    fmt.Errorf("%w: memcached: no answer within %v", traffik.ErrBackend, c.timeout),
		Busy:    fmt.Errorf("%w: memcached: others worked on the key for %v", traffik.ErrContention, c.timeout),
		Quiet:   true,
		Spare:   s.maxSkew + goneAfter,
	})}, nil
}

// errUnmade is the answer of a Backend that New did not make.
var errUnmade = fmt.Errorf("%w: the memcached Backend is nil or zero; make it with traffikmemcached.New", traffik.ErrUsage)

// made returns errUnmade if New did not make b.
func (b *Backend) made() error {
	if b == nil || b.engine == nil {
		return errUnmade
	}
	return nil
}

// Take implements [traffik.Backend].
func (b *Backend) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if err := b.made(); err != nil {
		return err
	}
	return b.engine.Take(ctx, ops, out)
}

// Peek implements [traffik.Backend]: one round trip, nothing is written.
func (b *Backend) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if err := b.made(); err != nil {
		return err
	}
	return b.engine.Peek(ctx, ops, out)
}

// Reset implements [traffik.Backend], in one round trip for each key. It forgets the
// key's time too: the next draw is decided at its caller's own. So it also frees a key
// whose time a clock that ran ahead has moved on. It stops at the first key that fails;
// the error is that of any other call, and the keys before it are reset.
func (b *Backend) Reset(ctx context.Context, keys ...traffik.Key) error {
	if err := b.made(); err != nil {
		return err
	}
	keys = slices.Clone(keys)
	return b.engine.Do(ctx, func(ctx context.Context) error {
		for _, key := range keys {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			name := itemKey(b.items.namespace, key)
			err := b.items.onFresh(func() error { return b.items.client.Delete(name) })
			if err != nil && !errors.Is(err, memcache.ErrCacheMiss) {
				return failed(err)
			}
		}
		return nil
	})
}

// ResetNamespace implements [traffik.NamespaceResetter] by writing a new
// generation number: every item of an older one is as if it were not there, its time
// included. Memcached frees items that are never drawn on again when they expire. Errors
// are those of any other call; after one it is not known whether the namespace was reset.
func (b *Backend) ResetNamespace(ctx context.Context) error {
	if err := b.made(); err != nil {
		return err
	}
	return b.engine.Do(ctx, b.items.nextGeneration)
}

// ReadStates implements [traffik.StateReader], in one round trip. The instant is this
// server's own time or the latest time of the keys, whichever is later. Errors are those
// of any other call.
func (b *Backend) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if err := b.made(); err != nil {
		return dst, 0, err
	}
	return b.engine.ReadStates(ctx, keys, dst)
}

// MaxStateBytes implements [traffik.StateBounder]; see [WithMaxItemBytes].
func (b *Backend) MaxStateBytes() int {
	if err := b.made(); err != nil {
		panic(err.Error())
	}
	return b.items.maxState
}

// Close implements [traffik.Backend]. No call begins after it, and it returns when
// those under way have ended, and with them every goroutine of the backend. It waits
// until their servers have answered. While a server hangs that takes at most:
//
//   - the bound of [WithTimeout] and one request, to which the client gives its Timeout
//     for connecting and again for the answer;
//   - five seconds and one more request where what a caller was charged who left, or
//     was told an error, is refunded.
//
// The client stays open.
func (b *Backend) Close() error {
	if err := b.made(); err != nil {
		return err
	}
	return b.engine.Close()
}

var (
	_ traffik.Backend           = (*Backend)(nil)
	_ traffik.StateReader       = (*Backend)(nil)
	_ traffik.NamespaceResetter = (*Backend)(nil)
	_ traffik.StateBounder      = (*Backend)(nil)
)
