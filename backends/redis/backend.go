package traffikredis

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// maxStateBytes bounds a state: a script that reads more of them holds up everybody.
const maxStateBytes = 1 << 20

// Backend is a [traffik.Backend] on Redis. Make it with [New]. It is safe for concurrent
// use; the package documentation says what it promises. Methods of a nil or zero Backend,
// and calls with a nil context, return an error wrapping [traffik.ErrUsage].
type Backend struct {
	*servers
	alone    bool // each Take is a round trip
	inFlight int  // round trips of a queue at once
	resends  int  // of what the client does not send again
	queues   queues
	resting  chan *queue // to goroutines that wait for more to send
	// located says that the client of a Cluster knows its servers.
	located atomic.Bool
	custom  customScripts
	calls   sync.Pool // of *call
	// engine decides what only Go can decide.
	engine *store.Backend

	users users
	life  context.Context // ends with Close, and with it all timers
	end   context.CancelFunc
}

// New returns a backend over client, which the backend never closes. New does no I/O: an
// application starts while Redis is down, and its limits begin when Redis is up. For a nil
// client or a nil or wrong option, New returns an error wrapping [traffik.ErrConfig].
func New(client goredis.UniversalClient, options ...Option) (*Backend, error) {
	if value := reflect.ValueOf(client); client == nil || value.Kind() == reflect.Pointer && value.IsNil() {
		return nil, fmt.Errorf("%w: traffikredis.New(nil); give a client of go-redis", traffik.ErrConfig)
	}
	_, single := client.(*goredis.Client)
	b := &Backend{servers: &servers{client: client, single: single, prefix: "traffik:{", closing: make(chan struct{})}, resting: make(chan *queue)}
	for i, option := range options {
		if option == nil {
			return nil, fmt.Errorf("%w: traffikredis.New: option %d of %d is nil; leave it out", traffik.ErrConfig, i+1, len(options))
		}
		if err := option.apply(b); err != nil {
			return nil, err
		}
	}
	b.inFlight, b.resends = limitsOf(client, b.alone)
	b.users.gone = make(chan struct{})
	b.life, b.end = context.WithCancel(context.Background())
	b.engine = store.New(states{b.servers}, store.Options{Timeout: roundTripTimeout, Late: errLate, Busy: errLate})
	return b, nil
}

// Take implements [traffik.Backend]. It accepts up to 512 ops. Ops of one slot are one script
// call, all or nothing; the package documentation says more.
func (b *Backend) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	return b.decide(ctx, ops, out, false)
}

// Peek implements [traffik.Backend].
func (b *Backend) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	return b.decide(ctx, ops, out, true)
}

func (b *Backend) decide(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool) error {
	if err := store.CheckOps(ops, out); err != nil {
		return err
	}
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.users.leave()
	if len(ops) == 0 {
		return nil
	}
	if len(ops) > maxOps {
		return fmt.Errorf("%w: %d ops in one call; at most %d are accepted", traffik.ErrUsage, len(ops), maxOps)
	}
	where, together := slot{}, true // on a single server
	if !b.single {
		where, together = b.slotOf(ops)
	}
	of := func(key traffik.Key) any { return b.slotOfKey(key) }
	if together {
		err := b.decideAt(ctx, where, ops, out, peek)
		if len(ops) == 1 || !moving(err) {
			return err
		}
		of = func(key traffik.Key) any { return key }
	}
	return b.decideParts(ctx, ops, out, peek, of)
}

// decideParts decides ops part by part. It goes on by itself when ctx ends: what was drawn
// is refunded exactly once, whether or not anybody waits for it.
func (b *Backend) decideParts(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool, of func(traffik.Key) any) error {
	copied, decided := slices.Clone(ops), make([]traffik.Decision, len(ops))
	err := b.engine.Do(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundTripTimeout)
		defer cancel()
		take := func(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool) error {
			return b.decideAt(ctx, b.slotOfKey(ops[0].Key), ops, out, peek)
		}
		return store.Parts{Of: of, Take: take, Split: moving}.Run(ctx, copied, decided, peek)
	})
	if err != nil {
		return ended(ctx, err)
	}
	for i := range ops {
		ops[i].Draw.Now = copied[i].Draw.Now
	}
	copy(out, decided)
	return nil
}

