package traffik

import (
	"testing"
	"time"
)

// The clock follows wall time in steps of an hour both ways within a second of
// monotonic time, and tells the monotonic clock in between.
func TestSystemClockFollowsWallSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		const start, second = int64(testEpoch), int64(1_000_000)
		wall := start
		c := new(systemClock)
		c.offset.Store(start)
		read := func(reading int64) Instant {
			c.both = func() (int64, int64) { return wall + reading, reading }
			return c.at(reading)
		}
		if got := read(10); got != testEpoch+10 {
			t.Fatalf("at 10 µs: %d, want %d", got, testEpoch+10)
		}
		wall += int64(step / time.Microsecond)
		if got := read(second - 1); got != testEpoch+Instant(second)-1 {
			t.Errorf("step %v, before the anchoring: %d, want the monotonic reading", step, got)
		}
		if got, want := read(second), Instant(wall+second); got != want {
			t.Errorf("step %v, after a second: %d, want wall time %d", step, got, want)
		}
		if got, want := read(second+5), Instant(wall+second+5); got != want {
			t.Errorf("step %v, after that: %d, want %d", step, got, want)
		}
	}
}

// Rounding and slewing must not make time step back each second.
func TestSystemClockIgnoresTinyStepsBack(t *testing.T) {
	t.Parallel()
	c := new(systemClock)
	c.offset.Store(int64(testEpoch))
	var last Instant
	for reading := int64(0); reading < 20_000_000; reading += 250_000 {
		slewed := int64(testEpoch) + reading - reading/20_000 // 50 ppm slow
		c.both = func() (int64, int64) { return slewed, reading }
		got := c.at(reading)
		if got < last {
			t.Fatalf("at %d µs the clock stepped back from %d to %d", reading, last, got)
		}
		last = got
		if behind := int64(got) - slewed; behind > driftMicros+100 {
			t.Fatalf("at %d µs the clock is %d µs off, want at most %d", reading, behind, driftMicros)
		}
	}
}

// A reading before the last anchor, as on entering a bubble of
// testing/synctest, anchors anew.
func TestSystemClockReadingsBackwards(t *testing.T) {
	t.Parallel()
	c := new(systemClock)
	c.both = func() (int64, int64) { return 9_000_000, 5_000_000 }
	c.at(5_000_000)
	c.both = func() (int64, int64) { return 3_000_000, 1_000_000 }
	if got := c.at(1_000_000); got != 3_000_000 {
		t.Errorf("read %d, want 3000000", got)
	}
}

// A goroutine that waits between reading the clock and asking for the instant gets the instant
// of its reading, and does not move the clock of others that have anchored meanwhile.
func TestSystemClockOldReadings(t *testing.T) {
	t.Parallel()
	for _, waited := range []int64{1, 300_000, 999_999, 1_000_001, 5_000_000} {
		c := new(systemClock)
		c.offset.Store(int64(testEpoch))
		now := int64(0)
		c.both = func() (int64, int64) { return int64(testEpoch) + now, now }
		old := int64(900_000)
		for _, anchored := range []bool{false, true} {
			now = old + waited
			if anchored {
				c.at(now)
			}
			if got := c.at(old); got != testEpoch+Instant(old) {
				t.Errorf("waited %d µs: at %d, want %d", waited, got-testEpoch, old)
			}
			now += 10
			if got := c.at(now); got != testEpoch+Instant(now) {
				t.Errorf("waited %d µs: another is at %d, want %d", waited, got-testEpoch, now)
			}
			old += 2_000_000
		}
	}
}

func TestSystemClockTellsTheTime(t *testing.T) {
	t.Parallel()
	c := newSystemClock()
	before := InstantOf(time.Now())
	got := c.Now()
	if after := InstantOf(time.Now()); got < before-driftMicros || got > after+driftMicros {
		t.Errorf("the clock says %d, wall time is %d to %d", got, before, after)
	}
}
