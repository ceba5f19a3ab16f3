package traffikredis

import (
	"context"
	"sync"
)

// turns lets the exchanges of this process on one key go one after the other, so
// that only processes contend. The zero value is ready.
type turns struct {
	mu   sync.Mutex
	keys map[string]*turn
}

// turn is there as long as somebody has it or waits for it.
type turn struct {
	taken chan struct{} // holds one element while somebody has it
	users int           // guarded by turns.mu
}

// wait waits for the turn of key; free passes it on. The error is the cause of
// ctx's end.
func (t *turns) wait(ctx context.Context, key string) (free func(), err error) {
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
