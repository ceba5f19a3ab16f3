package store_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// fake is mapStore with hooks, and counts its calls.
type fake struct {
	mapStore
	reads, writes   atomic.Int64
	onRead, onWrite func(n int64) error // before the nth call, counted from 1
}

func newFake() *fake {
	return &fake{mapStore: mapStore{kv: &kv{values: map[traffik.Key][]byte{}}, clock: traffiktest.NewClock(epoch.Time())}}
}

func (f *fake) Read(ctx context.Context, entries []*store.Entry) (traffik.Instant, error) {
	if n := f.reads.Add(1); f.onRead != nil {
		if err := f.onRead(n); err != nil {
			return 0, err
		}
	}
	return f.mapStore.Read(ctx, entries)
}

func (f *fake) hook() error {
	if n := f.writes.Add(1); f.onWrite != nil {
		return f.onWrite(n)
	}
	return nil
}

func (f *fake) Write(ctx context.Context, e *store.Entry) error {
	if err := f.hook(); err != nil {
		return err
	}
	return f.mapStore.Write(ctx, e)
}

// multiFake also writes several keys at once.
type multiFake struct{ *fake }

func (f multiFake) WriteAll(ctx context.Context, entries []*store.Entry) error {
	if err := f.hook(); err != nil {
		return err
	}
	return txStore{f.mapStore}.WriteAll(ctx, entries)
}

// both returns f as a store of both kinds.
func (f *fake) both() map[string]store.Store {
	return map[string]store.Store{"key by key": f, "all at once": multiFake{f}}
}

func newBackend(t *testing.T, s store.Store, o store.Options) *store.Backend {
	t.Helper()
	b := store.New(s, o)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// draw is a draw of cost units of ten an hour on id.
func draw(id string, cost int64) traffik.Op {
	return traffik.Op{
		Key: traffik.Key{Scope: store.ScopeOf("test", "fixed_window.1"), ID: id}, Strategy: traffik.FixedWindow{},
		Draw: traffik.Draw{Rate: traffik.Per(10, time.Hour), Cost: cost},
	}
}

// taken is what a Take returned.
type taken struct {
	out      []traffik.Decision
	err      error
	panicked any
}

// takeIn takes on a goroutine and returns where the answer will be.
func takeIn(ctx context.Context, b traffik.Backend, ops ...traffik.Op) <-chan taken {
	done := make(chan taken, 1)
	go func() {
		var r taken
		defer func() {
			r.panicked = recover()
			done <- r
		}()
		r.out = make([]traffik.Decision, len(ops))
		r.err = b.Take(ctx, ops, r.out)
	}()
	return done
}

func wantLeft(t *testing.T, b traffik.Backend, id string, want int64) {
	t.Helper()
	out := make([]traffik.Decision, 1)
	if err := b.Peek(context.Background(), []traffik.Op{draw(id, 0)}, out); err != nil || out[0].Remaining != want {
		t.Errorf("%s has %d remaining, %v; want %d", id, out[0].Remaining, err, want)
	}
}

// broken panics.
type broken struct{ traffik.FixedWindow }

func (broken) Decide([]byte, []byte, *traffik.Draw) ([]byte, traffik.Decision) { panic("defect") }
