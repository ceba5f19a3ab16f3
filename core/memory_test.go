package traffik

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// handClock is a clock set by hand.
type handClock struct {
	mu  sync.Mutex
	now Instant
}

func (c *handClock) Now() Instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// silent keeps the warnings of stores that a test fills out of what the tests print.
var silent = WithLogger(slog.New(slog.DiscardHandler))

const testEpoch Instant = 1_700_000_000_000_000

func newTestMemory(t testing.TB, opts ...MemoryOption) (*Memory, *handClock) {
	t.Helper()
	clock := &handClock{now: testEpoch}
	m, err := NewMemory(append([]MemoryOption{WithClock(clock), silent}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, clock
}

func newTestThrottle(t testing.TB, rate string, opts ...Option) *Throttle {
	t.Helper()
	throttle, err := New(t.Name(), rate, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return throttle
}

func hit(t testing.TB, throttle *Throttle, key string) Result {
	t.Helper()
	res, err := throttle.Key(key).Hit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// A million throw-away identities against a store with room for ten thousand:
// the bound holds, what was denied or used up stays so, and newcomers that find
// no room are limited all the same.
func TestMemoryUnderAFloodOfKeys(t *testing.T) {
	t.Parallel()
	const bound = 10_000
	flood := 1_000_000
	if testing.Short() {
		flood = 100_000
	}
	m, _ := newTestMemory(t, WithMaxKeys(bound))
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	for range 6 {
		hit(t, throttle, "denied")
	}
	for range 5 {
		hit(t, throttle, "used up")
	}
	for i := range flood {
		if res := hit(t, throttle, "throw-away-"+strconv.Itoa(i)); !res.Allowed {
			t.Fatalf("the newcomer %d was denied though others could make room", i)
		}
		if i%1000 == 0 && m.Len() > bound {
			t.Fatalf("%d keys after %d newcomers, bound %d", m.Len(), i, bound)
		}
	}
	if m.Len() > bound {
		t.Errorf("%d keys, bound %d", m.Len(), bound)
	}
	for _, key := range []string{"denied", "used up"} {
		if res := hit(t, throttle, key); res.Allowed {
			t.Errorf("the key %q was washed out by the flood", key)
		}
	}
}

// When every key is protected, newcomers share one counter: five in all get
// through, not five each.
func TestMemoryOverflow(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t, WithMaxKeys(8))
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	for i := range 8 {
		res, err := throttle.Key("full-"+strconv.Itoa(i)).HitN(t.Context(), 5)
		if err != nil || !res.Allowed {
			t.Fatalf("filling up: %+v, %v", res, err)
		}
	}
	admitted := 0
	for i := range 100 {
		key := "newcomer-" + strconv.Itoa(i)
		peek, err := throttle.Key(key).Check(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		res := hit(t, throttle, key)
		if peek.Decision != res.Decision {
			t.Errorf("Check said %+v, Hit %+v", peek.Decision, res.Decision)
		}
		if res.Allowed {
			admitted++
		}
	}
	if admitted != 5 {
		t.Errorf("%d newcomers were admitted to a store of protected keys, want the 5 of one shared counter", admitted)
	}
	if got := m.Len(); got != 8 {
		t.Errorf("%d keys, want 8", got)
	}
	clock.advance(2 * time.Hour)
	for i := range 8 {
		if res := hit(t, throttle, "later-"+strconv.Itoa(i)); !res.Allowed || res.Remaining != 4 {
			t.Errorf("after all had expired a newcomer got %+v, want a key of its own", res.Decision)
		}
	}
}

// Several newcomers of one Take never evict each other or what the Take draws
// on, and share the overflow counter of their scope in order.
func TestMemoryTakeOfSeveralNewcomers(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t, WithMaxKeys(3))
	rate := Per(5, time.Hour)
	op := func(uid, id string, cost int64) Op {
		return Op{Key: Key{Scope: escape.Scope(uid, "fixed"), ID: id}, Strategy: FixedWindow{}, Draw: Draw{Rate: rate, Cost: cost}}
	}
	out := make([]Decision, 4)
	take := func(ops ...Op) []Decision {
		t.Helper()
		if err := m.Take(t.Context(), ops, out); err != nil {
			t.Fatal(err)
		}
		return out[:len(ops)]
	}
	take(op("a", "x", 1), op("b", "x", 1), op("c", "x", 1))
	// Full. The three stay, the fourth of the same Take must find a victim among
	// none, and so overflow.
	got := take(op("a", "x", 1), op("b", "x", 1), op("c", "x", 1), op("d", "x", 1))
	for i, dec := range got[:3] {
		if dec.Remaining != 3 {
			t.Errorf("op %d: %+v, want 3 remaining", i, dec)
		}
	}
	if got[3].Remaining != 4 {
		t.Errorf("the newcomer got %+v, want 4 remaining", got[3])
	}
	if m.Len() != 3 {
		t.Errorf("%d keys, want 3", m.Len())
	}
	// Two newcomers of one scope on the overflow counter: 3 and 2 of what is
	// left there fit, then nothing does.
	take(op("a", "x", 3), op("b", "x", 3), op("c", "x", 3))
	got = take(op("e", "y", 3), op("e", "z", 2))
	if !got[0].Allowed || !got[1].Allowed || got[1].Remaining != 0 {
		t.Errorf("two newcomers on one counter: %+v, want both admitted and nothing remaining", got)
	}
	got = take(op("e", "v", 1), op("f", "v", 1))
	if got[0].Allowed || got[1].Remaining != 5 {
		t.Errorf("a denied Take on overflow counters: %+v, want the first denied, the second uncharged", got)
	}
}

func TestMemoryEvictsTheLeastUsed(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t, WithMaxKeys(8))
	throttle := newTestThrottle(t, "10/h", WithBackend(m))
	for i := range 8 {
		for range i + 1 {
			hit(t, throttle, "key-"+strconv.Itoa(i))
		}
	}
	hit(t, throttle, "newcomer")
	for i := range 8 {
		res, err := throttle.Key("key-" + strconv.Itoa(i)).Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := int64(10 - (i + 1))
		if i == 0 {
			want = 10 // the one with the largest share remaining had to go
		}
		if res.Remaining != want {
			t.Errorf("key-%d has %d remaining, want %d", i, res.Remaining, want)
		}
	}
}

// A look at an expired key, a sweep and a newcomer all free what has expired.
func TestMemorySweep(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t, WithMaxKeys(100_000))
	throttle := newTestThrottle(t, "5/min", WithBackend(m))
	for i := range 5000 {
		hit(t, throttle, strconv.Itoa(i))
	}
	clock.advance(2 * time.Minute)
	for i := range 5000 {
		hit(t, throttle, "later-"+strconv.Itoa(i))
	}
	if got := m.Len(); got > 6000 {
		t.Errorf("%d keys, want the 5000 expired ones to have made room as others came", got)
	}
	clock.advance(2 * time.Minute)
	m.Sweep()
	if got := m.Len(); got != 0 {
		t.Errorf("%d keys after a sweep of expired ones, want 0", got)
	}
	if res := hit(t, throttle, "1"); res.Remaining != 4 {
		t.Errorf("%+v after a sweep, want a fresh key", res.Decision)
	}
}

// A key that was counted under a short rate stays for as long as a denial under a longer
// one says, whichever way that was drawn.
func TestMemoryShortRateLengthens(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{FixedWindow{}, TokenBucket{}, SlidingWindowLog{}} {
		for way, draw := range map[string]func(*Throttle, *Throttle) (Result, error){
			"hit": func(long, _ *Throttle) (Result, error) { return long.Key("k").Hit(t.Context()) },
			"n":   func(long, _ *Throttle) (Result, error) { return long.Key("k").HitN(t.Context(), 2) },
			"gate": func(long, other *Throttle) (Result, error) {
				v, err := All(other, long).Key("k").Hit(t.Context())
				return v.Results()[1], err
			},
		} {
			m, clock := newTestMemory(t)
			short := newTestThrottle(t, "3/s", WithBackend(m), WithStrategy(s))
			long := newTestThrottle(t, "3/h", WithBackend(m), WithStrategy(s))
			other, err := New("other", "9/h", WithBackend(m))
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				hit(t, short, "k")
			}
			res, err := draw(long, other)
			if err != nil || res.Allowed {
				t.Fatalf("%s, %s: %+v, %v; want a denial", s.ID(), way, res, err)
			}
			clock.advance(res.RetryAfter - time.Microsecond)
			m.Sweep()
			if again, err := draw(long, other); err != nil || again.Allowed {
				t.Errorf("%s, %s: %+v, %v a moment before RetryAfter; want a denial", s.ID(), way, again, err)
			}
		}
	}
}

