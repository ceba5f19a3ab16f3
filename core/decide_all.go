package traffik

// Change is what a decided op asks of a store.
type Change struct {
	// Write says that State replaces what is stored, to be kept for the
	// decision's ResetAfter at least.
	Write bool
	// Delete says that the key is untouched again.
	Delete bool
	// State is the next state; its memory is used again by the next call with
	// the same Change.
	State []byte
}

// DecideAll decides the ops of one Take or Peek over the states read for them, nil
// for an untouched key, as the contract of [Backend] asks: answers into out, and
// into changes what has to be stored, all of it or nothing. It decides each op at
// its Draw.Now, which the store has set before and DecideAll brings into the range
// of an [Instant]. Stores that read, decide in Go and write back with a
// compare-and-set are made of it; ops were checked by [CheckOps]. The slices have
// the length of ops.
func DecideAll(ops []Op, states [][]byte, out []Decision, changes []Change) {
	stopped := false
	for i := range ops {
		ops[i].Draw.Now = ops[i].Draw.Now.Add(0)
		draw := ops[i].Draw
		changes[i].decide(&ops[i], states[i], &draw, &out[i])
		stopped = stopped || !out[i].Allowed && !ops[i].Advisory
	}
	if !stopped {
		return
	}
	for i := range ops {
		if out[i].Allowed {
			look := ops[i].Draw
			look.Cost = 0
			changes[i].decide(&ops[i], states[i], &look, &out[i])
		}
	}
}

func (c *Change) decide(op *Op, state []byte, draw *Draw, out *Decision) {
	c.State, *out = op.Strategy.Decide(c.State[:0], state, draw)
	c.Write = len(c.State) > 0
	c.Delete = !c.Write && draw.Cost < 0
}
