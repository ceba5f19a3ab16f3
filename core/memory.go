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

// DefaultMaxKeys is how many keys a [Memory] holds at most without [WithMaxKeys].
const DefaultMaxKeys = 1_000_000

// Memory is the in-process backend. Create it with [NewMemory]. It spreads keys by identity
// over shards with one lock each: all throttles of one caller are under one lock, and every
// Take is atomic. The methods of a nil or zero Memory return an error wrapping [ErrUsage];
// those that return no error panic with it.
//
// It is safe for concurrent use and blocks only on those locks. A call holds one for a short
// time that does not depend on the number of keys, except when a shard's table doubles. A
// strategy whose state grows with the limit, such as [SlidingWindowLog], runs under the lock
// too. Memory starts no goroutine without [WithSweepInterval]: new keys replace expired ones.
//
// The number of keys has a hard bound, divided among the shards. The share of each throttle
// is the bound of a shard divided by the throttles in it. A throttle may hold more than its
// share. While it holds no more, it never loses an unexpired key to another throttle. A new
// key in a full shard replaces an expired key. If there is none, it replaces a key of the
// largest throttle above its share, or else a key of the same throttle that is neither used
// up nor denied. It looks at a sample of such keys and replaces the one with the most
// remaining units. If no key may be replaced, the new key is counted on an overflow counter
// under its throttle's rate and strategy. A throttle has about one such counter for sixteen
// keys, and new keys are spread over them by identity. So every caller is always limited.
//
// A full store is not exact: a key that was replaced starts afresh when it comes again, and
// new keys on one overflow counter share a limit. The store then logs a warning (see
// [WithLogger]), and [Memory.Stats] shows which throttles are affected.
//
// A refund reaches the entry or the overflow counter that counted the draw, and does nothing
// if that is gone. A decorator must pass Decisions on as they are: copied field by field,
// they lose where the draw was counted.
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

// WithMaxKeys bounds the number of keys; it must be 1 or more, and the default is
// [DefaultMaxKeys]. The bound is divided among the shards, so a store may be full a little
// below it. Overflow counters come on top: for each throttle at most one for sixteen of its
// keys, or one for each shard.
//
// Use more keys than there are clients within the longest period. Under a limit of once a
// day with more visitors a day than keys, late visitors share overflow counters.
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

// WithSweepInterval starts a goroutine that frees expired keys each interval, which must be
// above 0, until Close. Without it new keys replace them. See [Memory.Sweep].
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

// shardCount is a power of two: enough shards that cores rarely wait for each other, and few
// enough that each holds its part of the keys by chance.
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

// ready returns an error if the backend is closed or was never made, or if ctx has ended.
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

// enter locks the shard of an identity and returns the instant of the draw. It reads the
// clock first, which halves the time that the lock is held.
func (m *Memory) enter(id string) (sh *shard, hash uint64, now Instant) {
	reading := m.reading()
	sh, hash = m.shard(id)
	sh.mu.Lock()
	return sh, hash, m.instant(sh, reading)
}

// now reads the clock, clamped to the range of an [Instant].
func (m *Memory) now() Instant { return m.clock.Now().Add(0) }

// reading reads the clock for a draw that is about to lock its shard.
func (m *Memory) reading() int64 {
	if m.system == nil {
		return int64(m.now())
	}
	return m.system.reading()
}

// instant turns the reading that a draw took before it locked sh into its instant.
func (m *Memory) instant(sh *shard, reading int64) Instant {
	if m.system == nil {
		return Instant(reading)
	}
	return m.system.at(sh.latest(reading))
}

// Reset implements [Backend]. It leaves overflow counters alone, because clients share them:
// a client that can have its own key reset must not reset the others. A key on an overflow
// counter is free when that resets, or after [Memory.ResetNamespace].
func (m *Memory) Reset(ctx context.Context, keys ...Key) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	for _, key := range keys {
		sh, hash := m.shard(key.ID)
		sh.mu.Lock()
		if e := sh.find(hash, key); e != nil {
			sh.remove(e)
		}
		sh.mu.Unlock()
	}
	return nil
}

// ResetNamespace implements [NamespaceResetter]: it forgets all keys and overflow counters,
// one shard after the other. The totals of [Memory.Stats] stay.
func (m *Memory) ResetNamespace(ctx context.Context) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	for i := range m.shards {
		m.shards[i].clear()
	}
	return nil
}

// ReadStates implements [StateReader]. A key on an overflow counter has no state.
func (m *Memory) ReadStates(ctx context.Context, keys []Key, dst [][]byte) ([][]byte, Instant, error) {
	if err := m.ready(ctx); err != nil {
		return dst, 0, err
	}
	for _, key := range keys {
		sh, hash := m.shard(key.ID)
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
// number of freed keys. It locks one shard at a time and releases the lock every few hundred
// keys. It may miss keys that expire while it runs. After Close it frees none.
//
// Don't sweep a store that runs full: a throttle with a long period would fill the room that
// a throttle with a short period soon needs again.
func (m *Memory) Sweep() int {
	m.mustBeMade()
	freed := 0
	for i := range m.shards {
		if m.closed.Load() {
			break // Close waits for the sweeper
		}
		freed += m.shards[i].sweep(m.now)
	}
	return freed
}

// Len returns the number of keys, including expired ones that are not freed yet. Overflow
// counters don't count as keys.
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

// Close implements [Backend]. It stops the goroutine of [WithSweepInterval] and waits for it.
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
