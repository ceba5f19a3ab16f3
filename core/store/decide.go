package store

import (
	"fmt"
	"unique"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
	"github.com/traffik-go/traffik/core/internal/escape"
)

// CheckOps checks and clamps the ops of a Take or Peek; every backend calls it first.
// The error is that of [traffik.Op.Normalize] for the first op that has one. It wraps
// [traffik.ErrUsage] if out is shorter than ops, and [traffik.ErrDuplicateKey] if two ops
// have one key.
func CheckOps(ops []traffik.Op, out []traffik.Decision) error {
	if len(out) < len(ops) {
		return fmt.Errorf("%w: %d ops with room for %d decisions", traffik.ErrUsage, len(ops), len(out))
	}
	for i := range ops {
		if err := ops[i].Normalize(); err != nil {
			return err
		}
		for j := range i {
			if ops[j].Key == ops[i].Key {
				return fmt.Errorf("%w: %q", traffik.ErrDuplicateKey, ops[i].Key.ID)
			}
		}
	}
	return nil
}

// ClampCost returns cost limited to the range of [traffik.Draw.Cost], -2^53 to 2^53+2. Any
// result above 2^53 stands for "more than every limit".
func ClampCost(cost int64) int64 { return count.ClampCost(cost) }

// ScopeOf returns the scope of the throttle uid that counts by the strategy with the ID
// strategyID.
func ScopeOf(uid, strategyID string) unique.Handle[string] { return escape.Scope(uid, strategyID) }

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
// When an op that is not Advisory denies, DecideAll decides the ops that would fit a second
// time, with Cost 0. Their changes are then repairs only.
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
