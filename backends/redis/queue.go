package traffikredis

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// coalescedRoundTrips is how many round trips of one queue are under way at once.
	// With two, Redis has work while the answers of the other are handed out.
	coalescedRoundTrips = 2
	// maxWaiting bounds the calls that wait for a round trip, and with them the
	// memory of the queue, to some 40 MB. Redis works off as many in a fraction of
	// a second if it works at all.
	maxWaiting = 1 << 16
	// Those who wait count beats: a timer for each of them would take longer than all
	// else that a call does here.
	roundTripBeats = 20
	beatPeriod     = roundTripTimeout / roundTripBeats
	// maxBeats is for how many a call waits for a round trip, while the server hangs.
	// One that goes later would be answered too late.
	maxBeats = roundTripBeats * 9 / 10
	maxWait  = maxBeats * beatPeriod
)

// queue sends calls together: those that arrive while its round trips are under
// way go with the next one, in order of arrival.
type queue struct {
	backend *Backend
	mu      sync.Mutex
	waiting []*call
	// gone is how many of waiting have left, at most: they are cleared away when
	// they are the larger part.
	gone       int
	roundTrips int
	beat       chan struct{} // closed with the next beat, nil while nobody waits for one
	timer      *time.Timer   // of the next beat
}

// limitsOf tells how many round trips of a queue may be under way at once, without
// coalescing as many as the client has connections, and how often the client sends
// again what failed.
func limitsOf(client goredis.UniversalClient, alone bool) (roundTrips, resends int) {
	switch client := client.(type) {
	case *goredis.Client:
		roundTrips, resends = client.Options().PoolSize, client.Options().MaxRetries
	case *goredis.ClusterClient:
		roundTrips, resends = client.Options().PoolSize, client.Options().MaxRedirects
	case *goredis.Ring:
		roundTrips, resends = client.Options().PoolSize, client.Options().MaxRetries
	}
	switch {
	case !alone:
		roundTrips = coalescedRoundTrips
	case roundTrips <= 0: // the client's default
		roundTrips = 10 * runtime.GOMAXPROCS(0)
	}
	return roundTrips, resends
}

// submit sends c now or with a later round trip. If the caller can't leave, and
// waits for nobody, it sends c itself and true is returned.
func (q *queue) submit(ctx context.Context, c *call) (done bool, err error) {
	q.mu.Lock()
	if q.roundTrips >= q.backend.roundTrips {
		defer q.mu.Unlock()
		return false, q.join(c)
	}
	q.roundTrips++
	if ctx.Done() == nil { // the client's own times bound it
		q.mu.Unlock()
		defer q.passOn() // also when a hook of the client panics
		q.backend.roundTripOf([]*call{c}).run(ctx)
		return true, nil
	}
	c.awaited, c.beat = true, q.await()
	q.mu.Unlock()
	q.backend.work.Go(func() {
		var first []*call
		if !c.left.Load() { // else nobody waits for it any more
			first = []*call{c}
		}
		q.serve(first)
	})
	return false, nil
}

// join lets c wait for a round trip.
func (q *queue) join(c *call) error {
	if len(q.waiting) >= maxWaiting {
		q.clear()
	}
	if len(q.waiting) >= maxWaiting {
		return fmt.Errorf("%w: %d calls wait for a round trip already", ErrTimeout, maxWaiting)
	}
	c.awaited, c.beat = true, q.await()
	q.waiting = append(q.waiting, c)
	return nil
}

// await returns what is closed with the next beat, and sees to that there is one.
func (q *queue) await() <-chan struct{} {
	if q.beat == nil {
		q.beat = make(chan struct{})
		q.timer = time.AfterFunc(beatPeriod, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			close(q.beat)
			q.beat = nil
		})
	}
	return q.beat
}

// nextBeat is await for who does not hold the lock.
func (q *queue) nextBeat() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.await()
}

// close ends the wait for the next beat, once nobody waits for one any more.
func (q *queue) close() {
	q.mu.Lock()
	beat := q.beat
	if beat != nil && q.timer.Stop() {
		close(beat)
		q.beat = nil
	}
	q.mu.Unlock()
	if beat != nil {
		<-beat // else the timer's goroutine waits for the lock
	}
}

// pass lets c wait, whose own queue this has turned out to be.
func (q *queue) pass(c *call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, c)
	if q.roundTrips < q.backend.roundTrips {
		q.roundTrips++
		q.backend.work.Go(func() { q.serve(nil) })
	}
}

// leave tells that nobody waits for c any more. Unless it is under way already
// it is not sent.
func (q *queue) leave(c *call) {
	c.left.Store(true)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone++; 2*q.gone > len(q.waiting) {
		q.clear()
	}
}

// clear forgets those that have left.
func (q *queue) clear() {
	q.waiting = slices.DeleteFunc(q.waiting, func(c *call) bool { return c.left.Load() })
	q.gone = 0
}

// passOn lets a goroutine serve those who came meanwhile.
func (q *queue) passOn() {
	q.mu.Lock()
	if len(q.waiting) == 0 {
		q.roundTrips--
		q.mu.Unlock()
		return
	}
	q.mu.Unlock()
	q.backend.work.Go(func() { q.serve(nil) })
}

// serve sends calls, and then those who wait until there are none. It holds one of
// the round trips.
func (q *queue) serve(calls []*call) {
	ended := false
	defer func() {
		if !ended { // a hook of the client ended this goroutine
			q.passOn()
		}
	}()
	if len(calls) == 0 {
		calls = q.next(calls)
	}
	for len(calls) > 0 {
		q.backend.send(calls)
		if len(calls) > 1 {
			runtime.Gosched() // some of them come again with what follows
		}
		clear(calls)
		calls = q.next(calls[:0])
	}
	ended = true
}

// next appends the calls of the next round trip, worth at most maxOps ops and
// without coalescing one, without those whose callers have left. Without any it
// ends its round trip.
func (q *queue) next(calls []*call) []*call {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken, work := 0, 0
	for _, c := range q.waiting {
		if len(calls) > 0 && (q.backend.alone || work+c.work > maxOps) {
			break
		}
		taken++
		if c.left.Load() {
			q.gone = max(0, q.gone-1)
			continue
		}
		if c.beats.Load() > maxBeats {
			c.err = fmt.Errorf("%w: no round trip within %v", ErrTimeout, maxWait)
			c.finish()
			continue
		}
		work += c.work
		calls = append(calls, c)
	}
	q.waiting = slices.Delete(q.waiting, 0, taken)
	if len(calls) == 0 {
		q.roundTrips--
	}
	return calls
}
