package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// held starts a Take on ids whose read is held up until release is called.
func held(t *testing.T, f *fake, b *store.Backend, ids ...string) (first <-chan taken, release func()) {
	t.Helper()
	hold := make(chan struct{})
	f.onRead = func(n int64) error {
		if n == 1 {
			<-hold
		}
		return nil
	}
	var ops []traffik.Op
	for _, id := range ids {
		ops = append(ops, draw(id, 1))
	}
	first = takeIn(t.Context(), b, ops...)
	synctest.Wait()
	return first, sync.OnceFunc(func() { close(hold) })
}

// Calls that wait for a key are decided in order of arrival, with one read and one write.
func TestWaitingCallsAreDecidedTogether(t *testing.T) {
	t.Parallel()
	for name := range newFake().both() {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			b := newBackend(t, f.both()[name], store.Options{})
			first, release := held(t, f, b, "hot")
			var waiting []<-chan taken
			for _, cost := range []int64{3, 2, 9, 1, -2, 4} {
				waiting = append(waiting, takeIn(t.Context(), b, draw("hot", cost)))
				synctest.Wait()
			}
			release()
			<-first
			for i, want := range []traffik.Decision{
				{Allowed: true, Remaining: 6}, {Allowed: true, Remaining: 4}, {Remaining: 4}, {Allowed: true, Remaining: 3}, {Allowed: true, Remaining: 5}, {Allowed: true, Remaining: 1},
			} {
				got := <-waiting[i]
				if got.err != nil || got.out[0].Allowed != want.Allowed || got.out[0].Remaining != want.Remaining {
					t.Errorf("%s: call %d: %+v, %v; want %+v", name, i, got.out, got.err, want)
				}
			}
			if r, w := f.reads.Load(), f.writes.Load(); r != 2 || w != 2 {
				t.Errorf("%s: %d reads and %d writes, want two each", name, r, w)
			}
			wantLeft(t, b, "hot", 1)
		})
	}
}

// Calls over different keys of which one is common go together where all keys are written
// at once, and one after the other where they are not.
func TestCallsWithACommonKey(t *testing.T) {
	t.Parallel()
	for name, writes := range map[string]int64{"key by key": 8, "all at once": 2} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			b := newBackend(t, f.both()[name], store.Options{})
			first, release := held(t, f, b, "hot", "a")
			waiting := []<-chan taken{}
			for _, id := range []string{"b", "x", "c"} { // before and after "hot"
				waiting = append(waiting, takeIn(t.Context(), b, draw("hot", 1), draw(id, 2)))
				synctest.Wait()
			}
			release()
			for i, done := range append(waiting, first) {
				if got := <-done; got.err != nil || !got.out[0].Allowed || !got.out[1].Allowed {
					t.Errorf("%s: call %d: %+v", name, i, got)
				}
			}
			if w := f.writes.Load(); w != writes {
				t.Errorf("%s: %d writes, want %d", name, w, writes)
			}
			wantLeft(t, b, "hot", 6)
			wantLeft(t, b, "x", 8)
		})
	}
}

// A caller that leaves while it waits is not charged. One that leaves while it is decided
// gets its units back. Both return at once.
func TestCallersThatLeave(t *testing.T) {
	t.Parallel()
	for name := range newFake().both() {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			b := newBackend(t, f.both()[name], store.Options{})
			first, release := held(t, f, b, "hot")
			hold := make(chan struct{})
			f.onWrite = func(n int64) error {
				if n == 2 {
					<-hold
				}
				return nil
			}
			leave := errors.New("the caller left")
			ctx, cancel := context.WithCancelCause(t.Context())
			waits := takeIn(ctx, b, draw("hot", 4))
			synctest.Wait()
			cancel(leave)
			if got := <-waits; !errors.Is(got.err, leave) {
				t.Errorf("%s: the caller that waited got %+v", name, got)
			}
			ctx, cancel = context.WithCancelCause(t.Context())
			second, third := takeIn(ctx, b, draw("hot", 2)), takeIn(t.Context(), b, draw("hot", 3))
			synctest.Wait()
			release()
			synctest.Wait() // they are decided together, and about to be written
			cancel(leave)
			if got := <-second; !errors.Is(got.err, leave) {
				t.Errorf("%s: the caller of the batch got %+v", name, got)
			}
			close(hold)
			if got := <-third; got.err != nil || !got.out[0].Allowed {
				t.Errorf("%s: the other caller of the batch got %+v", name, got)
			}
			<-first
			synctest.Wait()
			wantLeft(t, b, "hot", 10-1-3)
		})
	}
}

