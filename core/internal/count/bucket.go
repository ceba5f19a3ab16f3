package count

import "math/bits"

// Bucket is the kernel of TokenBucket, TokenBucketWithDebt, GCRA and the leaky buckets:
// units in use leak away at a constant rate, and a draw is admitted if it fits under the
// capacity b on top of them.
//
// The idea is the virtual scheduling of ITU-T I.371 and ATM Forum TM 4.0 (GCRA), with the
// theoretical arrival time kept as an instant and a level, so that nothing is ever
// rounded. A float64 arrival time in microseconds since 1970 has a grain of a quarter
// microsecond and admits a third too much at 3,000,000 a second.
//
// State, 33 bytes: the instant T of the last write and the level at T, N + R/P units, with
// l/P the rate in lowest terms and R < P. A call costs one or two divisions. Bound:
// b + floor(length*l/P) units in any interval of time.
type Bucket struct {
	T, N, R, P int64
}

// BucketTag marks the layout T, N, R, P.
const BucketTag = 'L'

// BucketStateBytes is the length of every stored Bucket.
const BucketStateBytes = 1 + 4*8

// Read sets s, which is zero, to what state says. If that is nothing, P stays 0.
func (s *Bucket) Read(state []byte) {
	ReadState(state, BucketTag, &s.T, &s.N, &s.R, &s.P)
}

// Advance brings s to now at the rate l/p, which lets units leak. It reports whether the time
// of s lay ahead of now and had to be repaired.
func (s *Bucket) Advance(now, l, p int64) (repaired bool) {
	s.Adopt(now, p)
	if repaired = now < s.T; repaired {
		s.T = now
	}
	s.Leak(now, l)
	return repaired
}

// Adopt turns what was read into a remainder over p, the denominator of today's rate. A
// state that says nothing becomes the zero level at now, and so does one of more than 2^53
// units, which nothing writes.
func (s *Bucket) Adopt(now, p int64) {
	if s.P == 0 || s.R >= s.P || s.Empty() || s.N == MaxUnits && s.R > 0 {
		*s = Bucket{T: now, P: p}
		return
	}
	if s.P != p {
		s.rebase(p)
	}
}

// rebase turns the remainder into one over p. It rounds up by a part of a unit and not to
// a whole unit, so that two rates that draw on one key in turn lose less than a
// microsecond's worth each time.
func (s *Bucket) rebase(p int64) {
	s.R = MulDivCeil(s.R, p, 0, s.P)
	s.P = p
	if s.R == p {
		s.N, s.R = Add(s.N, 1), 0
	}
}

// Leak moves s to now and lets l units per s.P microseconds flow out.
func (s *Bucket) Leak(now, l int64) {
	if now <= s.T {
		return
	}
	elapsed := now - s.T
	s.T = now
	q, rem := int64(0), elapsed*l
	if hi, lo := bits.Mul64(uint64(elapsed), uint64(l)); hi > 0 || lo >= uint64(s.P) {
		q, rem = MulDivMod(elapsed, l, 0, s.P)
	} // else it is less than a unit, and needs no division
	n, r := s.N-q, s.R-rem
	if r < 0 {
		n, r = n-1, r+s.P
	}
	if n < 0 {
		n, r = 0, 0
	}
	s.N, s.R = n, r
}

// Used returns the level in whole units, rounded up.
func (s *Bucket) Used() int64 {
	if s.R > 0 {
		return Add(s.N, 1)
	}
	return s.N
}

// Take adds c units, stopping at 2^53.
func (s *Bucket) Take(c int64) {
	s.N = Add(s.N, c)
	if s.N == MaxUnits {
		s.R = 0
	}
}

// Refund takes c units off the level, not below 0.
func (s *Bucket) Refund(c int64) {
	if c > s.N || c == s.N && s.R == 0 {
		s.N, s.R = 0, 0
		return
	}
	s.N -= c
}

// Append appends the state.
func (s *Bucket) Append(dst []byte) []byte {
	return AppendState(dst, BucketTag, s.T, s.N, s.R, s.P)
}

// ResetMicros returns the time until the level is 0.
func (s *Bucket) ResetMicros(l int64) int64 {
	return MulDivCeil(s.N, s.P, s.R, l)
}

// Empty reports whether nothing is in use.
func (s *Bucket) Empty() bool { return s.N == 0 && s.R == 0 }

// WaitMicros returns the time until cost, at most b, fits under the capacity b. It does
// not fit now.
func (s *Bucket) WaitMicros(cost, b, l int64) int64 {
	return MulDivCeil(s.N+cost-b, s.P, s.R, l)
}

// Held returns how many of units, more than 0, that a draw took at takenAt are still in
// use at now under the rate l/p. Units leak in the order in which they were drawn, so the
// draw, which left its key free at freeAt, holds its last unit until then. A takenAt of 0
// or later than now means now.
//
// freeAt is rounded up to a microsecond. Once something has leaked since the draw, what
// that rounding may have added is left out.
//
// Where freeAt is unknown (0), or where time stops (2^53), the draw holds at least what it
// would on a key that was untouched before.
func Held(units, now, takenAt, freeAt, l, p int64) int64 {
	elapsed, held := int64(0), int64(0)
	if takenAt > 0 && takenAt < now {
		elapsed = now - takenAt
	}
	switch {
	case freeAt <= now:
	case elapsed == 0:
		held, _ = MulDivMod(freeAt-now, l, 0, p)
	default:
		held, _ = MulDivMod(freeAt-now-1, l, 1, p)
	}
	if freeAt == 0 || freeAt == MaxUnits {
		held = max(held, units-MulDivCeil(elapsed, l, 0, p))
	}
	return min(units, held)
}

// Withdraws reports whether a draw of units can leave the queue that s, the level at now,
// stands for. Its turn comes at turn, and it left its key free at freeAt. It can leave
// while it waits and is the last, since the turns of others don't move. It leaves as a
// whole: s can't tell a part that somebody drew again from one that was never refunded.
// Nothing leaves if freeAt is unknown or where time stops, nor at a rate of more than one
// unit in two microseconds, where instants don't tell who is the last.
func (s *Bucket) Withdraws(units, now, turn, freeAt, l int64) bool {
	return now < turn && freeAt < MaxUnits && 2*l <= s.P &&
		now+s.ResetMicros(l) == freeAt && MulDivCeil(units, s.P, 0, l) >= freeAt-turn
}
