package store

import traffik "github.com/traffik-go/traffik/core"

// Change tells a store how one op changes its key.
type Change struct {
	// Write asks the store to replace the state with State and to keep it for at least the
	// decision's ResetAfter.
	Write bool
	// Delete asks the store to forget the key.
	Delete bool
	// State is the next state. The next call with the same Change reuses its memory.
	State []byte
}

// DecideAll decides the ops of one Take or Peek on the states that the store has read, nil
// for an untouched key. It puts the answers into out and the writes into changes; the store
// must make all of them or none. Before the call, check the ops with [CheckOps] and set
// Draw.Now of each, which DecideAll clamps to the range of a [traffik.Instant]. All slices
// must be as long as ops.
//
// When an op that is not Advisory denies, DecideAll decides the ops that would fit again
// with Cost 0. Their changes are then repairs only.
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
