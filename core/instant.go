package traffik

import "time"

// Instant is a point in time in microseconds since the Unix epoch, UTC. It is never a
// length of time. Strategies see instants of 0 to 2^53; a clock that reads earlier is taken
// as 0.
type Instant int64

// InstantOf returns the instant of t in whole microseconds, rounded down, and 0 for times
// before 1970.
func InstantOf(t time.Time) Instant {
	return max(0, Instant(t.UnixMicro()))
}

// Time returns i as a UTC time.
func (i Instant) Time() time.Time { return time.UnixMicro(int64(i)).UTC() }

// Add returns i moved by d, whole microseconds, stopping at 0 and at 2^53.
func (i Instant) Add(d time.Duration) Instant {
	start := min(max(0, int64(i)), MaxUnits) // leaves room for the longest Duration
	return Instant(min(max(0, start+int64(d/time.Microsecond)), MaxUnits))
}

// Sub returns the time from earlier to i, negative when i is the earlier one, within
// ±2^53 µs.
func (i Instant) Sub(earlier Instant) time.Duration {
	return micros(int64(i) - int64(earlier))
}

// micros returns us microseconds as a Duration, within ±2^53 µs so that the product fits.
func micros(us int64) time.Duration {
	return time.Duration(min(max(-MaxUnits, us), MaxUnits)) * time.Microsecond
}
