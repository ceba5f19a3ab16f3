package promises

import (
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

// describe is what the strategy says of the stored state.
func (w *world) describe(look traffik.Draw) any {
	return w.strategy.(traffik.Describer).Describe(w.state, &look)
}

// usedUnits is the number of units in use by such a description.
func usedUnits(info any) int64 {
	switch info := info.(type) {
	case traffik.WindowInfo:
		return info.Used
	case traffik.SlidingWindowInfo:
		return info.Used
	case traffik.LogInfo:
		return info.Used
	case traffik.BucketInfo:
		return info.Level
	case traffik.DebtInfo:
		return info.Burst - info.Tokens
	case advanced.TierInfo:
		return info.Used
	case advanced.HoursInfo:
		return info.Used
	case advanced.AdaptiveInfo:
		return info.Used
	case advanced.PriorityInfo:
		return info.Used
	case advanced.RolloverInfo:
		return info.Used
	case advanced.CostInfo:
		return info.Level
	}
	panic("an unknown description")
}

// restored reports whether after is what a key that was in use as was tells has to
// answer once the draw d is refunded: what it answered before.
func (s *subject) restored(w *world, d traffik.Draw, was any, before, after traffik.Decision) bool {
	if s.delays {
		if kept, applies := s.almost(w, was, before, after); applies {
			return kept
		}
	}
	if usedUnits(was) > maxUnits-min(d.Cost, maxUnits) {
		// The count stopped at 2^53, and the refund takes off all the same.
		return after.Limit == before.Limit && after.Remaining >= before.Remaining
	}
	if s.almost != nil {
		if restored, applies := s.almost(w, was, before, after); applies {
			return restored
		}
	}
	return after == before
}

// notRoundedBack: a log that was full was rounded by the draw. All units are
// back, at instants at most one grain away.
func notRoundedBack(w *world, was any, before, after traffik.Decision) (restored, applies bool) {
	moved := after.ResetAfter - before.ResetAfter
	restored = after.Limit == before.Limit && after.Remaining == before.Remaining && moved.Abs().Microseconds() <= grain(w.strategy, w.rate)
	return restored, was.(traffik.LogInfo).Entries >= entriesOf(w.strategy)
}

// startedOrUnknown: a draw from a queue whose turn has come keeps its units, and so
// does one of which no instant can tell whether it is the last.
func startedOrUnknown(w *world, _ any, _, after traffik.Decision) (restored, applies bool) {
	drawn := w.past[len(w.past)-1].dec
	restored = after.Limit == drawn.Limit && after.Remaining == drawn.Remaining && after.ResetAfter == drawn.ResetAfter
	return restored, drawn.Delay == 0 || perMicro(w.rate).Cmp(ratio(1, 2)) > 0 || int64(drawn.At)+drawn.ResetAfter.Microseconds() >= maxUnits
}

// oldestCostDropped: a history that was full lost its oldest cost to the draw.
// All units are back; how fast they refill is another matter.
func oldestCostDropped(w *world, was any, before, after traffik.Decision) (restored, applies bool) {
	window := w.strategy.(advanced.CostBasedTokenBucket).Window
	if window == 0 {
		window = 16
	}
	restored = after.Limit == before.Limit && after.Remaining == before.Remaining
	return restored, len(was.(advanced.CostInfo).Recent) == window
}

// grainBecameFiner: entries were rounded further ahead than one grain of today.
func grainBecameFiner(w *world) bool {
	today := grain(w.strategy, w.rate)
	for _, s := range w.past {
		if grain(s.strategy, s.draw.Rate) > today {
			return true
		}
	}
	return false
}
