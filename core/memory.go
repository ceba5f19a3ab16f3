package traffik

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxKeys bounds a [Memory] backend that is given no bound of its own.
const DefaultMaxKeys = 1_000_000

// Memory is the in-process backend. Keys are spread by identity over shards
// with a lock each, so that all throttles of one caller sit under one lock and
// any Take is atomic. Create it with [NewMemory]. The methods of a nil or zero Memory
// return an error wrapping [ErrUsage]; those without an error to return panic with it.
//
// It is safe for concurrent use and blocks on those locks only. A call holds one for a
// short time that does not depend on the number of keys, except when a shard's table
// doubles. A strategy whose state grows with the limit, such as [SlidingWindowLog], runs
// under the lock too.
//
// The number of keys has a hard bound, divided among the shards. Each throttle has a share
// of a full shard: its bound divided by the throttles in it. A throttle may hold more than
// its share, and never loses an unexpired key to another throttle while it holds no more.
// A newcomer to a full shard takes the place of an expired key, else of a key of the largest
// throttle above its share, else of a key of its own throttle that is neither used up nor
// denied. Among a sample of such keys, the one with the most remaining gives way. If there
// is none, an overflow counter counts the newcomer, under the rate and strategy of its
// throttle. There is about one for each sixteen keys of the throttle, and newcomers are spread over
// them by identity. A newcomer is always limited.
//
// So a store that is full is not exact: a key that gave way starts afresh when it comes
// again, and newcomers on one overflow counter share a limit. The store then logs a
// warning (see [WithLogger]), and [Memory.Stats] tells which throttles are affected.
//
// A refund reaches the entry or the overflow counter that counted the draw, and has no
// effect where that is gone. A decorator has to hand Decisions on as they are: one that
// copies them field by field loses where the draw was counted.
//
// It starts no goroutine unless [WithSweepInterval] asks for one; expired keys
// make room as new ones come.
type Memory struct {
	clock  Clock
	system *systemClock // clock, if it is of that type
	hash   hashKey
	shards []shard
	mask   uint64
	closed atomic.Bool
	warner warner
	stop   func() // ends the sweeper and waits for it
	takes  sync.Pool
}

// MemoryOption configures [NewMemory].
type MemoryOption interface {
	applyMemory(c *memoryConfig)
}

type memoryConfig struct {
	maxKeys int
	clock   Clock
	sweep   time.Duration
	logger  *slog.Logger // nil means slog.Default
	err     error
}

type memoryOptionFunc func(c *memoryConfig)

func (f memoryOptionFunc) applyMemory(c *memoryConfig) { f(c) }

// WithMaxKeys bounds the number of keys, 1 or more; the default is [DefaultMaxKeys]. The
// bound is divided among the shards, so a store may refuse to grow a little
// before it is reached. Overflow counters come on top: for each throttle, one for each
// sixteen of its keys at most, or one per shard if it has fewer.
//
// Give it more keys than there are clients within the longest period. Under a limit of once
// a day with more visitors a day than keys, the late visitors share overflow counters.
func WithMaxKeys(n int) MemoryOption {
	return memoryOptionFunc(func(c *memoryConfig) {
		if n < 1 {
			c.err = fmt.Errorf("%w: WithMaxKeys(%d); accepted is 1 or more", ErrConfig, n)
		}
		c.maxKeys = n
	})
}

// WithClock replaces the system clock, for tests.
func WithClock(clock Clock) MemoryOption {
	return memoryOptionFunc(func(c *memoryConfig) {
		if isNil(clock) {
			c.err = fmt.Errorf("%w: WithClock(nil); give a clock", ErrConfig)
		}
		c.clock = clock
	})
}

// WithSweepInterval starts a goroutine that frees expired keys each interval, which
// is above 0, until Close. Without it they are freed as new keys come. See [Memory.Sweep].
func WithSweepInterval(interval time.Duration) MemoryOption {
	return memoryOptionFunc(func(c *memoryConfig) {
		if interval <= 0 {
			c.err = fmt.Errorf("%w: WithSweepInterval(%v); accepted is a positive interval", ErrConfig, interval)
		}
		c.sweep = interval
	})
}

