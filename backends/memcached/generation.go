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

// fetch reads names, and the generation, with one multi-get into entries.
func (b *Backend) fetch(ctx context.Context, names []string, entries []entry) error {
	items, err := b.fetchItems(ctx, names)
	if err != nil {
		return failed(err)
	}
	generation := b.generation.read(items)
	for i, name := range names {
		entries[i] = entryOf(items[name], generation)
	}
	return nil
}

func (b *Backend) fetchItems(ctx context.Context, names []string) (map[string]*memcache.Item, error) {
	if b.generation.avoided() {
		return b.getMulti(names)
	}
	items, err := b.getMulti(append([]string{b.generation.key}, names...))
	if err == nil {
		b.generation.blindUntil.Store(0)
		b.restore(items)
		return items, nil
	}
	if ctx.Err() != nil {
		return nil, err
	}
	// Was it the generation's server or one of the keys'?
	items, keysErr := b.getMulti(names)
	if keysErr != nil {
		return nil, err
	}
	b.generation.blind()
	return items, nil
}

// restore stores the generation again if its item was lost, or put back by a
// process that remembers an older one, for processes that do not know it.
func (b *Backend) restore(items map[string]*memcache.Item) {
	seen, item := b.generation.seen.Load(), items[b.generation.key]
	if seen <= numberOf(item) {
		return
	}
	if err := b.raise(item, seen); err != nil && !errors.Is(err, errConflict) {
		b.generation.blind()
	}
}

// raise stores number in place of item, nil for none, or returns errConflict if
// another was stored meanwhile.
func (b *Backend) raise(item *memcache.Item, number uint64) error {
	value := binary.LittleEndian.AppendUint64(nil, number)
	if item == nil {
		return stored(b.client.Add(&memcache.Item{Key: b.generation.key, Value: value}))
	}
	return stored(b.client.CompareAndSwap(&memcache.Item{Key: b.generation.key, Value: value, CasID: item.CasID}))
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

func (b *Backend) getMulti(keys []string) (items map[string]*memcache.Item, err error) {
	err = b.onFresh(func() error {
		items, err = b.client.GetMulti(keys)
		return err
	})
	return items, err
}

// onFresh repeats a request that does no harm when it is made twice until its
// connection is not broken: after a server's restart the client still holds those
// of before, as many as it keeps open.
func (b *Backend) onFresh(request func() error) error {
	stale := b.client.MaxIdleConns
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

// read returns the generation as of items, and remembers it.
func (g *generation) read(items map[string]*memcache.Item) uint64 {
	return g.learn(numberOf(items[g.key]))
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
func (b *Backend) nextGeneration(ctx context.Context) error {
	return attempt(ctx, func() error {
		items, err := b.getMulti([]string{b.generation.key})
		if err != nil {
			return failed(err)
		}
		number := max(b.generation.read(items)+1, uint64(wallNow().UnixMicro()))
		if err := b.raise(items[b.generation.key], number); err != nil {
			return err
		}
		b.generation.learn(number)
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