// A strategy's panic is its caller's alone; a panic or an exit in the store ends all calls
// of the batch, and the key is free again.
func TestPanics(t *testing.T) {
	t.Parallel()
	for name := range newFake().both() {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			b := newBackend(t, f.both()[name], store.Options{})
			first, release := held(t, f, b, "hot")
			bad := draw("hot", 1)
			bad.Strategy = broken{}
			before, panics, after := takeIn(t.Context(), b, draw("hot", 2)), takeIn(t.Context(), b, bad), takeIn(t.Context(), b, draw("hot", 3))
			synctest.Wait()
			release()
			<-first
			if got := <-panics; got.panicked != "defect" {
				t.Errorf("%s: the caller of the panic got %+v", name, got)
			}
			for _, done := range []<-chan taken{before, after} {
				if got := <-done; got.err != nil || got.panicked != nil || !got.out[0].Allowed {
					t.Errorf("%s: a caller beside the panic got %+v", name, got)
				}
			}
			wantLeft(t, b, "hot", 4)
			f.onWrite = func(int64) error { panic("store") }
			if got := <-takeIn(t.Context(), b, draw("hot", 1)); got.panicked != "store" {
				t.Errorf("%s: a panic of the store: %+v", name, got)
			}
			f.onWrite = func(int64) error { runtime.Goexit(); return nil }
			if got := <-takeIn(t.Context(), b, draw("hot", 1)); !errors.Is(got.err, store.ErrExited) || !errors.Is(got.err, traffik.ErrBackend) {
				t.Errorf("%s: an exit of the store: %+v", name, got)
			}
			f.onWrite = nil
			wantLeft(t, b, "hot", 4)
			<-takeIn(t.Context(), b, draw("hot", 1))
			wantLeft(t, b, "hot", 3)
		})
	}
}

// What was written before a failure is refunded; a conflict starts over.
func TestAllOrNothingKeyByKey(t *testing.T) {
	t.Parallel()
	down := fmt.Errorf("%w: down", traffik.ErrBackend)
	for _, c := range []struct {
		nth  int64 // the write that fails, of a, b and c
		fail error
		left int64
	}{{1, down, 10}, {2, down, 10}, {3, down, 10}, {1, store.ErrConflict, 8}, {2, store.ErrConflict, 8}, {3, store.ErrConflict, 8}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			b := newBackend(t, f, store.Options{})
			f.onWrite = func(n int64) error {
				if n == c.nth {
					return c.fail
				}
				return nil
			}
			advisory := draw("c", 2)
			advisory.Advisory = true // written last
			got := <-takeIn(t.Context(), b, advisory, draw("a", 2), draw("b", 2))
			if conflict := errors.Is(c.fail, store.ErrConflict); conflict != (got.err == nil) {
				t.Errorf("write %d fails with %v: %+v", c.nth, c.fail, got)
			}
			for _, id := range []string{"a", "b", "c"} {
				wantLeft(t, b, id, c.left)
			}
		})
	}
}

// What was written before the store panics is refunded too.
func TestPanicBetweenTwoKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		b := newBackend(t, f, store.Options{})
		f.onWrite = func(n int64) error {
			if n == 2 {
				panic("store")
			}
			return nil
		}
		if got := <-takeIn(t.Context(), b, draw("a", 2), draw("b", 2)); got.panicked != "store" {
			t.Errorf("%+v, want the panic", got)
		}
		wantLeft(t, b, "a", 10)
		wantLeft(t, b, "b", 10)
	})
}

