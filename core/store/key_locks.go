package store

import (
	"slices"
	"strings"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// maxBatch bounds how many calls are decided together.
const maxBatch = 256

// keyLocks let one batch of calls at a time work on a key. Calls that find a key locked wait
// in order of arrival, and then form a batch. The zero value is ready.
//
// A call locks its keys in the order of compareKeys and keeps those that it has while it
// waits for the next one. So calls can't wait for each other in a circle. Once it has all, it
// becomes a batch, and the batch holds the locks until release. mu guards all of this, and
// the state of every call; no store or strategy is called while it is held.
type keyLocks struct {
	// multi allows calls over several keys in one batch, for a store that writes them at once.
	multi bool

	mu   sync.Mutex
	keys map[traffik.Key]*keyLock // those that are locked
}

type keyLock struct {
	batch   *batch // nil while a call holds the key and waits for its other keys
	waiting []*call
}

// compareKeys orders the keys of a call, so that no two calls wait for each other.
func compareKeys(a, b traffik.Key) int {
	if c := strings.Compare(a.ID, b.ID); c != 0 || a.Scope == b.Scope {
		return c
	}
	return strings.Compare(a.Scope.Value(), b.Scope.Value())
}

// enter returns a batch that starts with c, or nil if c has to wait.
func (l *keyLocks) enter(c *call) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.advance(c) {
		return nil
	}
	return l.gather(c)
}

// advance locks the keys that c still lacks, in order. It returns false if c has to wait for
// one of them. The caller holds mu.
func (l *keyLocks) advance(c *call) bool {
	for ; c.locked < len(c.keys); c.locked++ {
		if lock := l.keys[c.keys[c.locked]]; lock != nil {
			lock.waiting = append(lock.waiting, c)
			return false
		}
		l.lock(c.keys[c.locked], nil)
	}
	return true
}

func (l *keyLocks) lock(key traffik.Key, by *batch) {
	if l.keys == nil {
		l.keys = make(map[traffik.Key]*keyLock)
	}
	l.keys[key] = &keyLock{batch: by}
}

// gather makes a batch of first, which holds its keys, and of the calls that wait for
// them. The caller holds mu.
func (l *keyLocks) gather(first *call) *batch {
	b := newBatch(first)
	l.join(b, first)
	for i := 0; i < len(b.entries); i++ { //nolint:intrange // joining adds entries
		lock := l.keys[b.entries[i].Key]
		lock.waiting = slices.DeleteFunc(lock.waiting, func(c *call) bool {
			return l.fits(b, c) && l.join(b, c)
		})
	}
	return b
}

// fits reports whether c, which waits for a key of b, can join b: no other batch or call
// holds a key that c lacks.
func (l *keyLocks) fits(b *batch, c *call) bool {
	if len(b.calls) == maxBatch || !l.multi && (len(c.keys) > 1 || len(b.entries) > 1) {
		return false
	}
	for _, key := range c.keys[c.locked:] {
		if lock := l.keys[key]; lock != nil && lock.batch != b {
			return false
		}
	}
	return true
}

func (l *keyLocks) join(b *batch, c *call) bool {
	for _, key := range c.keys {
		if lock := l.keys[key]; lock == nil {
			l.lock(key, b)
		} else {
			lock.batch = b
		}
	}
	b.add(c)
	c.state = taken
	return true
}

// release unlocks keys and returns the batches that can begin now. The caller holds mu.
func (l *keyLocks) release(keys []traffik.Key) (next []*batch) {
	var waited []traffik.Key
	for _, key := range keys {
		if lock := l.keys[key]; len(lock.waiting) > 0 {
			lock.batch = nil
			waited = append(waited, key)
		} else {
			delete(l.keys, key)
		}
	}
	for _, key := range waited {
		lock := l.keys[key]
		first := lock.waiting[0]
		lock.waiting = lock.waiting[1:]
		first.locked++
		if l.advance(first) {
			next = append(next, l.gather(first))
		}
	}
	return next
}

// leave takes c, which waits, out of the queue. The caller holds mu.
func (l *keyLocks) leave(c *call) (next []*batch) {
	lock := l.keys[c.keys[c.locked]]
	lock.waiting = slices.DeleteFunc(lock.waiting, func(other *call) bool { return other == c })
	return l.release(c.keys[:c.locked])
}
