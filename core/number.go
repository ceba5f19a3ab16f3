package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// MaxUnits is 2^53, the largest count, cost, limit and number of microseconds
// that takes part in a decision: up to it every integer has a float64 of its
// own, so that a store whose numbers are floats (Redis' Lua) computes exactly
// what Go computes.
const MaxUnits = count.MaxUnits

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
