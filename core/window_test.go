package traffik

import (
	"testing"
	"time"
)

// A small step back holds the window; a larger one moves the counts to the
// window after now's, and is repaired by draws that are denied, Never included.
func TestFixedWindowClockStepsBack(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	rate := Per(5, time.Minute)
	runSteps(t, FixedWindow{}, rate, []takeStep{
		{at: 70 * s, cost: 5, remaining: 0, reset: 50 * s},
		{at: 59 * s, cost: 1, remaining: 0, retry: 61 * s, reset: 61 * s},
		{at: 70 * s, cost: 1, remaining: 0, retry: 50 * s, reset: 50 * s},
		{at: 59 * s, cost: 1, force: true, remaining: 0, reset: 61 * s},
		{at: 70 * s, cost: -1, takenAt: 60 * s, remaining: 0, reset: 50 * s},
	})
	for _, repairer := range []takeStep{
		{at: -90 * s, cost: 0, remaining: 0, reset: 90 * s},
		{at: -90 * s, cost: 1, remaining: 0, retry: 90 * s, reset: 90 * s},
		{at: -90 * s, cost: 6, remaining: 0, retry: never, reset: 90 * s},
	} {
		runSteps(t, FixedWindow{}, rate, []takeStep{
			{at: 70 * s, cost: 5, remaining: 0, reset: 50 * s},
			repairer,
			// Unless repaired, the window of 60 s would go on counting until 120 s.
			{at: -1, cost: 1, remaining: 0, retry: 1, reset: 1},
			{at: 0, cost: 1, remaining: 4, reset: 60 * s},
		})
	}
}

// A forced charge is felt by later draws, stops at 2^53 and can't overflow.
func TestFixedWindowForce(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, FixedWindow{}, Per(5, time.Minute), []takeStep{
		{at: 0, cost: 7, force: true, remaining: 0, reset: 60 * s},
		{at: 0, cost: -3, remaining: 1, reset: 60 * s},
		{at: 0, cost: MaxUnits, force: true, remaining: 0, reset: 60 * s},
		{at: 0, cost: MaxUnits + 2, force: true, remaining: 0, reset: 60 * s},
		{at: 0, cost: 1, remaining: 0, retry: 60 * s, reset: 60 * s},
		{at: 0, cost: -(MaxUnits - 1), remaining: 4, reset: 60 * s},
	})
}
