package traffikredis

import (
	"context"
	"slices"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
)

// readKeys bounds how many keys one script reads: Lua unpacks some 8,000 at most.
const readKeys = 1000

// ReadStates implements [traffik.StateReader]. A thousand keys of one slot are read at
// once; more of them, and those of other slots of a Cluster, one after the other. The
// instant is the earliest.
func (b *Backend) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if err := b.enter(ctx); err != nil {
		return dst, 0, err
	}
	defer b.users.leave()
	slots := map[slot][]int{}
	for i := range keys {
		where := b.slotOfKey(keys[i])
		slots[where] = append(slots[where], i)
	}
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = string(b.appendKey(nil, keys[i]))
	}
	states := make([][]byte, len(keys))
	var now traffik.Instant
	var parts [][]int
	for _, members := range slots {
		parts = slices.AppendSeq(parts, slices.Chunk(members, readKeys))
	}
	if len(parts) == 0 {
		parts = append(parts, nil) // for the instant
	}
	err := b.leaving(ctx, func() (err error) {
		for i := 0; i < len(parts); i++ {
			at, err := b.readPart(ctx, parts[i], names, states)
			if len(parts[i]) > 1 && goredis.HasErrorPrefix(err, tryAgain) { // they lie at two servers just now
				parts = slices.AppendSeq(parts, slices.Chunk(parts[i], 1))
				continue
			}
			if err != nil {
				return err
			}
			if now == 0 || at < now {
				now = at
			}
		}
		return nil
	})
	if err != nil {
		return dst, 0, err
	}
	return append(dst, states...), now, nil
}

// readPart reads the states of those of names that members point to.
func (b *Backend) readPart(ctx context.Context, members []int, names []string, states [][]byte) (traffik.Instant, error) {
	x := exchange{backend: b, states: make([][]byte, len(members)), kept: make([]int64, len(members))}
	for _, i := range members {
		x.keys = append(x.keys, names[i])
	}
	if err := x.read(ctx); err != nil {
		return 0, err
	}
	for at, i := range members {
		if len(x.states[at]) > 0 {
			states[i] = x.states[at]
		}
	}
	return x.now, nil
}
