package traffikmemcached

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// keyLocks lets one caller of this process at a time work on a key, so that a
// hot key is drawn on by turns and not by retries; only processes collide.
type keyLocks struct {
	mu   sync.Mutex
	keys map[string]*keyLock
}

// maxLookers is how many callers look at one key at once while others work on it:
// enough for a flood of denials, and few enough for the server's connections.
const maxLookers = 8

// keyLock is there as long as somebody holds it, looks or waits.
type keyLock struct {
	turn    chan struct{} // holds one element while the lock is held
	lookers chan struct{} // one element for each
	users   int           // guarded by keyLocks.mu
}

// lock waits until it holds all names, which are sorted so that nobody waits in
// a circle. The error is the cause of ctx's end.
func (l *keyLocks) lock(ctx context.Context, names []string) (unlock func(), err error) {
	return l.lockAll(names, func(name string) error {
		k := l.use(name)
		select {
		case k.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
			l.leave(name, k)
			return context.Cause(ctx)
		}
	})
}

var errTaken = errors.New("taken")

// tryLock is lock if nobody holds any of names or waits for one.
func (l *keyLocks) tryLock(names []string) (unlock func(), free bool) {
	unlock, err := l.lockAll(names, func(name string) error {
		k := l.use(name)
		select {
		case k.turn <- struct{}{}:
			return nil
		default:
			l.leave(name, k)
			return errTaken
		}
	})
	return unlock, err == nil
}

// lockAll takes each name with take, all of them or, on an error, none.
func (l *keyLocks) lockAll(names []string, take func(name string) error) (unlock func(), err error) {
	names = slices.Clone(names)
	slices.Sort(names)
	names = slices.Compact(names)
	held := 0
	unlock = func() {
		for _, name := range names[:held] {
			l.unlock(name)
		}
	}
	for _, name := range names {
		if err := take(name); err != nil {
			unlock()
			return nil, err
		}
		held++
	}
	return unlock, nil
}

// look waits until it may look at name beside who holds it. The error is the cause
// of ctx's end.
func (l *keyLocks) look(ctx context.Context, name string) (leave func(), err error) {
	k := l.use(name)
	select {
	case k.lookers <- struct{}{}:
		return func() {
			<-k.lookers
			l.leave(name, k)
		}, nil
	case <-ctx.Done():
		l.leave(name, k)
		return nil, context.Cause(ctx)
	}
}

// use returns the lock of name, to be left again.
func (l *keyLocks) use(name string) *keyLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = make(map[string]*keyLock)
	}
	k := l.keys[name]
	if k == nil {
		k = &keyLock{turn: make(chan struct{}, 1), lookers: make(chan struct{}, maxLookers)}
		l.keys[name] = k
	}
	k.users++
	return k
}

func (l *keyLocks) unlock(name string) {
	l.mu.Lock()
	k := l.keys[name]
	l.mu.Unlock()
	<-k.turn
	l.leave(name, k)
}

func (l *keyLocks) leave(name string, k *keyLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.keys, name)
	}
}
