package traffikmemcached

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// generation is the namespace's generation number as this process knows it: one
// item for the whole namespace, read with every fetch. It only grows, and 0
// stands for none: as long as nobody resets the namespace there is no item.
type generation struct {
	key string
	// seen is the largest number read so far. It stands in while the number's
	// own server is down: that must not take the keys of all others with it.
	seen atomic.Uint64
	// blindUntil is the uptime until which the number is not asked for, and
	// after which one call tries; 0 while its server answers.
	blindUntil atomic.Int64
}

// blindness is how long the number is left alone after its server failed, so
// that not every call waits for that server.
const blindness = time.Second

const generationBytes = 8

// fetch reads names, and the generation, with one multi-get.
func (s *items) fetch(ctx context.Context, names []string) (found map[string]*memcache.Item, generation uint64, err error) {
	if s.generation.avoided() {
		found, err = s.getMulti(names)
		return found, s.generation.seen.Load(), err
	}
	found, err = s.getMulti(append([]string{s.generation.key}, names...))
	switch {
	case err == nil:
		s.generation.blindUntil.Store(0)
		s.restore(found[s.generation.key])
	case ctx.Err() != nil:
		return nil, 0, err
	default: // was it the generation's server or one of the keys'?
		var keysErr error
		if found, keysErr = s.getMulti(names); keysErr != nil {
			return nil, 0, err
		}
		s.generation.blind()
	}
	return found, s.generation.learn(numberOf(found[s.generation.key])), nil
}

// restore stores the generation again if its item was lost, or put back by a
// process that remembers an older one, for processes that do not know it.
func (s *items) restore(item *memcache.Item) {
	seen := s.generation.seen.Load()
	if seen <= numberOf(item) {
		return
	}
	if err := s.raise(item, seen); err != nil && !errors.Is(err, store.ErrConflict) {
		s.generation.blind()
	}
}

// raise stores number in place of item, nil for none, or returns [store.ErrConflict] if
// another was stored meanwhile.
func (s *items) raise(item *memcache.Item, number uint64) error {
	return s.replace(item, &memcache.Item{Key: s.generation.key, Value: binary.LittleEndian.AppendUint64(nil, number)})
}

// numberOf is the generation that item holds: 0 for none and for what no reset
// has written.
func numberOf(item *memcache.Item) uint64 {
	if item == nil || len(item.Value) != generationBytes {
		return 0
	}
	number := binary.LittleEndian.Uint64(item.Value)
	if number > traffik.MaxUnits {
		return 0
	}
	return number
}

func (s *items) getMulti(keys []string) (found map[string]*memcache.Item, err error) {
	err = s.onFresh(func() error {
		found, err = s.client.GetMulti(keys)
		return err
	})
	return found, err
}

// onFresh repeats a request that does no harm when it is made twice until its
// connection is not broken: after a server's restart the client still holds those
// of before, as many as it keeps open.
func (s *items) onFresh(request func() error) error {
	stale := s.client.MaxIdleConns
	if stale <= 0 {
		stale = memcache.DefaultMaxIdleConns
	}
	err := request()
	for ; stale > 0 && broken(err); stale-- {
		err = request()
	}
	return err
}

// broken reports whether the other end had hung up: the request is worth
// another connection, and reading twice does no harm.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// learn remembers number unless a later one is known, and returns which is.
func (g *generation) learn(number uint64) uint64 {
	for {
		seen := g.seen.Load()
		if number <= seen {
			return seen
		}
		if g.seen.CompareAndSwap(seen, number) {
			return number
		}
	}
}

// nextGeneration writes a number above every one before, also those of resets
// at the same time. Should the last one have been lost, no process remember it
// and nobody have set the clock back since, the time is above it too.
func (s *items) nextGeneration(ctx context.Context) error {
	return store.Retry(ctx, func() error {
		found, err := s.getMulti([]string{s.generation.key})
		if err != nil {
			return failed(err)
		}
		item := found[s.generation.key]
		number := max(s.generation.learn(numberOf(item))+1, uint64(wallNow().UnixMicro()))
		if err := s.raise(item, number); err != nil {
			return err
		}
		s.generation.learn(number)
		return nil
	})
}

func (g *generation) blind() { g.blindUntil.Store(int64(uptime() + blindness)) }

// avoided reports whether a call is to go without the number. When it was avoided
// for long enough, one call tries, and the others go on without: its server may
// still be silent.
func (g *generation) avoided() bool {
	until := g.blindUntil.Load()
	if until == 0 {
		return false
	}
	now := uptime()
	return int64(now) < until || !g.blindUntil.CompareAndSwap(until, int64(now+blindness))
}
