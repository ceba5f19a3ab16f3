package traffikredis

import (
	"context"
	"fmt"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
)

// scanCount is roughly how many keys one SCAN looks at.
const scanCount = 1000

// Reset implements [traffik.Backend].
func (b *Backend) Reset(ctx context.Context, keys ...traffik.Key) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.users.leave()
	if len(keys) == 0 {
		return nil
	}
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = string(b.appendKey(nil, keys[i]))
	}
	return ended(ctx, b.engine.Do(ctx, func(ctx context.Context) error { return b.failed(b.unlink(ctx, b.client, names)) }))
}

// unlink removes keys, which may lie in several slots.
func (b *Backend) unlink(ctx context.Context, client goredis.UniversalClient, keys []string) error {
	if b.single || len(keys) == 1 {
		return client.Unlink(ctx, keys...).Err()
	}
	_, err := client.Pipelined(ctx, func(pipe goredis.Pipeliner) error {
		for _, key := range keys {
			pipe.Unlink(ctx, key)
		}
		return nil
	})
	return err
}

// ResetNamespace implements [traffik.NamespaceResetter]. It forgets all keys of the
// namespace, including those under any [WithSlot]; a backend made with WithSlot forgets only
// those of its slot. It scans every master, which takes a while on a large store but delays
// no other call. Keys that others draw on meanwhile may survive. If a server of a Ring is
// down, it fails with [ErrUnreachable].
func (b *Backend) ResetNamespace(ctx context.Context) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.users.leave()
	switch client := b.client.(type) {
	case *goredis.ClusterClient:
		return ended(ctx, b.failed(client.ForEachMaster(ctx, func(ctx context.Context, server *goredis.Client) error {
			return b.sweep(ctx, server, client) // which finds keys that have moved
		})))
	case *goredis.Ring:
		return ended(ctx, b.sweepRing(ctx, client))
	case *goredis.Client:
		return ended(ctx, b.sweep(ctx, client, client))
	}
	return fmt.Errorf("%w: the servers behind a %T are unknown", traffik.ErrUsage, b.client)
}

// sweepRing sweeps all servers of a Ring. It fails if the Ring takes some of them for down:
// their keys stay.
func (b *Backend) sweepRing(ctx context.Context, ring *goredis.Ring) error {
	var swept atomic.Int32
	err := ring.ForEachShard(ctx, func(ctx context.Context, server *goredis.Client) error {
		swept.Add(1)
		return b.sweep(ctx, server, server)
	})
	if all := len(ring.Options().Addrs); err == nil && int(swept.Load()) < all {
		err = fmt.Errorf("%w: of the %d servers of the Ring %d are there; the keys of the others stay", ErrUnreachable, all, swept.Load())
	}
	return err
}

// sweep finds the keys of the namespace on one server and has client remove them.
func (b *Backend) sweep(ctx context.Context, server *goredis.Client, client goredis.UniversalClient) error {
	pattern := b.prefix + "*"
	if b.slot != "" { // what follows "!" is of an identity of that name, without a slot
		pattern = b.prefix + b.slot + "}[^!]*"
	}
	var cursor uint64
	for {
		err := b.engine.Do(ctx, func(ctx context.Context) error {
			keys, next, err := server.Scan(ctx, cursor, pattern, scanCount).Result()
			if err == nil && len(keys) > 0 {
				err = b.unlink(ctx, client, keys)
			}
			cursor = next
			return err
		})
		if err != nil || cursor == 0 {
			return b.failed(err)
		}
	}
}
