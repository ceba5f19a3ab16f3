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

// Backend stores counters in Memcached. Create it with [New] and call Close when you are
// done with it. It is safe for concurrent use. Its methods block for their round trips.
// They return when ctx ends or the time of [WithTimeout] has passed, even while a server
// hangs.
//
// Errors wrap
//   - [traffik.ErrUsage] for a nil or zero Backend and for a nil context;
//   - [traffik.ErrBackend] if a server failed or did not answer in time;
//   - [traffik.ErrContention] if other processes kept changing a key, or if the time passed
//     while other callers worked on it;
//   - [traffik.ErrClosed] after Close;
//   - or the cause of ctx's end.
//
// If a Take returns early, because ctx ended or the time passed, the backend refunds what
// it charged.
//
// Each key has one time for all servers: the latest at which any of them wrote it. A draw
// is decided at that time or at this server's own, whichever is later, and
// [traffik.Decision.Ahead] tells the difference. RetryAfter and ResetAfter count from
// this server's own time. See [WithMaxSkew].
type Backend struct {
	engine *store.Backend
	items  *items
}

// New returns a backend on the servers of client. It neither changes nor closes the client.
// It does no I/O, so an application starts even if its servers are down. The error wraps
// [traffik.ErrConfig].
//
// Set two fields of the client: Timeout bounds one request, and MaxIdleConns is the number
// of idle connections that it keeps for each server. The default of two is too few for a
// busy application.
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

// errUnmade is the error of a Backend that New did not make.
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

// Peek implements [traffik.Backend], in one round trip. It writes nothing.
func (b *Backend) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if err := b.made(); err != nil {
		return err
	}
	return b.engine.Peek(ctx, ops, out)
}

// Reset implements [traffik.Backend], in one round trip for each key. It also forgets the
// key's time, which helps a key whose time a fast clock has moved ahead. It stops at the
// first key that fails; the keys before it are reset.
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

// ResetNamespace implements [traffik.NamespaceResetter]. It writes a new generation number.
// All keys of older generations then count as untouched, without their times. Memcached
// frees them when they expire. After an error, the namespace may or may not be reset.
func (b *Backend) ResetNamespace(ctx context.Context) error {
	if err := b.made(); err != nil {
		return err
	}
	return b.engine.Do(ctx, b.items.nextGeneration)
}

// ReadStates implements [traffik.StateReader], in one round trip. The instant is this
// server's own time or the latest time of the keys, whichever is later.
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

// Close implements [traffik.Backend]. It waits for the calls under way and leaves no
// goroutine behind. It does not close the client. While a server hangs, Close takes at most
//
//   - the time of [WithTimeout] and one request, which may take the client's Timeout to
//     connect and the same again for the answer;
//   - and five seconds and one more request, if charges have to be refunded because their
//     callers left or got an error.
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
