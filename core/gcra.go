package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// Source: ITU-T I.371 annex A; ATM Forum Traffic Management 4.0, section 4.4.2. The
// theoretical arrival time is Now + ResetAfter. bucket.go decides for all buckets, and
// internal/count/bucket.go refills them.

// GCRA spaces draws evenly: the generic cell rate algorithm admits a draw that comes no
// earlier than its theoretical arrival time, less the tolerance that Burst grants. With
// the default Burst of 1 there is no tolerance, and 100 per minute means one every 600 ms.
//
// It admits the same as a [TokenBucket] of equal Burst, and a refund restores the same.
type GCRA struct {
	// Burst is how many units may come at once; 0 means 1. A cost above it is never
	// admitted: set it to the largest cost or more.
	Burst int64
}

// ID implements [Strategy].
func (GCRA) ID() string { return "gcra.1" }

// Decide implements [Strategy].
func (g GCRA) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	next = decideBucket(dst, state, d, g.capacity(), &dec)
	return next, dec
}

// Validate returns an error wrapping [ErrConfig] unless Burst is 0 to 2^53.
func (g GCRA) Validate() error { return validCapacity("GCRA.Burst", g.Burst) }

// MaxStateBytes implements [StateSizer].
func (GCRA) MaxStateBytes(Rate) int { return count.BucketStateBytes }

// Describe implements [Describer] with a [BucketInfo].
func (g GCRA) Describe(state []byte, d *Draw) any {
	return describeBucket(state, d, g.capacity())
}

func (g GCRA) capacity() int64 {
	if g.Burst == 0 {
		return 1
	}
	return g.Burst
}
