package traffik

import (
	"sync/atomic"
	"time"
)

// Clock tells a backend the time. Now is safe for concurrent use. It may stand still or
// step back, which makes callers wait longer but never admits more than the limit.
type Clock interface {
	Now() Instant
}

// wallNanos returns wall time in nanoseconds since 1970, for logging.
func wallNanos() int64 { return time.Now().UnixNano() }

// anchorMicros is how far the monotonic clock runs before it is set to wall
// time again.
const anchorMicros = 1_000_000

// driftMicros is how far the clock may run ahead of wall time without stepping back.
// Slewing and rounding cause less each second. A step back is harmless, but makes the store
// rewrite every state.
const driftMicros = 1_000

// systemClock is wall time told by the monotonic clock, which costs half of time.Now, and
// set to wall time at least once a second. Inside a testing/synctest bubble it follows the
// bubble's clock.
type systemClock struct {
	base time.Time // readings count from it; it carries the monotonic clock
	// both returns wall time, in microseconds since 1970, and the reading at that moment.
	both func() (wall, reading int64)
	// offset is added to a reading, and anchored is the reading at which it was last
	// measured. They are written one after the other. A goroutine that sees one new and one
	// old is off by the correction of that anchoring.
	offset, anchored atomic.Int64
}

func newSystemClock() *systemClock {
	base := time.Now()
	c := &systemClock{base: base, both: func() (wall, reading int64) {
		now := time.Now() // carries both clocks
		return now.UnixMicro(), int64(now.Sub(base) / time.Microsecond)
	}}
	c.offset.Store(base.UnixMicro())
	return c
}

// Now implements [Clock].
func (c *systemClock) Now() Instant { return c.at(c.reading()) }

// reading returns the reading of the monotonic clock.
func (c *systemClock) reading() int64 { return int64(time.Since(c.base) / time.Microsecond) }

// at turns a reading of the monotonic clock into an instant. It asks for wall time when the
// last anchor is a second old or lies a second in the future, as it does after entering a
// testing/synctest bubble. A reading that is a little older than the anchor comes from a
// goroutine that had to wait meanwhile.
func (c *systemClock) at(reading int64) Instant {
	if uint64(reading-c.anchored.Load()+anchorMicros) >= 2*anchorMicros {
		c.anchor()
	}
	return Instant(reading + c.offset.Load())
}

// anchor takes a new reading: the one that led to it may be old.
func (c *systemClock) anchor() {
	wall, reading := c.both()
	offset, known := max(0, wall)-reading, c.offset.Load()
	if offset > known || known-offset > driftMicros {
		c.offset.Store(offset)
	}
	c.anchored.Store(reading)
}