// NewMemory returns an in-process backend. The error wraps [ErrConfig].
func NewMemory(opts ...MemoryOption) (*Memory, error) {
	c := memoryConfig{maxKeys: DefaultMaxKeys}
	for i, opt := range opts {
		if isNil(opt) {
			return nil, fmt.Errorf("%w: NewMemory: option %d of %d is nil; leave it out", ErrConfig, i+1, len(opts))
		}
		opt.applyMemory(&c)
	}
	if c.err != nil {
		return nil, c.err
	}
	if c.clock == nil {
		c.clock = newSystemClock()
	}
	system, _ := c.clock.(*systemClock)
	count := shardCount(c.maxKeys)
	m := &Memory{
		clock:  c.clock,
		system: system,
		hash:   newHashKey(),
		shards: make([]shard, count),
		mask:   uint64(count - 1),
		stop:   func() {},
	}
	m.warner.logger = c.logger
	m.takes.New = func() any { return new(memoryTake) }
	for i := range m.shards {
		m.shards[i].number = i
		m.shards[i].maxKeys = c.maxKeys / count
	}
	if c.sweep > 0 {
		m.startSweeper(c.sweep)
	}
	return m, nil
}

// shardCount is a power of two: enough that all cores rarely meet, few enough
// that each shard has room for chance to even out.
func shardCount(maxKeys int) int {
	const keysPerShard = 1024
	most := min(1024, max(64, 16*runtime.GOMAXPROCS(0)))
	count := 1
	for count < most && maxKeys/(2*count) >= keysPerShard {
		count *= 2
	}
	return count
}

func (m *Memory) startSweeper(interval time.Duration) {
	done := make(chan struct{})
	ticker := time.NewTicker(interval)
	end := sync.OnceFunc(func() { close(done) })
	var sweeper sync.WaitGroup
	m.stop = func() {
		end()
		sweeper.Wait()
	}
	sweeper.Go(func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.Sweep()
			case <-done:
				return
			}
		}
	})
}

// Take implements [Backend].
func (m *Memory) Take(ctx context.Context, ops []Op, out []Decision) error {
	return m.run(ctx, ops, out, true)
}

// Peek implements [Backend].
func (m *Memory) Peek(ctx context.Context, ops []Op, out []Decision) error {
	return m.run(ctx, ops, out, false)
}

// run is Take, and without commit Peek.
func (m *Memory) run(ctx context.Context, ops []Op, out []Decision, commit bool) error {
	if err := checkOps(ops, out); err != nil {
		return err
	}
	if err := m.ready(ctx); err != nil {
		return err
	}
	m.take(ops, out, commit)
	return nil
}

// checkOps does for Memory what store.CheckOps does for other backends, which this
// package can't import.
func checkOps(ops []Op, out []Decision) error {
	if len(out) < len(ops) {
		return fmt.Errorf("%w: %d ops with room for %d decisions", ErrUsage, len(ops), len(out))
	}
	for i := range ops {
		if err := ops[i].Normalize(); err != nil {
			return err
		}
		for j := range i {
			if ops[j].Key == ops[i].Key {
				return fmt.Errorf("%w: %q", ErrDuplicateKey, ops[i].Key.ID)
			}
		}
	}
	return nil
}

