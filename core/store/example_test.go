package store_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// kv stands for any store that replaces a value if it is still the one that was read.
type kv struct {
	mu     sync.Mutex
	values map[traffik.Key][]byte
}

func (m *kv) get(key traffik.Key) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[key]
}

func (m *kv) swap(key traffik.Key, old, value []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !bytes.Equal(m.values[key], old) {
		return false
	}
	m.values[key] = value
	return true
}

// mapStore is a store.Store over kv.
type mapStore struct {
	kv    *kv
	clock traffik.Clock
}

// Read reads all keys, and the clock.
func (s mapStore) Read(_ context.Context, entries []*store.Entry) (traffik.Instant, error) {
	for _, e := range entries {
		e.State = bytes.Clone(s.kv.get(e.Key))
	}
	return s.clock.Now(), nil
}

// Write replaces one value. A store that expires values would keep it for e.For.
func (s mapStore) Write(_ context.Context, e *store.Entry) error {
	if !s.kv.swap(e.Key, e.State, bytes.Clone(e.Next)) { // Next is nil for a delete
		return store.ErrConflict
	}
	return nil
}

// wallClock is a traffik.Clock.
type wallClock struct{}

func (wallClock) Now() traffik.Instant { return traffik.InstantOf(time.Now()) }

// Any store with a compare-and-swap becomes a backend by two methods.
func Example() {
	backend := store.New(mapStore{kv: &kv{values: map[traffik.Key][]byte{}}, clock: wallClock{}}, store.Options{})
	defer func() { _ = backend.Close() }()
	logins, err := traffik.New("login", "2/h", traffik.WithBackend(backend))
	if err != nil {
		panic(err)
	}
	for range 3 {
		res, err := logins.Key("user:42").Hit(context.Background())
		fmt.Println(res.Allowed, res.Remaining, err)
	}
	// Output:
	// true 1 <nil>
	// true 0 <nil>
	// false 0 <nil>
}
