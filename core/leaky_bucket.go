package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// LeakyBucket is a meter: each draw fills the bucket, which leaks at the rate,
// and a draw that would make it overflow is denied.
//
// A refund restores what [TokenBucket] would.
//
// State: 33 bytes. Bound: Capacity + floor(length*limit/period) units in any
// interval. It admits the same as a [TokenBucket] whose Burst is Capacity and
// differs in how it is described: by its fill level. Source: Turner, "New
// directions in communications", IEEE Communications Magazine 24(10), 1986.
type LeakyBucket struct {
	// Capacity is how many units the bucket holds; 0 means the rate's limit. A
	// cost above it can never be admitted.
	Capacity int64
}

// ID implements [Strategy].
func (LeakyBucket) ID() string { return "leaky_bucket.1" }

// Decide implements [Strategy].
func (b LeakyBucket) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	next = decideLinear(dst, state, d, orLimit(b.Capacity, d.Rate), &dec)
	return next, dec
}

// Validate returns an error wrapping [ErrConfig] unless Capacity is 0 to 2^53.
func (b LeakyBucket) Validate() error { return validCapacity("LeakyBucket.Capacity", b.Capacity) }

// MaxStateBytes implements [StateSizer].
func (LeakyBucket) MaxStateBytes(Rate) int { return count.LinearStateBytes }

// Describe implements [Describer] with a [BucketInfo], whose Level is what the
// bucket holds.
func (b LeakyBucket) Describe(state []byte, d *Draw) any {
	return describeLinear(state, d, orLimit(b.Capacity, d.Rate))
}

// orLimit is units, or the limit of r for 0.
func orLimit(units int64, r Rate) int64 {
	if units == 0 {
		return r.limit
	}
	return units
}
