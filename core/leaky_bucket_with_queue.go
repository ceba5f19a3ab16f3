package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// The queue is not stored: each draw raises the level, and the next one waits until that
// level has leaked away. So starts come in the order of admission. See bucket.go for the
// rest of the algorithm.

// LeakyBucketWithQueue is a [LeakyBucket] used as a queue: Decision.Delay tells each
// admitted draw how long to wait until everything before it has leaked away. Callers that
// wait so start evenly spaced at the rate, in the order of admission.
//
// It admits what LeakyBucket admits. Callers that wait start at most the largest cost +
// floor((length+1 µs)*limit/period) units in any interval. A Delay is at most
// Capacity*period/limit. A request that its [Holder] can't hold that long is denied and
// takes no turn.
//
// A refund never moves the start of another draw. It restores a draw only as a whole, and
// only while that draw waits and nobody waits behind it. A refund of a draw that has
// started, or of a part of a draw, restores nothing. Neither does a refund at a rate of
// more than one unit in two microseconds, where instants can't tell which draw is the last.
type LeakyBucketWithQueue struct {
	// Capacity is how many units may wait or run at once; 0 means the rate's limit. A
	// cost above it is never admitted.
	Capacity int64
}

// ID implements [Strategy].
func (LeakyBucketWithQueue) ID() string { return "leaky_bucket_with_queue.1" }

// Decide implements [Strategy].
func (b LeakyBucketWithQueue) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	var s count.Bucket
	s.Read(state)
	now, l := int64(d.Now), d.Rate.units
	repaired := s.Advance(now, l, d.Rate.micros)
	capacity, ahead := orLimit(b.Capacity, d.Rate), s.ResetMicros(l)
	draw := *d
	if d.Cost < 0 && !s.Withdraws(-d.Cost, now, int64(d.TakenAt.Add(d.Delay)), int64(d.FreeAt), l) {
		draw.Cost = 0
	}
	write := chargeBucket(&s, &draw, capacity, &dec) || repaired || d.Cost < 0
	if d.Cost > 0 && dec.Allowed {
		dec.Delay = micros(ahead)
	}
	if write && !s.Empty() {
		dst = s.Append(dst)
	}
	return dst, dec
}

// Validate returns an error wrapping [ErrConfig] unless Capacity is 0 to 2^53.
func (b LeakyBucketWithQueue) Validate() error {
	return validCapacity("LeakyBucketWithQueue.Capacity", b.Capacity)
}

// MaxStateBytes implements [StateSizer].
func (LeakyBucketWithQueue) MaxStateBytes(Rate) int { return count.BucketStateBytes }

// Describe implements [Describer] with a [BucketInfo].
func (b LeakyBucketWithQueue) Describe(state []byte, d *Draw) any {
	return describeBucket(state, d, orLimit(b.Capacity, d.Rate))
}
