package store

import traffik "github.com/traffik-go/traffik/core"

// Change tells a store what to do about one op that was decided.
type Change struct {
	// Write asks the store to replace the state by State and to keep it for the
	// decision's ResetAfter or longer.
	Write bool
	// Delete asks the store to forget the key.
	Delete bool
	// State is the next state. The next call with the same Change reuses its memory.
	State []byte
}

// DecideAll decides the ops of one Take or Peek on the states that the store has read, nil
// for an untouched key. It puts the answers into out, and into changes what the store has
// to write: all of it or nothing. Set Draw.Now of each op first; DecideAll clamps it to
// the range of an [traffik.Instant]. [CheckOps] has checked the ops. All slices are as long
// as ops.
//
// When an op that is not Advisory denies, DecideAll decides those that would fit again with
// Cost 0. What they append then are repairs.
func DecideAll(ops []traffik.Op, states [][]byte, out []traffik.Decision, changes []Change) {
	stopped := false
	for _, again := range [...]bool{false, true} {
		for i := range ops {
			op, c := &ops[i], &changes[i]
			op.Draw.Now = min(max(0, op.Draw.Now), traffik.MaxUnits)
			draw := op.Draw // a copy, which the strategy may change
			if again {
				if !out[i].Allowed {
					continue
				}
				draw.Cost = 0
			}
			c.State, out[i] = op.Strategy.Decide(c.State[:0], states[i], &draw)
			c.Write = len(c.State) > 0
			c.Delete = !c.Write && draw.Cost < 0
			stopped = stopped || !out[i].Allowed && !op.Advisory
		}
		if !stopped {
			return
		}
	}
}
