package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// LeakyBucketWithQueue is a [LeakyBucket] used as a queue: it tells each
// admitted draw, in Decision.Delay, how long to hold back until everything
// before it has leaked away. Callers that obey start evenly spaced at the rate.
//
// Starts come in the order of admission without a stored queue, because each
// draw raises the level that the next one waits for.
//
// State: 33 bytes. Bound: admitted as for LeakyBucket; started, by callers that
// obey, at most the largest cost + floor((length+1 µs)*limit/period) units in
// any interval. A gift lets later draws start sooner, never those that wait
// already. A Delay is at most Capacity*period/limit.
type LeakyBucketWithQueue struct {
	// Capacity is how many units may wait or run at once; 0 means the rate's
	// limit. A cost above it can never be admitted.
	Capacity int64
}

// ID implements [Strategy].
func (LeakyBucketWithQueue) ID() string { return "leaky_bucket_with_queue.1" }

// Decide implements [Strategy].
func (b LeakyBucketWithQueue) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	var s count.Linear
	s.Read(state)
	healed := advanceLinear(&s, d)
	ahead := s.ResetMicros(d.Rate.units)
	write := chargeLinear(&s, d, orLimit(b.Capacity, d.Rate), &dec)
	if d.Cost > 0 && dec.Allowed {
		dec.Delay = micros(ahead)
	}
	if write || healed && !s.Empty() {
		dst = s.Append(dst)
	}
	return dst, dec
}

// Validate returns an error wrapping [ErrConfig] unless Capacity is 0 to 2^53.
func (b LeakyBucketWithQueue) Validate() error {
	return validCapacity("LeakyBucketWithQueue.Capacity", b.Capacity)
}

// MaxStateBytes implements [StateSizer].
func (LeakyBucketWithQueue) MaxStateBytes(Rate) int { return count.LinearStateBytes }

// Describe implements [Describer] with a [BucketInfo], whose EmptyAt is when a
// draw made now would start.
func (b LeakyBucketWithQueue) Describe(state []byte, d *Draw) any {
	return describeLinear(state, d, orLimit(b.Capacity, d.Rate))
}
