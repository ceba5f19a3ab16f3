// Package count is the arithmetic that strategies share: exact integers up to 2^53, the
// fields of stored states, windows aligned to the clock, and the leaking level. It knows
// neither draws nor decisions. docs/design/strategies.md has the formulas.
package count

import "math/bits"

// MaxUnits is 2^53. Up to it every integer has a distinct float64.
const MaxUnits = 1 << 53

// overUnits stands for every cost above MaxUnits. It is the next even number:
// 2^53+1 has no float64 and would read back as 2^53, which may fit a limit.
const overUnits = MaxUnits + 2

// ClampCost returns cost limited to [-2^53, 2^53+2]. Any result above 2^53
// stands for "more than every limit".
func ClampCost(cost int64) int64 {
	switch {
	case cost > MaxUnits:
		return overUnits
	case cost < -MaxUnits:
		return -MaxUnits
	}
	return cost
}

// MulDivMod returns floor and remainder of (a*b+add)/m for non-negative a, b,
// add and positive m, computed in 128 bits. A quotient above 2^53 becomes 2^53
// with remainder 0.
func MulDivMod(a, b, add, m int64) (quo, rem int64) {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	lo, carry := bits.Add64(lo, uint64(add), 0)
	hi += carry
	if hi == 0 {
		q := lo / uint64(m)
		if q > MaxUnits {
			return MaxUnits, 0
		}
		return int64(q), int64(lo - q*uint64(m))
	}
	if hi >= uint64(m) {
		return MaxUnits, 0
	}
	q, r := bits.Div64(hi, lo, uint64(m))
	if q > MaxUnits {
		return MaxUnits, 0
	}
	return int64(q), int64(r)
}

// MulDivCeil is MulDivMod rounded up: ceil((a*b+add)/m), at most 2^53.
func MulDivCeil(a, b, add, m int64) int64 {
	// What fits into 64 bits is divided here, which saves a call.
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if lo, carry := bits.Add64(lo, uint64(add), 0); hi+carry == 0 && lo < MaxUnits {
		if m == 1 {
			return int64(lo) // most rates are one unit per so many microseconds
		}
		quo := lo / uint64(m)
		if quo*uint64(m) < lo {
			quo++
		}
		return int64(quo)
	}
	quo, rem := MulDivMod(a, b, add, m)
	if rem > 0 && quo < MaxUnits {
		quo++
	}
	return quo
}

// Add returns a+b, at most 2^53, for a in 0..2^53 and any b of 0 or more.
func Add(a, b int64) int64 {
	if a > MaxUnits-b {
		return MaxUnits
	}
	return a + b
}
