package traffikredis

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// keyLocks lets the exchanges of this process that have a key in common go one after
// the other. The zero value is ready.
type keyLocks struct {
	mu   sync.Mutex
	keys map[string]*keyLock
}

// maxLooks is how many exchanges look at one key at once while another has its turn:
// enough for a flood of denials, and no more than a client has connections.
const maxLooks = 16

// keyLock is there as long as somebody has it, waits for it, or looks.
type keyLock struct {
	taken chan struct{} // holds one element while somebody has it
	looks chan struct{} // one element for each
	users int           // guarded by keyLocks.mu
}

// wait waits for the turns of keys; free passes them on. The error is the cause of
// ctx's end.
func (t *keyLocks) wait(ctx context.Context, keys []string) (free func(), err error) {
	free, _, err = t.all(keys, func(of *keyLock) error { return enter(ctx, of.taken) })
	return free, err
}

var errTaken = errors.New("taken")

// try takes the turns of keys if nobody has one of them or waits for it, else it
// returns the key of one that is taken.
func (t *keyLocks) try(keys []string) (free func(), taken string) {
	free, taken, _ = t.all(keys, func(of *keyLock) error {
		select {
		case of.taken <- struct{}{}:
			return nil
		default:
			return errTaken
		}
	})
	return free, taken
}

// all takes the turns of keys with take, all or, on an error, none. It does so in the
// order of the keys, so that nobody waits for somebody who waits for him.
func (t *keyLocks) all(keys []string, take func(*keyLock) error) (free func(), failed string, err error) {
	var held []func()
	free = func() {
		for _, free := range held {
			free()
		}
	}
	for _, key := range slices.Sorted(slices.Values(keys)) { // which are all different
		of := t.join(key)
		if err := take(of); err != nil {
			t.leave(key, of)
			free()
			return nil, key, err
		}
		held = append(held, func() {
			<-of.taken
			t.leave(key, of)
		})
	}
	return free, "", nil
}

// look waits until not too many others look at key.
func (t *keyLocks) look(ctx context.Context, key string) (end func(), err error) {
	of := t.join(key)
	if err := enter(ctx, of.looks); err != nil {
		t.leave(key, of)
		return nil, err
	}
	return func() {
		<-of.looks
		t.leave(key, of)
	}, nil
}

func enter(ctx context.Context, places chan<- struct{}) error {
	select {
	case places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *keyLocks) join(key string) *keyLock {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keys == nil {
		t.keys = map[string]*keyLock{}
	}
	of := t.keys[key]
	if of == nil {
		of = &keyLock{taken: make(chan struct{}, 1), looks: make(chan struct{}, maxLooks)}
		t.keys[key] = of
	}
	of.users++
	return of
}

func (t *keyLocks) leave(key string, of *keyLock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of.users--; of.users == 0 {
		delete(t.keys, key)
	}
}
