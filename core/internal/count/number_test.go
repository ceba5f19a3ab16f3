package count

import (
	"math"
	"math/big"
	"testing"
)

var numbersInTest = []int64{
	0, 1, 2, 3, 7, 10, 1000, 1_000_000, 60_000_000, 1<<31 - 1, 1 << 32, MaxUnits - 1, MaxUnits, MaxUnits + 1, MaxUnits + 2, 1 << 62, math.MaxInt64 - 1, math.MaxInt64,
}

// checkMulDiv compares with math/big.
func checkMulDiv(t *testing.T, a, b, add, m int64) {
	t.Helper()
	sum := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
	sum.Add(sum, big.NewInt(add))
	quo, rem := new(big.Int).QuoRem(sum, big.NewInt(m), new(big.Int))
	limit := big.NewInt(MaxUnits)
	if quo.Cmp(limit) > 0 {
		quo, rem = limit, new(big.Int)
	}
	gotQuo, gotRem := MulDivMod(a, b, add, m)
	if gotQuo != quo.Int64() || gotRem != rem.Int64() {
		t.Fatalf("MulDivMod(%d, %d, %d, %d) = %d, %d; want %v, %v", a, b, add, m, gotQuo, gotRem, quo, rem)
	}
	ceil := quo.Int64()
	if rem.Sign() > 0 && ceil < MaxUnits {
		ceil++
	}
	if got := MulDivCeil(a, b, add, m); got != ceil {
		t.Fatalf("MulDivCeil(%d, %d, %d, %d) = %d, want %d", a, b, add, m, got, ceil)
	}
}

func TestMulDivAgainstBig(t *testing.T) {
	t.Parallel()
	for _, a := range numbersInTest {
		for _, b := range numbersInTest {
			for _, add := range numbersInTest {
				for _, m := range numbersInTest[1:] {
					checkMulDiv(t, a, b, add, m)
				}
			}
		}
	}
}

func FuzzMulDiv(f *testing.F) {
	f.Add(int64(MaxUnits), int64(MaxUnits), int64(MaxUnits), int64(1))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, a, b, add, m int64) {
		if a < 0 || b < 0 || add < 0 || m <= 0 {
			return
		}
		checkMulDiv(t, a, b, add, m)
	})
}

func TestAddSaturates(t *testing.T) {
	t.Parallel()
	for _, tc := range [][3]int64{
		{0, 0, 0},
		{1, 2, 3},
		{MaxUnits, 0, MaxUnits},
		{MaxUnits, 1, MaxUnits},
		{MaxUnits - 1, 1, MaxUnits},
		{MaxUnits, MaxUnits, MaxUnits},
		{MaxUnits - 2, 1, MaxUnits - 1},
		{1, MaxUnits + 2, MaxUnits},
		{0, math.MaxInt64, MaxUnits},
		{1, math.MaxInt64, MaxUnits},
		{math.MaxInt64, math.MaxInt64, MaxUnits},
	} {
		if got := Add(tc[0], tc[1]); got != tc[2] {
			t.Errorf("Add(%d, %d) = %d, want %d", tc[0], tc[1], got, tc[2])
		}
	}
}

func TestClampCost(t *testing.T) {
	t.Parallel()
	for cost, want := range map[int64]int64{
		0: 0, 1: 1, -1: -1,
		MaxUnits: MaxUnits, MaxUnits + 1: MaxUnits + 2, MaxUnits + 2: MaxUnits + 2, math.MaxInt64: MaxUnits + 2,
		-MaxUnits: -MaxUnits, -MaxUnits - 1: -MaxUnits, math.MinInt64: -MaxUnits,
	} {
		if got := ClampCost(cost); got != want {
			t.Errorf("ClampCost(%d) = %d, want %d", cost, got, want)
		}
		// What stores whose numbers are floats read is what was meant.
		if got := ClampCost(cost); int64(float64(got)) != got {
			t.Errorf("%d has no float64", got)
		}
	}
}
