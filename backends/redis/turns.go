package traffikredis

import (
	"context"
	"slices"
	"sync"
)

// turns lets the exchanges of this process that have a key in common go one after
// the other, so that only processes contend. The zero value is ready.
type turns struct {
	mu   sync.Mutex
	keys map[string]*turn
}

// turn is there as long as somebody has it or waits for it.
type turn struct {
	taken chan struct{} // holds one element while somebody has it
	users int           // guarded by turns.mu
}

// wait waits for the turns of keys; free passes them on. They are waited for in the
// order of the keys, so that nobody waits for somebody who waits for him. The error is
// the cause of ctx's end.
func (t *turns) wait(ctx context.Context, keys []string) (free func(), err error) {
	var held []func()
	free = func() {
		for _, free := range held {
			free()
		}
	}
	for _, key := range slices.Sorted(slices.Values(keys)) { // which are all different
		one, err := t.waitFor(ctx, key)
		if err != nil {
			free()
			return nil, err
		}
		held = append(held, one)
	}
	return free, nil
}

func (t *turns) waitFor(ctx context.Context, key string) (free func(), err error) {
	of := t.join(key)
	select {
	case of.taken <- struct{}{}:
		return func() {
			<-of.taken
			t.leave(key, of)
		}, nil
	case <-ctx.Done():
		t.leave(key, of)
		return nil, context.Cause(ctx)
	}
}

func (t *turns) join(key string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys == nil {
		t.keys = map[string]*turn{}
	}
	of := t.keys[key]
	if of == nil {
		of = &turn{taken: make(chan struct{}, 1)}
		t.keys[key] = of
	}
	of.users++
	return of
}

func (t *turns) leave(key string, of *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of.users--; of.users == 0 {
		delete(t.keys, key)
	}
}
