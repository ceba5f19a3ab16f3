package traffikredis

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
)

// call is a pending Take or Peek in one slot, decided by script. It has copies of all it
// needs: its caller may leave at any time.
//
// A call passes through these states:
//   - New: its caller fills it.
//   - Waiting: it is in the list of a queue, and in names the queue. Until a round trip takes
//     it up, its caller may take it out of the list; then it is never drawn.
//   - In flight: in is nil, and the goroutine that sends it owns all fields. A caller that
//     leaves now doesn't touch it again, and nobody puts it back into the pool.
//   - Finished: done has a value. The caller owns all fields again.
type call struct {
	slot    slot
	peek    bool
	custom  bool // needs a custom script
	run     bool // the script can make equal draws of this kind at once
	refunds bool
	work    int // how long the script may take for it, in ops

	ops   []traffik.Op
	keys  []string
	specs []drawSpec
	index []uint16 // of keys in those of the batch

	out      []traffik.Decision
	err      error
	panicked any
	done     chan struct{} // gets one value when the above are filled

	late           <-chan struct{}       // closed when the call has waited for too long
	since          time.Time             // when it came, roughly
	in             atomic.Pointer[queue] // where it waits, nil once a round trip has taken it up
	previous, next *call                 // in that queue

	buf []byte // to build keys in
}

// entriesPerOp is how many entries of a log cost Redis as much time as a draw from a
// bucket: it parses them all, and a denial walks them once more.
const entriesPerOp = 16

// newCall returns a call with ops, or nil if one of them can't be decided by script.
func (b *Backend) newCall(where slot, ops []traffik.Op, peek bool) *call {
	c, pooled := b.calls.Get().(*call)
	if !pooled {
		c = &call{done: make(chan struct{}, 1)}
	}
	c.slot, c.peek, c.custom, c.refunds, c.work = where, peek, false, false, 0
	c.err, c.panicked, c.late = nil, nil, nil
	c.ops, c.out = append(c.ops[:0], ops...), append(c.out[:0], make([]traffik.Decision, len(ops))...)
	c.keys, c.specs = c.keys[:0], c.specs[:0]
	for i := range ops {
		s, scripted := b.drawSpecOf(&ops[i])
		if !scripted {
			b.calls.Put(c)
			return nil
		}
		c.specs = append(c.specs, s)
		c.work++
		if s.family == familyLog {
			c.work += int(min(s.limit, int64(s.arguments[0]))) / entriesPerOp
		}
		c.run = len(ops) == 1 && !peek && s.family < familyLog && s.cost > 0 && s.flags&flagForce == 0
		c.custom = c.custom || s.family >= firstCustom
		c.refunds = c.refunds || s.cost < 0 && !peek
		c.buf = b.appendKey(c.buf[:0], ops[i].Key)
		if i < cap(c.keys) && c.keys[:i+1][i] == string(c.buf) { // the call was used for this key before
			c.keys = c.keys[:i+1]
		} else {
			c.keys = append(c.keys, string(c.buf))
		}
	}
	return c
}

// finish tells the caller that all is filled. The call is not touched afterwards.
func (c *call) finish(err error) {
	if err != nil {
		c.err = err
	}
	c.done <- struct{}{}
}

const (
	// coalescedRoundTrips is how many round trips of one queue are in flight at once.
	// With two, Redis has work while the answers of the other are handed out.
	coalescedRoundTrips = 2
	// maxWaiting bounds the calls that wait for a round trip, and so the memory of the
	// queue, to some 40 MB. Redis works off as many in a fraction of a second if it works
	// at all.
	maxWaiting = 1 << 16
	// patienceStep is how far calls may differ in age that share a timer: one for each
	// would take longer than all else that a call does here.
	patienceStep = 250 * time.Millisecond
	// maxWait is how long a call may wait for a round trip. A later answer would be too
	// late.
	maxWait = roundTripTimeout * 9 / 10
)

// queue sends calls to one server. Those that arrive while its round trips are in flight
// go with the next one, in order of arrival. The zero value is ready.
//
// inFlight counts the goroutines that make its round trips: callers that send their own
// call, and senders. Whoever ends such a round trip calls passOn, which starts a sender if
// calls have come meanwhile; so none waits while nobody sends. Nothing blocks while mu is held.
type queue struct {
	mu       sync.Mutex
	inFlight int // round trips
	// The calls that wait, as a list: one whose caller leaves is taken out at once.
	first, last *call
	waiting     int

	late  <-chan struct{} // of the calls that come now
	since time.Time       // when the first of those came
}

// limitsOf tells how many round trips of a queue may be in flight at once, without
// coalescing as many as the client has connections, and how often the client repeats
// what failed.
func limitsOf(client goredis.UniversalClient, alone bool) (inFlight, resends int) {
	switch client := client.(type) {
	case *goredis.Client:
		inFlight, resends = client.Options().PoolSize, client.Options().MaxRetries
	case *goredis.ClusterClient:
		inFlight, resends = client.Options().PoolSize, client.Options().MaxRedirects
	case *goredis.Ring:
		inFlight, resends = client.Options().PoolSize, client.Options().MaxRetries
	}
	switch {
	case !alone:
		inFlight = coalescedRoundTrips
	case inFlight <= 0: // the client's default
		inFlight = 10 * runtime.GOMAXPROCS(0)
	}
	return inFlight, resends
}