// ready reports why nothing may be drawn: the backend is closed or was never made, or ctx
// ended.
func (m *Memory) ready(ctx context.Context) error {
	switch {
	case m.unmade():
		return errUnmade
	case ctx == nil:
		return errNoContext
	case m.closed.Load():
		return ErrClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

var errUnmade = fmt.Errorf("%w: the Memory is nil or a zero value; make it with NewMemory", ErrUsage)

func (m *Memory) unmade() bool { return m == nil || m.clock == nil }

// mustBeMade panics where there is no error to return.
func (m *Memory) mustBeMade() {
	if m.unmade() {
		panic(errUnmade)
	}
}

// enter locks the shard of the identity and returns the instant of the draw. The
// clock is read before, so that the lock is held for half as long.
func (m *Memory) enter(id string) (sh *shard, hash uint64, now Instant) {
	reading := m.reading()
	hash = m.hash.of(id)
	sh = &m.shards[hash&m.mask]
	sh.mu.Lock()
	return sh, hash, m.instant(sh, reading)
}

// now is what the clock shows, within what an [Instant] may be.
func (m *Memory) now() Instant { return m.clock.Now().Add(0) }

// reading is what the clock shows, for a draw that is about to lock its shard.
func (m *Memory) reading() int64 {
	if m.system == nil {
		return int64(m.now())
	}
	return m.system.reading()
}

// instant makes a reading that a draw took before it locked sh the instant of
// that draw.
func (m *Memory) instant(sh *shard, reading int64) Instant {
	if m.system == nil {
		return Instant(reading)
	}
	return m.system.at(sh.latest(reading))
}

// Reset implements [Backend]. It does not touch overflow counters, which clients share: a
// client that can make the application reset its own key must not reset the others. A key
// that is counted on one is free again when that resets, or by [Memory.ResetNamespace].
func (m *Memory) Reset(ctx context.Context, keys ...Key) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		hash := m.hash.of(key.ID)
		sh := &m.shards[hash&m.mask]
		sh.mu.Lock()
		if e := sh.find(hash, key); e != nil {
			sh.remove(e)
		}
		sh.mu.Unlock()
	}
	return nil
}

// ResetNamespace implements [NamespaceResetter]: it forgets all keys and overflow counters,
// one shard after the other. What [Memory.Stats] counts since the store was made goes on.
func (m *Memory) ResetNamespace(ctx context.Context) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	for i := range m.shards {
		m.shards[i].clear()
	}
	return nil
}

// ReadStates implements [StateReader]. A key that is counted on an overflow counter has no
// state.
func (m *Memory) ReadStates(ctx context.Context, keys []Key, dst [][]byte) ([][]byte, Instant, error) {
	if err := m.ready(ctx); err != nil {
		return dst, 0, err
	}
	for _, key := range keys {
		hash := m.hash.of(key.ID)
		sh := &m.shards[hash&m.mask]
		sh.mu.Lock()
		var state []byte
		if e := sh.find(hash, key); e != nil {
			state = slices.Clone(e.state(sh.stored[:0]))
		}
		sh.mu.Unlock()
		dst = append(dst, state)
	}
	return dst, m.now(), nil
}

// Sweep frees every expired key and every overflow counter that has reset, and returns the
// number of keys it freed. It locks one shard at a time and releases the lock every few
// hundred keys. Keys that expire while it runs may be left. After Close it frees none.
//
// In a store that runs full, don't sweep: a throttle with a long period fills the places
// freed from one with a short period, which then takes them back.
func (m *Memory) Sweep() int {
	m.mustBeMade()
	freed := 0
	for i := range m.shards {
		if m.closed.Load() {
			break // nobody needs the room, and Close waits
		}
		freed += m.shards[i].sweep(m.now)
	}
	return freed
}

// Len returns the number of keys held, expired ones that were not yet freed
// included. Overflow counters are no keys.
func (m *Memory) Len() int {
	m.mustBeMade()
	total := 0
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		total += sh.count
		sh.mu.Unlock()
	}
	return total
}

// Close implements [Backend]. It ends the sweeper, whose goroutine is gone when Close
// returns; the keys are left to the garbage collector.
func (m *Memory) Close() error {
	if m.unmade() {
		return errUnmade
	}
	m.closed.Store(true)
	m.stop()
	return nil
}

var (
	_ Backend           = (*Memory)(nil)
	_ StateReader       = (*Memory)(nil)
	_ NamespaceResetter = (*Memory)(nil)
)
