package traffikmemcached

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// items is the [store.Store] of a Backend, with one item for each key.
//
// A key is decided at the clock's time or at its item's stamp, whichever is later. So the
// time of a key never goes back, and a difference between two clocks never counts as
// elapsed time. No state lies ahead of its stamp, so none needs a repair.
type items struct {
	client     *memcache.Client
	clock      traffik.Clock
	namespace  string
	maxSkew    time.Duration
	maxState   int
	clocks     clockWarner
	generation generation
}

// Read implements [store.Store] with one multi-get.
func (s *items) Read(ctx context.Context, entries []*store.Entry) (traffik.Instant, error) {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = itemKey(s.namespace, e.Key)
	}
	found, generation, err := s.fetch(ctx, names)
	if err != nil {
		return 0, failed(err)
	}
	now := s.clock.Now().Add(0) // within what an Instant may be
	for i, e := range entries {
		read := entryOf(found[names[i]], generation)
		read.name = names[i]
		e.State, e.Latest, e.Data = read.state, read.stamp, &read
		s.watchClocks(ctx, e, now)
	}
	return now, nil
}

// Write implements [store.Store].
func (s *items) Write(_ context.Context, e *store.Entry) error {
	if len(e.Next) > s.maxState {
		return fmt.Errorf("%w: memcached: a state of %q has %d bytes; an item holds at most %d",
			traffik.ErrBackend, e.Key.Scope.Value(), len(e.Next), s.maxState)
	}
	read, _ := e.Data.(*entry) // as Read has set it
	// An untouched key keeps its stamp until all clocks have passed it. Without the stamp, a
	// server whose clock is behind would start afresh at its time, then one whose clock is
	// ahead, and so on.
	item := &memcache.Item{
		Key: read.name, Value: read.value(e.At, e.Next),
		Expiration: expiration(min(e.For, traffik.Never-s.maxSkew)+s.maxSkew, wallSeconds()),
	}
	return s.replace(read.item, item)
}

// replace stores item in place of old, nil for none. It returns [store.ErrConflict] if old
// was changed or removed meanwhile.
func (s *items) replace(old, item *memcache.Item) error {
	var err error
	if old == nil {
		err = s.client.Add(item)
	} else {
		item.CasID = old.CasID
		err = s.client.CompareAndSwap(item)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, memcache.ErrNotStored), errors.Is(err, memcache.ErrCASConflict), errors.Is(err, memcache.ErrCacheMiss):
		return store.ErrConflict
	}
	return failed(err)
}

// failed wraps an error of the client.
func failed(err error) error {
	return fmt.Errorf("%w: memcached: %w", traffik.ErrBackend, err)
}