// A store that conflicts for ever ends in ErrContention; a store that is silent ends in
// Options.Late, and waiting for others in Options.Busy.
func TestErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		late, busy := errors.New("late"), errors.New("busy")
		f := newFake()
		b := newBackend(t, f, store.Options{Timeout: 2 * time.Second, Late: late, Busy: busy})
		f.onWrite = func(int64) error { return store.ErrConflict }
		if got := <-takeIn(t.Context(), b, draw("a", 1)); !errors.Is(got.err, traffik.ErrContention) {
			t.Errorf("conflicts for ever: %+v", got)
		}
		hold := make(chan struct{})
		f.onWrite = func(int64) error { <-hold; return nil }
		first := takeIn(t.Context(), b, draw("a", 1))
		synctest.Wait()
		second := takeIn(t.Context(), b, draw("a", 1)) // looks, and finds that it would write
		if got := <-first; !errors.Is(got.err, late) {
			t.Errorf("no answer: %+v", got)
		}
		if got := <-second; !errors.Is(got.err, busy) {
			t.Errorf("others work on the key: %+v", got)
		}
		close(hold)
		synctest.Wait()
		wantLeft(t, b, "a", 10)
	})
}

// Nothing more is written for a caller whose context has ended, even before it notices: one
// charge, and its refund.
func TestNoWriteAfterTheEndOfTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		b := newBackend(t, f, store.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		f.onWrite = func(n int64) error {
			if n == 1 {
				cancel()
			}
			return nil
		}
		if got := <-takeIn(ctx, b, draw("a", 2), draw("b", 2)); !errors.Is(got.err, context.Canceled) {
			t.Errorf("%+v, want the end of the context", got)
		}
		synctest.Wait()
		if w := f.writes.Load(); w != 2 {
			t.Errorf("%d writes, want 2", w)
		}
		wantLeft(t, b, "a", 10)
		wantLeft(t, b, "b", 10)
	})
}

// A denial doesn't wait for a key that another call holds.
func TestDenialsDoNotWait(t *testing.T) {
	t.Parallel()
	for name := range newFake().both() {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			b := newBackend(t, f.both()[name], store.Options{})
			<-takeIn(t.Context(), b, draw("hot", 10))
			hold := make(chan struct{})
			f.onWrite = func(int64) error { <-hold; return nil }
			holds := takeIn(t.Context(), b, draw("hot", -1))
			synctest.Wait()
			var denied []<-chan taken
			for i := range 40 {
				denied = append(denied, takeIn(t.Context(), b, draw("hot", 1), draw(fmt.Sprint(i), 1)))
			}
			for _, done := range denied {
				if got := <-done; got.err != nil || got.out[0].Allowed || got.out[1].Remaining != 10 {
					t.Errorf("%s: %+v, want a denial", name, got)
				}
			}
			close(hold)
			<-holds
			wantLeft(t, b, "hot", 1)
		})
	}
}

// Close waits for what is under way, and nothing begins afterwards.
func TestClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		b := newBackend(t, f, store.Options{})
		first, release := held(t, f, b, "hot")
		second := takeIn(t.Context(), b, draw("hot", 1))
		synctest.Wait()
		closed := make(chan struct{})
		go func() { _ = b.Close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait")
		default:
		}
		if got := <-takeIn(t.Context(), b, draw("hot", 1)); !errors.Is(got.err, traffik.ErrClosed) {
			t.Errorf("a Take after Close: %+v", got)
		}
		release()
		for _, done := range []<-chan taken{first, second} {
			if got := <-done; got.err != nil {
				t.Errorf("a Take before Close: %+v", got)
			}
		}
		<-closed
	})
}

