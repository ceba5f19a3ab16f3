package store_test

import (
	"bytes"
	"context"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/backendtest"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }

// The store of the example is a whole backend.
func TestMapStoreConforms(t *testing.T) {
	t.Parallel()
	features := backendtest.Features{NotAtomicAcrossIdentities: true}
	backendtest.Run(t, features, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
		clock := traffiktest.NewClock(epoch.Time())
		b := store.New(mapStore{kv: &kv{values: map[traffik.Key][]byte{}}, clock: clock}, store.Options{})
		t.Cleanup(func() { _ = b.Close() })
		return b, clock.Set
	})
}

// txStore is mapStore with a write of several keys at once.
type txStore struct{ mapStore }

func (s txStore) WriteAll(_ context.Context, entries []*store.Entry) error {
	s.kv.mu.Lock()
	defer s.kv.mu.Unlock()
	for _, e := range entries {
		if !bytes.Equal(s.kv.values[e.Key], e.State) {
			return store.ErrConflict
		}
	}
	for _, e := range entries {
		if e.Action == store.Replace || e.Action == store.Delete {
			s.kv.values[e.Key] = bytes.Clone(e.Next)
		}
	}
	return nil
}

func TestMultiWriterConforms(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.Features{}, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
		clock := traffiktest.NewClock(epoch.Time())
		b := store.New(txStore{mapStore{kv: &kv{values: map[traffik.Key][]byte{}}, clock: clock}}, store.Options{})
		t.Cleanup(func() { _ = b.Close() })
		return b, clock.Set
	})
}