// The overflow counter may deny before it has counted anything.
func TestMemoryOverflowDeniesAtOnce(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{FixedWindow{}, SlidingWindowLog{}} {
		m, _ := newTestMemory(t, WithMaxKeys(1))
		throttle := newTestThrottle(t, "1/h", WithBackend(m), WithStrategy(s))
		hit(t, throttle, "protected")
		if res, err := throttle.Key("newcomer").HitN(t.Context(), 2); err != nil || res.Allowed || res.RetryAfter != Never {
			t.Errorf("%s: %+v, %v; want a denial for ever", s.ID(), res, err)
		}
	}
}

func TestMemorySweepInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m, err := NewMemory(WithSweepInterval(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		throttle := newTestThrottle(t, "5/s", WithBackend(m))
		hit(t, throttle, "a")
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's clock
		synctest.Wait()
		if m.Len() != 0 {
			t.Errorf("%d keys a minute after they expired, want 0", m.Len())
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		_ = m.Close() // twice is fine; a sweeper left over would hang the bubble
	})
}

// In a bubble of testing/synctest a backend follows the bubble's clock, also
// one made outside.
func TestMemoryInsideSynctest(t *testing.T) {
	t.Parallel()
	outside, err := NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	throttle := newTestThrottle(t, "5/min", WithBackend(outside))
	synctest.Test(t, func(t *testing.T) {
		for range 6 {
			hit(t, throttle, "a")
		}
		res := hit(t, throttle, "a")
		if res.Allowed {
			t.Fatal("a seventh draw of 5/min was admitted")
		}
		time.Sleep(res.RetryAfter) //nolint:forbidigo // the bubble's clock
		if !hit(t, throttle, "a").Allowed {
			t.Error("denied after RetryAfter of the bubble's clock")
		}
	})
}

