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

// generation holds what this process knows about the namespace's generation number. The
// number is in one item, which every fetch reads. It only grows. 0 means that there is no
// item, because nobody has reset the namespace.
type generation struct {
	key string
	// seen is the largest number read so far. It is used while the number's server is down,
	// so that keys on other servers are not affected.
	seen atomic.Uint64
	// blindUntil is the uptime until which calls don't read the number. After that one call
	// tries. It is 0 while the number's server answers.
	blindUntil atomic.Int64
}

// blindness is how long calls don't read the number after its server failed, so that not
// every call waits for that server.
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
	default: // did the number's server fail, or one of the keys'?
		var keysErr error
		if found, keysErr = s.getMulti(names); keysErr != nil {
			return nil, 0, err
		}
		s.generation.blind()
	}
	return found, s.generation.learn(numberOf(found[s.generation.key])), nil
}

// restore stores the number again if its item was lost or holds an older number, for
// processes that don't know it.
func (s *items) restore(item *memcache.Item) {
	seen := s.generation.seen.Load()
	if seen <= numberOf(item) {
		return
	}
	if err := s.raise(item, seen); err != nil && !errors.Is(err, store.ErrConflict) {
		s.generation.blind()
	}
}

// raise stores number in place of item, nil for none. It returns [store.ErrConflict] if
// another number was stored meanwhile.
func (s *items) raise(item *memcache.Item, number uint64) error {
	return s.replace(item, &memcache.Item{Key: s.generation.key, Value: binary.LittleEndian.AppendUint64(nil, number)})
}

// numberOf returns the number in item: 0 for no item, and for one that no reset has written.
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

// onFresh repeats a request until its connection is not broken. After a server's restart
// the client still holds old connections, as many as it keeps open. The request must do no
// harm if it is made twice.
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

// broken reports whether the server has hung up, so that another connection may succeed.
func broken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// learn returns the larger of number and the largest number seen so far, and remembers it.
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

// nextGeneration writes a number that is larger than every earlier one, including those of
// resets at the same time. If the last number was lost and no process remembers it, the
// time in microseconds is still larger than that number, unless the clock was set back.
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

// avoided reports whether a call should not read the number. After blindness has passed, one
// call tries and the others still don't, because the server may still be silent.
func (g *generation) avoided() bool {
	until := g.blindUntil.Load()
	if until == 0 {
		return false
	}
	now := uptime()
	return int64(now) < until || !g.blindUntil.CompareAndSwap(until, int64(now+blindness))
}
