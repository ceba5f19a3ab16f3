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
// any interval. A Delay is at most Capacity*period/limit.
//
// A request that its [Holder] can't hold until its turn is denied and takes no place.
//
// A refund never moves the start of another draw. It restores the units of a draw that
// still waits for its turn and has nobody behind it, all of them at once; any other
// refund, one of a part of a draw included, restores nothing. Neither does any at a rate
// of more than one unit in two microseconds, which hides who is the last.
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
	repaired := advanceLinear(&s, d)
	capacity, ahead := orLimit(b.Capacity, d.Rate), s.ResetMicros(d.Rate.units)
	var write bool
	if d.Cost < 0 && !withdraws(&s, d) {
		look := *d
		look.Cost = 0
		chargeLinear(&s, &look, capacity, &dec)
		write = !s.Empty()
	} else {
		write = chargeLinear(&s, d, capacity, &dec)
	}
	if d.Cost > 0 && dec.Allowed {
		dec.Delay = micros(ahead)
	}
	if write || repaired && !s.Empty() {
		dst = s.Append(dst)
	}
	return dst, dec
}

// withdraws reports whether the refund d takes a waiting draw off the end of the queue.
func withdraws(s *count.Linear, d *Draw) bool {
	return s.Withdraws(-d.Cost, int64(d.Now), int64(d.TakenAt.Add(d.Delay)), int64(d.FreeAt), d.Rate.units)
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