// Model check of the table itself: random inserts, removals and look-ups
// against a map, with growth, chains and reuse of entries.
func TestShardAgainstAMap(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	sh := &shard{maxKeys: 1 << 20}
	want := map[string]*entry{}
	scope := escape.Scope("u", "s")
	for step := range 50_000 {
		id := strconv.Itoa(rnd.IntN(3000))
		key, hash := Key{Scope: scope, ID: id}, uint64(len(id))<<40|uint64(id[0])<<32 // few hashes: long chains
		e := sh.find(hash, key)
		if e != want[id] {
			t.Fatalf("step %d: find(%q) = %p, want %p", step, id, e, want[id])
		}
		switch {
		case e == nil:
			e = sh.insert(hash, key, 1, room{})
			e.rest = &rest{scope: scope, reset: 2} // not expired
			want[id] = e
		case rnd.IntN(2) == 0:
			sh.remove(e)
			delete(want, id)
		}
		if sh.count != len(want) {
			t.Fatalf("step %d: count %d, want %d", step, sh.count, len(want))
		}
	}
}

func TestMemoryConfig(t *testing.T) {
	t.Parallel()
	for _, opt := range []MemoryOption{WithMaxKeys(0), WithMaxKeys(-1), WithClock(nil), WithSweepInterval(0), nil} {
		if _, err := NewMemory(opt); !errors.Is(err, ErrConfig) {
			t.Errorf("error %v, want ErrConfig", err)
		}
	}
	for _, n := range []int{1, 2, 3, 100, 5000, DefaultMaxKeys} {
		m, err := NewMemory(WithMaxKeys(n))
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for i := range m.shards {
			total += m.shards[i].maxKeys
		}
		if total > n || total < n-len(m.shards) || m.shards[0].maxKeys < 1 {
			t.Errorf("WithMaxKeys(%d) makes %d shards with room for %d", n, len(m.shards), total)
		}
	}
}

// A Take or Peek of no ops does nothing.
func TestMemoryTakeOfNothing(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	if err := errors.Join(m.Take(t.Context(), nil, nil), m.Peek(t.Context(), nil, nil)); err != nil {
		t.Error(err)
	}
}

// A panic in a user's strategy must not leave a lock behind.
func TestMemorySurvivesAPanic(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t, WithMaxKeys(1))
	bad := newTestThrottle(t, "5/h", WithBackend(m), WithStrategy(panics{}))
	good := newTestThrottle(t, "5/h", WithBackend(m))
	for _, try := range []func(){
		func() { _, _ = bad.Key("k").Hit(context.Background()) },
		func() { _, _ = All(bad, good).Key("k").Hit(context.Background()) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			try()
		}()
	}
	if res := hit(t, good, "k"); !res.Allowed {
		t.Errorf("%+v after a panic, want it admitted", res.Decision)
	}
}

type panics struct{ FixedWindow }

func (panics) ID() string { return "panics.1" }
func (panics) Decide([]byte, []byte, *Draw) ([]byte, Decision) {
	panic("a defect in a strategy")
}

func ExampleNewMemory() {
	backend, err := NewMemory(WithMaxKeys(50_000))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = backend.Close() }()
	logins := MustNew("logins", "5/min", WithBackend(backend))
	res, _ := logins.Key("user:42").Hit(context.Background())
	fmt.Println(res.Allowed, res.Remaining)
	// Output: true 4
}