// Calls decided together get the answers, and leave the states, that DecideAll gives one
// call after the other.
func TestBatchesDecideAsOneAfterTheOther(t *testing.T) {
	t.Parallel()
	strategies := []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.SlidingWindowLog{}, traffik.GCRA{Burst: 4}, traffik.SlidingWindowCounter{}}
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // a trace
			f := newFake()
			b := newBackend(t, multiFake{f}, store.Options{})
			first, release := held(t, f, b, "a") // all calls wait for "a"
			states := map[traffik.Key][]byte{}
			model := func(ops []traffik.Op) []traffik.Decision {
				out, before, changes := make([]traffik.Decision, len(ops)), make([][]byte, len(ops)), make([]store.Change, len(ops))
				for i := range ops {
					before[i], ops[i].Draw.Now = states[ops[i].Key], epoch
				}
				store.DecideAll(ops, before, out, changes)
				for i, c := range changes {
					if c.Write || c.Delete {
						states[ops[i].Key] = slices.Clone(c.State)
					}
				}
				return out
			}
			model([]traffik.Op{draw("a", 1)})
			var got []<-chan taken
			var want [][]traffik.Decision
			for range 2 + rnd.IntN(20) {
				ops := []traffik.Op{draw("a", rnd.Int64N(4)-1)}
				for k, strategy := range strategies {
					if rnd.IntN(2) == 0 {
						continue
					}
					op := draw(strings.Repeat("b", k+1), rnd.Int64N(7)-2)
					op.Strategy, op.Advisory = strategy, rnd.IntN(3) == 0
					op.Draw.Force = op.Draw.Cost > 0 && rnd.IntN(8) == 0
					ops = append(ops, op)
				}
				got = append(got, takeIn(t.Context(), b, slices.Clone(ops)...))
				synctest.Wait()
				want = append(want, model(ops))
			}
			release()
			<-first
			for i, done := range got {
				if r := <-done; r.err != nil || !slices.Equal(r.out, want[i]) {
					t.Fatalf("seed %d, call %d of %d: %v\n got %+v\nwant %+v", seed, i, len(got), r.err, r.out, want[i])
				}
			}
			for key, state := range states {
				if stored := f.kv.get(key); string(stored) != string(state) {
					t.Errorf("seed %d: %s is kept as %x, want %x", seed, key.ID, stored, state)
				}
			}
			if w := f.writes.Load(); w > 2 {
				t.Errorf("seed %d: %d writes, want one for the first call and one for all others", seed, w)
			}
		})
	}
}

// Many goroutines with keys in common, in any order, callers that leave and a second
// process: nothing hangs, and in the end as much is in use as was admitted.
func TestManyGoroutines(t *testing.T) {
	t.Parallel()
	for name := range newFake().both() {
		s := newFake().both()[name]
		var admitted [4]atomic.Int64
		var wg sync.WaitGroup
		backends := []*store.Backend{newBackend(t, s, store.Options{}), newBackend(t, s, store.Options{})}
		for i := range 32 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 5)) //nolint:gosec // a trace
				for range 60 {
					keys := rnd.Perm(len(admitted))[:1+rnd.IntN(3)]
					var ops []traffik.Op
					for _, k := range keys {
						op := draw(fmt.Sprint(k), 1)
						op.Draw.Rate = traffik.Per(3000, 1000*time.Hour)
						ops = append(ops, op)
					}
					ctx, cancel := context.WithCancel(t.Context())
					if rnd.IntN(4) == 0 {
						time.AfterFunc(time.Duration(rnd.IntN(300))*time.Microsecond, cancel)
					}
					out := make([]traffik.Decision, len(ops))
					err := backends[i%2].Take(ctx, ops, out)
					cancel()
					switch {
					case errors.Is(err, context.Canceled), errors.Is(err, traffik.ErrContention):
					case err != nil:
						t.Error(err)
					case out[0].Allowed:
						for _, k := range keys {
							admitted[k].Add(1)
						}
					}
				}
			})
		}
		wg.Wait()
		for _, b := range backends {
			if err := b.Close(); err != nil { // which waits for refunds
				t.Error(err)
			}
			if n := b.Locked(); n != 0 {
				t.Errorf("%s: %d keys are locked in the end", name, n)
			}
		}
		last := newBackend(t, s, store.Options{})
		for k := range admitted {
			op := draw(fmt.Sprint(k), 0)
			op.Draw.Rate = traffik.Per(3000, 1000*time.Hour)
			out := make([]traffik.Decision, 1)
			if err := last.Peek(t.Context(), []traffik.Op{op}, out); err != nil || 3000-out[0].Remaining != admitted[k].Load() {
				t.Errorf("%s: key %d: %d in use, %v; want the %d admitted", name, k, 3000-out[0].Remaining, err, admitted[k].Load())
			}
		}
	}
}
