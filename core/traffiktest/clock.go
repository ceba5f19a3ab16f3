package traffiktest

import (
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Clock is a clock that tests set by hand. The zero Clock stands at 1970. It is safe for
// concurrent use.
type Clock struct {
	now atomic.Int64
}

// NewClock returns a clock that stands at t.
func NewClock(t time.Time) *Clock {
	c := new(Clock)
	c.Set(traffik.InstantOf(t))
	return c
}

// Now implements [traffik.Clock].
func (c *Clock) Now() traffik.Instant { return traffik.Instant(c.now.Load()) }

// Set moves the clock to i, forwards or backwards.
func (c *Clock) Set(i traffik.Instant) { c.now.Store(int64(i)) }

// Advance moves the clock by d in whole microseconds, backwards if d is negative. It stops
// at 1970.
func (c *Clock) Advance(d time.Duration) { c.Set(c.Now().Add(d)) }
