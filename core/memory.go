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
	"unique"
)

// DefaultMaxKeys bounds a [Memory] backend that is given no bound of its own.
const DefaultMaxKeys = 1_000_000

// Memory is the in-process backend. Keys are spread by identity over shards
// with a lock each, so that all throttles of one caller sit under one lock and
// any Take is atomic. Create it with [NewMemory]; it is safe for concurrent use
// and never blocks beyond those locks.
//
// The number of keys has a hard bound. When a shard is full, a newcomer takes
// the place of an expired key, or of the one with the largest share of its
// limit remaining among a bounded sample, ties going to the one that resets
// first. Keys that were denied or have nothing remaining are never given up for
// a newcomer, so nobody can wash out a record by asking under throw-away
// identities. If the sample holds no other, the newcomer is counted on one
// overflow counter per throttle, shared by all such newcomers: limited, never
// waved through. Giving back on the overflow counter has no effect.
//
// It starts no goroutine unless [WithSweepInterval] asks for one; expired keys
// make room as new ones come.
type Memory struct {
	clock    Clock
	system   *systemClock // clock, if it is of that type
	hash     hashKey
	shards   []shard
	mask     uint64
	closed   atomic.Bool
	overflow overflow
	stop     func() // ends the sweeper
	plans    sync.Pool
}

// overflow holds the counters shared by newcomers that found no room, one per
// scope. Its lock is taken after those of the shards.
type overflow struct {
	mu     sync.Mutex
	scopes map[unique.Handle[string]]*entry
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
// before it is reached. The overflow counters, one per throttle at most, come on
// top.
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
// is above 0, until Close. Without it they are freed as new keys come.
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
	m.overflow.scopes = make(map[unique.Handle[string]]*entry)
	m.plans.New = func() any { return new(memoryPlan) }
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
	var once sync.Once
	m.stop = func() { once.Do(func() { close(done) }) }
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.Sweep()
			case <-done:
				return
			}
		}
	}()
}

// Take implements [Backend].
func (m *Memory) Take(ctx context.Context, ops []Op, out []Decision) error {
	return m.run(ctx, ops, nil, out, true)
}

// Peek implements [Backend].
func (m *Memory) Peek(ctx context.Context, ops []Op, out []Decision) error {
	return m.run(ctx, ops, nil, out, false)
}

// run is Take, and without commit Peek. counts tell how to count the ops, nil for
// those that are counted as their strategy writes them; without it all are.
func (m *Memory) run(ctx context.Context, ops []Op, counts []*counting, out []Decision, commit bool) error {
	if err := CheckOps(ops, out); err != nil {
		return err
	}
	if err := m.ready(ctx); err != nil {
		return err
	}
	if len(ops) == 1 {
		op := &ops[0]
		m.drawOne(op.Key, op.Strategy, &op.Draw, &out[0], commit)
		return nil
	}
	m.drawAll(ops, counts, out, commit)
	return nil
}

