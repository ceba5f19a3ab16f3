package traffikmemcached

import (
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// wallClock is the clock of this server. A round trip costs a thousand readings
// of it.
type wallClock struct{}

// Now implements [traffik.Clock].
func (wallClock) Now() traffik.Instant { return traffik.InstantOf(time.Now()) }

// wallSeconds is the clock by which Memcached reads dates: not the one that a
// test may have set.
func wallSeconds() int64 { return time.Now().Unix() }

// wallNow is what generations are numbered by.
func wallNow() time.Time { return time.Now() }

var started = time.Now()

// uptime only ever grows, whatever becomes of the wall clock.
func uptime() time.Duration { return time.Since(started) }
