package traffik

import (
	"testing"
	"time"
)

func TestTokenBucketSteps(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, TokenBucket{Burst: 3}, Per(60, time.Minute), []takeStep{
		{at: 0, cost: 0, remaining: 3},
		{at: 0, cost: 2, remaining: 1, reset: 2 * s},
		{at: 0, cost: 2, remaining: 1, retry: s, reset: 2 * s},
		{at: 0, cost: 4, remaining: 1, retry: never, reset: 2 * s},
		{at: s / 2, cost: 1, remaining: 0, reset: 5 * s / 2},
		{at: s / 2, cost: 1, remaining: 0, retry: s / 2, reset: 5 * s / 2},
		{at: s, cost: 1, remaining: 0, reset: 3 * s},
		{at: 4 * s, cost: 0, remaining: 3},
		{at: 4 * s, cost: 3, remaining: 0, reset: 3 * s},
	})
}

// Without Burst the capacity is the limit of the rate in force.
func TestTokenBucketDefaultBurst(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	twice := Per(20, 10*time.Second)
	runSteps(t, TokenBucket{}, Per(10, 10*time.Second), []takeStep{
		{at: 0, cost: 10, remaining: 0, reset: 10 * s},
		{at: 0, cost: 11, remaining: 0, retry: never, reset: 10 * s},
		{at: 0, cost: 0, rate: twice, remaining: 10, reset: 5 * s},
		{at: s, cost: 12, rate: twice, remaining: 0, reset: 10 * s},
		{at: s, cost: 1, remaining: 0, retry: 11 * s, reset: 20 * s},
	})
}
