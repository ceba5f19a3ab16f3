package traffikmemcached

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

func TestKeyLocksGiveTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var locks keyLocks
		unlock, err := locks.lock(t.Context(), []string{"b", "a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 3)
		for _, names := range [][]string{{"a"}, {"c", "b"}, {"c"}} {
			go func() {
				unlock, err := locks.lock(t.Context(), names)
				if err != nil {
					t.Error(err)
					return
				}
				got <- names[0]
				unlock()
			}()
			synctest.Wait()
		}
		if n := len(got); n != 1 {
			t.Errorf("%d callers hold keys while a and b are held, want the one of c", n)
		}
		unlock()
		synctest.Wait()
		if n := len(got); n != 3 {
			t.Errorf("%d callers had their turn, want 3", n)
		}
		if n := len(locks.keys); n != 0 {
			t.Errorf("%d locks are left", n)
		}
	})
}

func TestWaiterLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var locks keyLocks
		unlock, err := locks.lock(t.Context(), []string{"b"})
		if err != nil {
			t.Fatal(err)
		}
		left := errors.New("the caller left")
		ctx, cancel := context.WithCancelCause(t.Context())
		result := make(chan error)
		go func() {
			_, err := locks.lock(ctx, []string{"a", "b"})
			result <- err
		}()
		synctest.Wait()
		cancel(left)
		if err := <-result; !errors.Is(err, left) {
			t.Errorf("the error is %v", err)
		}
		unlock()
		if n := len(locks.keys); n != 0 {
			t.Errorf("%d locks are left, a was not given back", n)
		}
	})
}

// Whoever finds no turn in time is told so, and not that the store failed, also
// when the worker notices the end of the time before its caller does.
func TestNoTurnIsContention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(memcache.New("127.0.0.1:1"), WithTimeout(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Close() }()
		op := traffik.Op{
			Key: traffik.Key{Scope: store.ScopeOf("turns", "x"), ID: "a"}, Strategy: traffik.FixedWindow{},
			Draw: traffik.Draw{Rate: traffik.Per(1, time.Minute), Cost: 1},
		}
		name := itemKey(b.namespace, op.Key)
		unlock, err := b.locks.lock(t.Context(), []string{name})
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		for range maxLookers {
			leave, err := b.locks.look(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			defer leave()
		}
		for range 500 {
			if err := b.Take(t.Context(), []traffik.Op{op}, make([]traffik.Decision, 1)); !errors.Is(err, traffik.ErrContention) {
				t.Fatalf("without a turn: %v, want ErrContention", err)
			}
		}
	})
}
