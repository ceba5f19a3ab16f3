package traffik

import (
	"github.com/traffik-go/traffik/core/internal/count"
)

// TokenBucket admits bursts: a bucket of Burst tokens refills at the rate, and
// a draw takes as many tokens as it costs.
//
// A refund restores what has not leaked of its draw; units leak in the order in which
// they were drawn. See [Draw.FreeAt].
//
// State: 33 bytes. Bound: Burst + floor(length*limit/period) units in any
// interval. It is the linear kernel with capacity Burst; see Turner, "New
// directions in communications", IEEE Communications Magazine 24(10), 1986.
type TokenBucket struct {
	// Burst is the capacity of the bucket in units; 0 means the rate's limit.
	// A cost above it can never be admitted.
	Burst int64
}

// ID implements [Strategy]. TokenBucket, LeakyBucket and GCRA have one state
// layout, but an ID each, so that changing between them starts afresh.
func (TokenBucket) ID() string { return "token_bucket.1" }

// Decide implements [Strategy].
func (b TokenBucket) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	next = decideLinear(dst, state, d, b.capacity(d.Rate), &dec)
	return next, dec
}

// Validate returns an error wrapping [ErrConfig] unless Burst is 0 to 2^53.
func (b TokenBucket) Validate() error { return validCapacity("TokenBucket.Burst", b.Burst) }

// MaxStateBytes implements [StateSizer].
func (TokenBucket) MaxStateBytes(Rate) int { return count.LinearStateBytes }

// Describe implements [Describer] with a [BucketInfo].
func (b TokenBucket) Describe(state []byte, d *Draw) any {
	return describeLinear(state, d, b.capacity(d.Rate))
}

func (b TokenBucket) capacity(r Rate) int64 {
	if b.Burst == 0 {
		return r.limit
	}
	return b.Burst
}

// validCapacity checks an optional number of units of a strategy.
func validCapacity(field string, units int64) error {
	if units < 0 || units > MaxUnits {
		return configError("%s is %d; accepted is 0 (the default) to 2^53", field, units)
	}
	return nil
}
