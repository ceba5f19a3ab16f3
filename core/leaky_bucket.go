package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// Source: Turner, "New directions in communications", IEEE Communications Magazine
// 24(10), 1986. bucket.go decides for all buckets, and internal/count/bucket.go refills
// them.

// LeakyBucket is a meter: each draw fills the bucket, which leaks at the rate, and a draw
// that would make it overflow is denied. It admits the same as a [TokenBucket] whose Burst
// is Capacity, and is described by its fill level. A refund restores what TokenBucket
// would.
type LeakyBucket struct {
	// Capacity is how many units the bucket holds; 0 means the rate's limit. A cost above
	// it is never admitted.
	Capacity int64
}

// ID implements [Strategy].
func (LeakyBucket) ID() string { return "leaky_bucket.1" }

// Decide implements [Strategy].
func (b LeakyBucket) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	next = decideBucket(dst, state, d, orLimit(b.Capacity, d.Rate), &dec)
	return next, dec
}

// Validate returns an error wrapping [ErrConfig] unless Capacity is 0 to 2^53.
func (b LeakyBucket) Validate() error { return validCapacity("LeakyBucket.Capacity", b.Capacity) }

// MaxStateBytes implements [StateSizer].
func (LeakyBucket) MaxStateBytes(Rate) int { return count.BucketStateBytes }

// Describe implements [Describer] with a [BucketInfo].
func (b LeakyBucket) Describe(state []byte, d *Draw) any {
	return describeBucket(state, d, orLimit(b.Capacity, d.Rate))
}