// submit sends c now or with a later round trip. A caller that can't leave, and needs
// to wait for nobody, sends c itself.
func (q *queue) submit(ctx context.Context, b *Backend, c *call) error {
	q.mu.Lock()
	full := q.inFlight >= b.inFlight
	if full && q.waiting >= maxWaiting {
		q.mu.Unlock()
		return fmt.Errorf("%w: %d calls wait for a round trip already", ErrTimeout, maxWaiting)
	}
	if !full {
		q.inFlight++
		if ctx.Done() == nil { // the client's own timeouts bound it
			q.mu.Unlock()
			defer q.passOn(b) // also when a hook ends the goroutine
			b.send(ctx, []*call{c})
			return nil
		}
	}
	q.push(b, c)
	q.mu.Unlock()
	if !full {
		b.start(q)
	}
	return nil
}

// push appends c to the calls that wait. The queue is locked.
func (q *queue) push(b *Backend, c *call) {
	if now := uptime(); q.late == nil || now.Sub(q.since) > patienceStep {
		ctx, cancel := context.WithTimeout(b.life, roundTripTimeout+patienceStep)
		_ = cancel // Close does so, through b.life
		q.late, q.since = ctx.Done(), now
	}
	if c.late == nil { // else it comes from another queue
		c.late, c.since = q.late, q.since
	}
	c.in.Store(q)
	c.previous, c.next = q.last, nil
	if q.last != nil {
		q.last.next = c
	} else {
		q.first = c
	}
	q.last = c
	q.waiting++
}

// remove takes c, which waits, out of the queue. The queue is locked.
func (q *queue) remove(c *call) {
	if c.previous != nil {
		c.previous.next = c.next
	} else {
		q.first = c.next
	}
	if c.next != nil {
		c.next.previous = c.previous
	} else {
		q.last = c.previous
	}
	c.previous, c.next = nil, nil
	c.in.Store(nil)
	q.waiting--
}

// wait waits for the answer to c, the end of ctx, or the time that a call may take. After
// an error c must not be touched: it may be in flight.
func (c *call) wait(ctx context.Context) error {
	var err error
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-c.late:
		err = errLate
	}
	if in := c.in.Load(); in != nil { // a Cluster's call may have changed queues
		in.mu.Lock()
		defer in.mu.Unlock()
		if c.in.Load() == in {
			in.remove(c)
		}
	}
	return err
}

// senderRest is how long a goroutine that sends calls rests for more of them. One that has
// rested has a stack of the depth of the client's calls: a lone caller that may leave costs
// a tenth less with it than with a new goroutine.
const senderRest = 100 * time.Millisecond

// start has a goroutine make the round trips of q.
func (b *Backend) start(q *queue) {
	select {
	case b.resting <- q:
	default:
		b.users.n.Add(1)
		go b.sender(q)
	}
}

// sender makes round trips of q, and then those of other queues that start it.
func (b *Backend) sender(q *queue) {
	defer b.users.leave() // also when a hook ends the goroutine
	timer := time.NewTimer(senderRest)
	defer timer.Stop()
	for {
		b.serve(q)
		timer.Reset(senderRest)
		select {
		case q = <-b.resting:
		case <-timer.C:
			return
		case <-b.closing:
			return
		}
	}
}

// serve makes round trips until nobody waits for one.
func (b *Backend) serve(q *queue) {
	defer q.passOn(b) // also when a hook ends the goroutine
	// The call for which it was started goes alone, however late this goroutine begins: while
	// the server hangs, the others can still leave without being drawn.
	for calls := q.next(nil, true); len(calls) > 0; calls = q.next(calls[:0], b.alone) {
		ctx, cancel := context.WithTimeout(context.Background(), roundTripTimeout)
		b.send(ctx, calls)
		cancel()
		if len(calls) > 1 {
			runtime.Gosched() // some callers come again, and go with the next round trip
		}
		clear(calls)
	}
}

// passOn ends a round trip, or lets another goroutine serve those who came meanwhile.
func (q *queue) passOn(b *Backend) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == nil {
		q.inFlight--
		return
	}
	b.start(q)
}

// next appends the calls of the next round trip, worth at most maxOps ops, or one if
// calls go alone.
func (q *queue) next(calls []*call, alone bool) []*call {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first == nil {
		return calls
	}
	now, work := uptime(), 0
	for c := q.first; c != nil && (len(calls) == 0 || !alone && work+c.work <= maxOps); c = q.first {
		q.remove(c)
		if now.Sub(c.since) > maxWait {
			c.finish(fmt.Errorf("%w: no round trip within %v", ErrTimeout, maxWait))
			continue
		}
		work += c.work
		calls = append(calls, c)
	}
	return calls
}

// uptime measures how long calls wait, on which no decision depends.
func uptime() time.Time { return time.Now() } //nolint:forbidigo // see above