// ready reports why nothing may be drawn: the backend is closed or ctx ended.
func (m *Memory) ready(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	if m.closed.Load() {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
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

// hit is drawOne for a draw of one unit or more that c counts. In the common
// case, a known key that c counted before, it is decided in place, and without
// defer: nothing can panic there.
func (m *Memory) hit(id string, c *counting, cost int64, out *Decision) {
	// The same as enter, written out to save three calls.
	var reading int64
	if m.system != nil {
		reading = m.system.reading()
	} else {
		reading = int64(m.now())
	}
	hash := m.hash.of(id)
	sh := &m.shards[hash&m.mask]
	sh.mu.Lock()
	now := Instant(reading)
	if m.system != nil {
		now = m.system.at(sh.latest(reading))
	}
	e := sh.find(hash, Key{Scope: c.scope, ID: id})
	if e == nil || e.by != c || !e.hit(int64(now), cost, out) {
		m.hitOther(sh, hash, id, e, c, cost, now, out)
		return
	}
	sh.mu.Unlock()
}

// hitOther is hit in all other cases, with e nil for a key that has no entry. It
// is called with the lock of sh held and releases it.
func (m *Memory) hitOther(sh *shard, hash uint64, id string, e *entry, c *counting, cost int64, now Instant, out *Decision) {
	defer sh.mu.Unlock()
	key, d := Key{Scope: c.scope, ID: id}, &Draw{Rate: c.rate, Cost: cost, Now: now}
	switch {
	case e != nil:
		e.draw(c, d, out)
	case !sh.hasRoom(d.Now):
		m.drawOverflow(sh, key.Scope, c.strategy, d, out, true)
	default:
		var untouched entry
		if untouched.draw(c, d, out); untouched.by != nil {
			e = sh.insert(hash, key, d.Now)
			e.by, e.numbers = c, untouched.numbers
		}
	}
}

// drawOne decides a single checked draw, which needs no plan: what it decides
// is what is stored.
func (m *Memory) drawOne(key Key, strategy Strategy, d *Draw, out *Decision, commit bool) {
	sh, hash, now := m.enter(key.ID)
	d.Now = now
	m.drawLocked(sh, hash, key, sh.find(hash, key), strategy, d, out, commit)
}

// drawLocked decides on e, nil for a key that has no entry. It is called with
// the lock of sh held and releases it.
func (m *Memory) drawLocked(sh *shard, hash uint64, key Key, e *entry, strategy Strategy, d *Draw, out *Decision, commit bool) {
	defer sh.mu.Unlock()
	if e == nil {
		m.drawNewcomer(sh, hash, key, strategy, d, out, commit)
		return
	}
	next := sh.decide(e.state(sh.stored[:0]), strategy, d, out)
	if commit {
		sh.store(e, d, next, out)
	}
}

// drawNewcomer decides a key that has no entry. The lock of sh is held.
func (m *Memory) drawNewcomer(sh *shard, hash uint64, key Key, strategy Strategy, d *Draw, out *Decision, commit bool) {
	if !sh.hasRoom(d.Now) {
		m.drawOverflow(sh, key.Scope, strategy, d, out, commit)
		return
	}
	next := sh.decide(nil, strategy, d, out)
	if commit && len(next) > 0 {
		sh.insertBytes(hash, key, d, next, out)
	}
}

// drawOverflow decides a newcomer that found no room. The lock of sh is held,
// whose memory it borrows.
func (m *Memory) drawOverflow(sh *shard, scope unique.Handle[string], strategy Strategy, d *Draw, out *Decision, commit bool) {
	m.overflow.mu.Lock()
	defer m.overflow.mu.Unlock()
	e := m.overflow.entry(scope)
	next := sh.decide(e.state(sh.stored[:0]), strategy, d, out)
	if commit {
		e.storeOverflow(d, next, out)
		sh.lookFurther()
	}
}

// storeOverflow keeps a decision on the overflow counter e. A gift has no effect.
func (e *entry) storeOverflow(d *Draw, next []byte, dec *Decision) {
	if d.Cost >= 0 {
		e.store(d, next, dec)
	}
}

// entry returns the overflow counter of scope. The lock is held.
func (o *overflow) entry(scope unique.Handle[string]) *entry {
	e := o.scopes[scope]
	if e == nil {
		e = new(entry)
		o.scopes[scope] = e
	}
	return e
}

// Reset implements [Backend]. The overflow counters are reset by
// [Memory.ResetNamespace] only.
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

// ResetNamespace implements [NamespaceResetter]: it forgets everything.
func (m *Memory) ResetNamespace(ctx context.Context) error {
	if err := m.ready(ctx); err != nil {
		return err
	}
	for i := range m.shards {
		m.shards[i].clear()
	}
	m.overflow.mu.Lock()
	defer m.overflow.mu.Unlock()
	clear(m.overflow.scopes)
	return nil
}

// ReadStates implements [StateReader].
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

// Sweep frees every expired key and returns how many there were. It locks one
// shard at a time.
func (m *Memory) Sweep() int {
	freed := 0
	for i := range m.shards {
		freed += m.shards[i].sweep(m.now)
	}
	return freed
}

// Len returns the number of keys held, expired ones that were not yet freed
// included.
func (m *Memory) Len() int {
	total := 0
	for i := range m.shards {
		sh := &m.shards[i]
		sh.mu.Lock()
		total += sh.count
		sh.mu.Unlock()
	}
	return total
}

// Close implements [Backend]. It ends the sweeper; the keys are left to the
// garbage collector.
func (m *Memory) Close() error {
	m.closed.Store(true)
	m.stop()
	return nil
}

var (
	_ Backend           = (*Memory)(nil)
	_ StateReader       = (*Memory)(nil)
	_ NamespaceResetter = (*Memory)(nil)
)
