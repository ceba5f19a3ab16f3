package traffik

import (
	"math"
	"testing"
	"time"
)

func TestInstantOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		at   time.Time
		want Instant
	}{
		{time.Unix(0, 0), 0},
		{time.Unix(1, 999), 1_000_000},
		{time.Unix(1, 1999), 1_000_001},
		{time.Unix(-1, 0), 0},
		{time.Unix(-1, 999_999_999), 0},
		{time.Time{}, 0},
		{time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("", 3600)), 1795431600_000000},
	} {
		got := InstantOf(tc.at)
		if got != tc.want {
			t.Errorf("InstantOf(%v) = %d, want %d", tc.at, got, tc.want)
		}
		if back := got.Time(); InstantOf(back) != got || back.Location() != time.UTC {
			t.Errorf("%d as a time is %v", got, back)
		}
	}
}

func TestInstantArithmetic(t *testing.T) {
	t.Parallel()
	const last = Instant(MaxUnits)
	for _, tc := range []struct {
		i    Instant
		d    time.Duration
		want Instant
	}{
		{0, 0, 0},
		{5, time.Microsecond, 6},
		{5, 1999, 6}, // whole microseconds
		{5, -time.Microsecond, 4},
		{5, -time.Second, 0},
		{last, time.Microsecond, last},
		{last, Never, last},
		{0, Never, last},
		{last, math.MinInt64, 0},
		{math.MaxInt64, Never, last},
		{math.MaxInt64, time.Hour, last},
		{math.MinInt64, time.Microsecond, 1},
		{last - 1, time.Microsecond, last},
	} {
		if got := tc.i.Add(tc.d); got != tc.want {
			t.Errorf("%d.Add(%v) = %d, want %d", tc.i, tc.d, got, tc.want)
		}
	}
	for _, tc := range []struct {
		i, earlier Instant
		want       time.Duration
	}{
		{7, 5, 2 * time.Microsecond},
		{5, 7, -2 * time.Microsecond},
		{last, 0, MaxUnits * time.Microsecond},
		{0, last, -MaxUnits * time.Microsecond},
		{last + 5, 0, MaxUnits * time.Microsecond},
	} {
		if got := tc.i.Sub(tc.earlier); got != tc.want {
			t.Errorf("%d.Sub(%d) = %v, want %v", tc.i, tc.earlier, got, tc.want)
		}
	}
	if micros(math.MaxInt64) <= 0 || micros(math.MinInt64) >= 0 || micros(MaxUnits) == Never {
		t.Error("micros wraps around or meets Never")
	}
}
