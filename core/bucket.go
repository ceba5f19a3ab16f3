package traffik

import (
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// The bucket kernel: TokenBucket, TokenBucketWithDebt, LeakyBucket, LeakyBucketWithQueue
// and GCRA are one function of their capacity. count.Bucket has the arithmetic, refill
// included, and docs/design/strategies.md the definition. State: 33 bytes. A call costs
// one or two divisions.

// decideBucket is Decide of the bucket strategies with capacity b, answering into dec: a
// Decision returned through several calls would be copied in each.
func decideBucket(dst, state []byte, d *Draw, b int64, dec *Decision) (next []byte) {
	var s count.Bucket
	s.Read(state)
	if !drawBucket(&s, d, b, dec) {
		return dst
	}
	return s.Append(dst)
}

// drawBucket decides on s, which becomes the next state, and reports whether that is to
// be written.
func drawBucket(s *count.Bucket, d *Draw, b int64, dec *Decision) (write bool) {
	repaired := s.Advance(int64(d.Now), d.Rate.units, d.Rate.micros)
	return chargeBucket(s, d, b, dec) || repaired && !s.Empty()
}

// chargeBucket decides d on s, which stands at its instant.
func chargeBucket(s *count.Bucket, d *Draw, b int64, dec *Decision) (write bool) {
	l, now := d.Rate.units, int64(d.Now)
	if d.Cost > 0 && !d.Force {
		*dec = Decision{}
		return hitBucket(s, now, d.Cost, b, l, dec)
	}
	if d.Cost > 0 {
		s.Take(d.Cost)
	} else if d.Cost < 0 {
		s.Refund(count.Held(-d.Cost, now, int64(d.TakenAt), int64(d.FreeAt), l, d.Rate.micros))
	}
	*dec = Decision{Allowed: true, Limit: b, Remaining: max(0, b-s.Used()), At: d.Now}
	dec.ResetAfter = micros(s.ResetMicros(l))
	return d.Cost != 0 && !s.Empty()
}

// hitBucket decides a draw of cost units on s, which stands at now, answering into the
// zero dec, and reports whether it is admitted.
func hitBucket(s *count.Bucket, now, cost, b, l int64, dec *Decision) (admitted bool) {
	left := b - s.Used()
	dec.Limit, dec.At = b, Instant(now)
	if admitted = cost <= left; admitted {
		s.Take(cost)
		dec.Allowed, dec.Remaining = true, left-cost
	} else {
		dec.Remaining, dec.RetryAfter = max(0, left), Never
		if cost <= b {
			dec.RetryAfter = micros(s.WaitMicros(cost, b, l))
		}
	}
	dec.ResetAfter = micros(s.ResetMicros(l))
	return admitted
}

// BucketInfo describes a key counted by [TokenBucket], [LeakyBucket],
// [LeakyBucketWithQueue] or [GCRA]; see [Subject.Describe].
type BucketInfo struct {
	// Capacity is the number of units that fit into an untouched key.
	Capacity int64
	// Level is the number of units in use, rounded up. It is above Capacity after a
	// forced charge or a lowered limit.
	Level int64
	// Tokens is Capacity minus Level, negative when the key is overdrawn.
	Tokens int64
	// EmptyAt is when the last unit in use will have leaked away: the theoretical arrival
	// time of GCRA, or the start of a draw made now in a queue. For an untouched key it is
	// the present.
	EmptyAt time.Time
}

func describeBucket(state []byte, d *Draw, capacity int64) BucketInfo {
	var s count.Bucket
	s.Read(state)
	s.Advance(int64(d.Now), d.Rate.units, d.Rate.micros)
	return BucketInfo{
		Capacity: capacity,
		Level:    s.Used(),
		Tokens:   capacity - s.Used(),
		EmptyAt:  d.Now.Add(micros(s.ResetMicros(d.Rate.units))).Time(),
	}
}

// validCapacity checks an optional number of units of a strategy.
func validCapacity(field string, units int64) error {
	if units < 0 || units > MaxUnits {
		return configError("%s is %d; accepted is 0 (the default) to 2^53", field, units)
	}
	return nil
}

// orLimit returns units, or the limit of r for 0.
func orLimit(units int64, r Rate) int64 {
	if units == 0 {
		return r.limit
	}
	return units
}
