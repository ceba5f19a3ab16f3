package traffikredis

import (
	"context"

	traffik "github.com/traffik-go/traffik/core"
)

// ReadStates implements [traffik.StateReader]. Keys that lie in several slots of
// a Cluster are read one place after the other; the instant is the earliest.
func (b *Backend) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if err := b.check(ctx); err != nil {
		return dst, 0, err
	}
	places := map[place][]int{}
	for i := range keys {
		where := b.placeOfKey(keys[i])
		places[where] = append(places[where], i)
	}
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = string(b.appendKey(nil, keys[i]))
	}
	states := make([][]byte, len(keys))
	var now traffik.Instant
	err := b.leaving(ctx, func() (err error) {
		for _, members := range places {
			var at traffik.Instant
			if at, err = b.readPlace(ctx, members, names, states); err != nil {
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

// readPlace reads the states of those of names that members point to.
func (b *Backend) readPlace(ctx context.Context, members []int, names []string, states [][]byte) (traffik.Instant, error) {
	x := exchange{backend: b, states: make([][]byte, len(members)), endless: make([]bool, len(members))}
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
