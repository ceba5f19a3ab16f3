package traffik

import (
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// BucketInfo describes a key counted by one of the linear strategies.
type BucketInfo struct {
	// Capacity is the number of units that fit into an untouched key.
	Capacity int64
	// Level is the number of units in use, rounded up; it is above Capacity
	// after a forced charge or a lowered limit.
	Level int64
	// Tokens is Capacity less Level, negative when the key is overdrawn.
	Tokens int64
	// EmptyAt is when the last unit in use will have leaked away: the
	// theoretical arrival time of GCRA. It is now for an untouched key.
	EmptyAt time.Time
}

func describeLinear(state []byte, d *Draw, capacity int64) BucketInfo {
	var s count.Linear
	s.Read(state)
	s.Adopt(int64(d.Now), d.Rate.micros)
	s.T = min(s.T, int64(d.Now))
	s.Leak(int64(d.Now), d.Rate.units)
	return BucketInfo{
		Capacity: capacity,
		Level:    s.Used(),
		Tokens:   capacity - s.Used(),
		EmptyAt:  d.Now.Add(micros(s.ResetMicros(d.Rate.units))).Time(),
	}
}