// An entry is one cache line, and a page of them has no header of the runtime's.
func TestEntryLayout(t *testing.T) {
	t.Parallel()
	wide := unsafe.Sizeof(uintptr(0)) == 8 // with short pointers all is smaller
	if size := unsafe.Sizeof(entry{}); wide && size != 64 || size > 64 {
		t.Errorf("an entry has %d bytes, want 64", size)
	}
	if size := unsafe.Sizeof(shard{}); wide && size%64 != 0 {
		t.Errorf("a shard has %d bytes, want a multiple of 64", size)
	}
	if size := unsafe.Sizeof(record{}); size > 288 {
		t.Errorf("the record of a verdict takes %d bytes, want no more than a size class of 288", size)
	}
	if size := unsafe.Sizeof([pageEntries]entry{}); size > 512 {
		t.Errorf("a page of entries has %d bytes, want at most 512", size)
	}
}

// A sample of nothing but protected keys is not looked at for ever: newcomers
// find the expired keys and the ones hardly used behind it.
func TestMemoryLooksBehindProtectedKeys(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t, WithMaxKeys(1000))
	long := newTestThrottle(t, "1/d", WithBackend(m))
	short, err := New(t.Name()+"/short", "5/s", WithBackend(m), WithStrategy(TokenBucket{}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 500 {
		hit(t, long, "used-up-"+strconv.Itoa(i))
		hit(t, short, "soon-expired-"+strconv.Itoa(i))
	}
	clock.advance(time.Hour)
	admitted := 0
	for i := range 1000 {
		if hit(t, short, "newcomer-"+strconv.Itoa(i)).Allowed {
			admitted++
		}
	}
	if admitted < 900 {
		t.Errorf("%d of 1000 newcomers were admitted to a store half of which has expired", admitted)
	}
	if freed := m.Sweep(); freed > 100 {
		t.Errorf("%d expired keys were left standing", freed)
	}
	for i := range 500 {
		if hit(t, long, "used-up-"+strconv.Itoa(i)).Allowed {
			t.Fatalf("the used up key %d was given up", i)
		}
	}
}

// The same for Takes of several.
func TestMemoryGatesLookBehindProtectedKeys(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t, WithMaxKeys(1000))
	usedUp := newTestThrottle(t, "1/d", WithBackend(m))
	for i := range 500 {
		hit(t, usedUp, "used-up-"+strconv.Itoa(i))
	}
	var limiters []Limiter
	for _, uid := range []string{"a", "b"} {
		limiters = append(limiters, MustNew(uid, "9/d", WithBackend(m)))
	}
	gate := All(limiters...)
	overflowed := 0
	for i := range 2000 {
		v, err := gate.Key("newcomer-" + strconv.Itoa(i)).Hit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if v.Tightest().Remaining != 8 {
			overflowed++
		}
	}
	if overflowed > 200 {
		t.Errorf("%d of 2000 newcomers found no room beside 500 protected keys of 1000", overflowed)
	}
}

// A clock of the application's that reads a time before 1970 is taken as 1970.
func TestMemoryClockBefore1970(t *testing.T) {
	t.Parallel()
	for _, strategy := range []Strategy{FixedWindow{}, SlidingWindowCounter{}, SlidingWindowLog{}, TokenBucket{}, GCRA{Burst: 2}} {
		m, clock := newTestMemory(t)
		clock.now = -5
		throttle := newTestThrottle(t, "2/min", WithBackend(m), WithStrategy(strategy))
		other, err := New(t.Name()+"/other", "9/min", WithBackend(m), WithStrategy(strategy))
		if err != nil {
			t.Fatal(err)
		}
		gate := All(throttle, other)
		for i := range 5 {
			if res := hit(t, throttle, "k"); res.Allowed != (i < 2) || res.At < 0 {
				t.Errorf("%T, hit %d: %+v", strategy, i, res.Decision)
			}
			if v, err := gate.Key("l").Hit(t.Context()); err != nil || v.Allowed() != (i < 2) {
				t.Errorf("%T, gate, hit %d: %+v, %v", strategy, i, v.Results(), err)
			}
		}
	}
}

// lateClock is asked by a sweep that takes its time.
type lateClock struct {
	handClock
	asked, goOn chan struct{}
}

func (c *lateClock) Now() Instant {
	select {
	case c.asked <- struct{}{}:
		<-c.goOn
	default:
	}
	return c.handClock.Now()
}

// Close returns when the sweeper has ended, also one that is at work.
func TestMemoryCloseWaitsForTheSweeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		clock := &lateClock{asked: make(chan struct{}), goOn: make(chan struct{})}
		m, err := NewMemory(WithClock(clock), WithSweepInterval(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newNamed(t, "sweep", "1/d", WithBackend(m)).Key("k").Hit(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-clock.asked
		var closed atomic.Bool
		go func() {
			_ = m.Close()
			closed.Store(true)
		}()
		synctest.Wait()
		if closed.Load() {
			t.Error("Close returned while the sweeper was at work")
		}
		close(clock.goOn)
		synctest.Wait()
		if !closed.Load() {
			t.Error("Close did not return when the sweeper had ended")
		}
	})
}