// moving reports whether nothing was done because some of the keys were at another server
// already.
func moving(err error) bool { return goredis.HasErrorPrefix(err, tryAgain) }

// errUnmade is the error of a Backend that New did not make.
var errUnmade = fmt.Errorf("%w: the redis Backend is nil or zero; make it with traffikredis.New", traffik.ErrUsage)

// enter begins a call, which ends with b.users.leave, or returns why nothing can be
// done.
func (b *Backend) enter(ctx context.Context) error {
	if b == nil || b.servers == nil {
		return errUnmade
	}
	if ctx == nil {
		return fmt.Errorf("%w: the context is nil; give context.Background() where there is no other", traffik.ErrUsage)
	}
	if b.users.n.Add(1) >= closed {
		b.users.leave()
		return traffik.ErrClosed
	}
	if ctx.Err() != nil {
		b.users.leave()
		return context.Cause(ctx)
	}
	return nil
}

// decideAt decides ops of one slot.
func (b *Backend) decideAt(ctx context.Context, where slot, ops []traffik.Op, out []traffik.Decision, peek bool) error {
	c := b.newCall(where, ops, peek)
	if c == nil {
		decide := b.engine.Take
		if peek {
			decide = b.engine.Peek
		}
		return ended(ctx, decide(ctx, ops, out))
	}
	q := &b.queues.only
	if !b.single {
		q = b.queueOf(c.keys[0])
	}
	err := q.submit(ctx, b, c)
	if err == nil {
		if err := c.wait(ctx); err != nil {
			return err
		}
		if c.panicked != nil {
			panic(c.panicked) // of a hook of the client
		}
		if err = c.err; err == nil {
			for i := range ops {
				ops[i].Draw.Now = c.ops[i].Draw.Now
			}
			copy(out, c.out)
		}
	}
	clear(c.ops)
	b.calls.Put(c)
	if err != nil {
		return ended(ctx, err)
	}
	return nil
}

// MaxStateBytes implements [traffik.StateBounder].
func (*Backend) MaxStateBytes() int { return maxStateBytes }

// Close implements [traffik.Backend]. New calls fail with [traffik.ErrClosed]. Close returns
// when all calls have returned and no goroutine of the backend is left, including those of
// calls whose callers have left. It may be called several times and concurrently. Don't call
// it from a strategy or a hook of the client, which would wait for itself.
//
// Close takes a round trip or two. While the server hangs, it takes five seconds plus the
// client's ReadTimeout, or longer for a call whose context can't end: the client's timeouts
// and retries bound that call. The client stays open; close it after the backend.
func (b *Backend) Close() error {
	if b == nil || b.servers == nil {
		return errUnmade
	}
	b.users.close(b.closing)
	_ = b.engine.Close() // waits, and has no error
	b.end()
	return nil
}

// users counts calls and the goroutines that they have started. Only calls start
// goroutines: when the count is zero after Close, it stays zero. A call counts itself before
// it looks whether the backend is closed, so Close sees every call that goes on. It takes no
// lock, since every call passes here twice.
type users struct {
	n    atomic.Int64  // plus closed
	gone chan struct{} // closed when all have left after that
	once sync.Once
	last sync.Once
}

// closed is added to users.n when no more calls may come.
const closed = 1 << 62

func (u *users) leave() {
	if u.n.Add(-1) == closed {
		u.last.Do(func() { close(u.gone) })
	}
}

// close refuses new calls and waits until all users have left.
func (u *users) close(closing chan<- struct{}) {
	u.once.Do(func() {
		close(closing)
		u.n.Add(closed + 1) // the one is for leave to find that all have left
		u.leave()
	})
	<-u.gone
}

var (
	_ traffik.Backend           = (*Backend)(nil)
	_ traffik.StateReader       = (*Backend)(nil)
	_ traffik.NamespaceResetter = (*Backend)(nil)
	_ traffik.StateBounder      = (*Backend)(nil)
)
