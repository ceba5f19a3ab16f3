package traffik

import (
	"math"
	"testing"
)

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
