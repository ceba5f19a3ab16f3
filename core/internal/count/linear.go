package count

import "math/bits"

// Linear is the kernel that counts for TokenBucket, GCRA and the leaky buckets:
// units in use leak away at a constant rate, and a draw is admitted if it fits
// under the capacity on top of what is still in use.
//
// The idea is the virtual scheduling of ITU-T I.371 and ATM Forum TM 4.0
// (GCRA) with the theoretical arrival time kept as an instant and a level, so
// that nothing is ever rounded: a float64 arrival time in microseconds since
// 1970 has a grain of a quarter microsecond and admits a third too much at
// 3,000,000 a second.
//
// State: the instant T of the last write and the level at T, N + R/P units
// with l/P the rate in lowest terms, so R < P. 33 bytes. A call costs one or
// two divisions. Bound: B + floor(length*L/P) in any interval of time.
type Linear struct {
	T, N, R, P int64
}

// LinearTag marks the layout T, N, R, P.
const LinearTag = 'L'

// LinearStateBytes is the length of every stored linear state.
const LinearStateBytes = 1 + 4*8

// Read makes s what state says, the zero Linear for anything unreadable and for more
// than 2^53 units, which nothing writes.
func (s *Linear) Read(state []byte) {
	if !ReadState(state, LinearTag, &s.T, &s.N, &s.R, &s.P) || s.N == MaxUnits && s.R > 0 {
		*s = Linear{}
	}
}

// Adopt translates what was read to a remainder over p, the denominator of
// today's rate. What says nothing becomes the zero level at now.
func (s *Linear) Adopt(now, p int64) {
	if s.P == 0 || s.R >= s.P || s.Empty() {
		*s = Linear{T: now, P: p}
		return
	}
	if s.P != p {
		s.rebase(p)
	}
}

// Stands reports whether s is the level at now over p already, so that neither
// Adopt nor Leak has anything to do: as for all draws on a key within the same
// microsecond but the first.
func (s *Linear) Stands(now, p int64) bool {
	return s.T == now && s.P == p && s.R < p && s.N > 0
}

// rebase turns the remainder into one over p. It is rounded up as a fraction,
// not as a whole unit: two rates judging one key in turn then lose less than a
// microsecond's worth each time.
func (s *Linear) rebase(p int64) {
	s.R = MulDivCeil(s.R, p, 0, s.P)
	s.P = p
	if s.R == p {
		s.N, s.R = Add(s.N, 1), 0
	}
}

// Leak lets what time has freed flow out: l units per s.P microseconds.
func (s *Linear) Leak(now, l int64) {
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

// Used is the level in whole units, rounded up.
func (s *Linear) Used() int64 {
	if s.R > 0 {
		return Add(s.N, 1)
	}
	return s.N
}

// Take adds c units, stopping at 2^53.
func (s *Linear) Take(c int64) {
	s.N = Add(s.N, min(c, MaxUnits))
	if s.N == MaxUnits {
		s.R = 0
	}
}

// Refund takes c units off the level, not below 0.
func (s *Linear) Refund(c int64) {
	if c > s.N || c == s.N && s.R == 0 {
		s.N, s.R = 0, 0
		return
	}
	s.N -= c
}

// Append appends the state.
func (s *Linear) Append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, LinearStateBytes)...)
	dst[at] = LinearTag
	PutField(dst[at+1:], s.T)
	PutField(dst[at+9:], s.N)
	PutField(dst[at+17:], s.R)
	PutField(dst[at+25:], s.P)
	return dst
}

// ResetMicros is the time until the level is 0.
func (s *Linear) ResetMicros(l int64) int64 {
	return MulDivCeil(s.N, s.P, s.R, l)
}

// Empty reports whether nothing is in use.
func (s *Linear) Empty() bool { return s.N == 0 && s.R == 0 }

// WaitMicros is the time until cost, at most b, fits under the capacity b,
// which it doesn't now.
func (s *Linear) WaitMicros(cost, b, l int64) int64 {
	return MulDivCeil(s.N+cost-b, s.P, s.R, l)
}

// Held is how many of units, more than 0, that a draw took at takenAt are still in use
// at now under the rate l/p. Units leak in the order in which they were drawn, so the
// draw, which left its key free at freeAt, holds its last unit until then. takenAt 0 or
// later than now means now.
//
// freeAt is rounded up to a whole microsecond. While the level has not leaked since the
// draw that doesn't matter; later what the rounding may have added is left out.
//
// Where freeAt is not known (0), or where time stops (2^53), the draw holds at least
// what it would on a key that was untouched before.
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

// Withdraws reports whether a draw of units whose turn comes at turn, and which left its
// key free at freeAt, can leave the queue that s, the level at now, is under the rate
// l/p. It can while it waits and is the last: turns that were given to others don't
// move. It leaves as a whole, since s can't tell a part that was drawn anew from one
// that was never refunded. A freeAt that is not known, or where time stops, tells nothing,
// and neither do microseconds at a rate of more than one unit in two of them.
func (s *Linear) Withdraws(units, now, turn, freeAt, l int64) bool {
	return now < turn && freeAt < MaxUnits && 2*l <= s.P &&
		now+s.ResetMicros(l) == freeAt && MulDivCeil(units, s.P, 0, l) >= freeAt-turn
}
