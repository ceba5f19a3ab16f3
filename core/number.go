package traffik

import "github.com/traffik-go/traffik/core/internal/count"

// MaxUnits is 2^53, the largest count, cost, limit and number of microseconds
// that takes part in a decision: up to it every integer has a float64 of its
// own, so that a store whose numbers are floats (Redis' Lua) computes exactly
// what Go computes.
const MaxUnits = count.MaxUnits
