package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// Source: Turner, "New directions in communications", IEEE Communications Magazine
// 24(10), 1986. bucket.go decides for all buckets, and internal/count/bucket.go refills
// them.

// TokenBucket admits bursts: a bucket of Burst tokens refills at the rate, and a draw
// takes as many tokens as it costs. It admits at most Burst + floor(length*limit/period)
// units in any interval.
//
// A refund restores the part of its draw that has not leaked. Units leak in the order in
// which they were drawn; see [Draw.FreeAt].
type TokenBucket struct {
	// Burst is the capacity of the bucket in units; 0 means the rate's limit. A cost
	// above it is never admitted.
	Burst int64
}

// ID implements [Strategy]. TokenBucket, LeakyBucket and GCRA share a state layout but
// differ in their IDs, so that changing from one to another starts afresh.
func (TokenBucket) ID() string { return "token_bucket.1" }

// Decide implements [Strategy].
func (b TokenBucket) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	next = decideBucket(dst, state, d, b.capacity(d.Rate), &dec)
	return next, dec
}

// Validate returns an error wrapping [ErrConfig] unless Burst is 0 to 2^53.
func (b TokenBucket) Validate() error { return validCapacity("TokenBucket.Burst", b.Burst) }

// MaxStateBytes implements [StateSizer].
func (TokenBucket) MaxStateBytes(Rate) int { return count.BucketStateBytes }

// Describe implements [Describer] with a [BucketInfo].
func (b TokenBucket) Describe(state []byte, d *Draw) any {
	return describeBucket(state, d, b.capacity(d.Rate))
}

func (b TokenBucket) capacity(r Rate) int64 { return orLimit(b.Burst, r) }
