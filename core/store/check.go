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

// ClampCost returns cost limited to [-2^53, 2^53+2], as every [traffik.Draw] has it. Any
// result above 2^53 stands for "more than every limit".
func ClampCost(cost int64) int64 { return count.ClampCost(cost) }

// ScopeOf returns the scope of the throttle uid that counts by the strategy with the ID
// strategyID.
func ScopeOf(uid, strategyID string) unique.Handle[string] { return escape.Scope(uid, strategyID) }
