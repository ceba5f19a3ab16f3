package traffik

import (
	"context"
	"fmt"
	"unique"
)

// Key names one counter of a backend.
type Key struct {
	// Scope is the throttle's uid and its strategy's ID, interned once by New
	// (see [ScopeOf]). It is compared as a pointer.
	Scope unique.Handle[string]
	// ID is the identity, as "ip:192.0.2.1". The rate is never part of a key.
	ID string
}

// ScopeOf returns the scope of the throttle uid counting by strategy id. Two
// throttles with equal uid and strategy ID share their counters on one backend.
func ScopeOf(uid, strategyID string) unique.Handle[string] {
	return unique.Make(escapePart(uid) + "|" + escapePart(strategyID))
}

// Op is one draw on one key.
type Op struct {
	Key      Key
	Strategy Strategy
	Draw     Draw
	// Advisory marks a limit that only reports: it is drawn if it fits and no
	// other op denies, and its own denial stops nobody.
	Advisory bool
}

// Backend keeps the score. All methods are safe for concurrent use, keep none
// of the slices handed to them after they return, also when ctx ended early,
// and set Draw.Now of the ops from one reading of their clock per call. A store
// without a clock of its own may decide a key at the latest time that any of its
// writers saw instead, and says how far that lies ahead in [Decision.Ahead].
//
// Being over the limit is a [Decision], never an error. An error means that
// the store failed and that nothing is known. Errors wrap [ErrBackend] or one
// of its kinds, or the cause of ctx's end; a throttle tells a caller who gave up from a
// deadline, and wraps errors without a kind in ErrBackend. What is wrong with the call itself
// wraps [ErrUsage] and is no failure. Every method has to return when ctx ends: throttles bound
// all calls but Take by a context of five seconds, and Take by that of their caller.
//
// The interface never grows a method; extra powers are [StateReader],
// [NamespaceResetter] and [StateBounder], found by assertion, and a decorator
// forwards all of them.
type Backend interface {
	// Take draws every op or none, atomically, and puts the answers into
	// out[:len(ops)]. When one op that is not Advisory denies, nothing is
	// charged, and the ops that would have fitted are answered as a look
	// (Cost 0) at their uncharged state. The keys of one Take are distinct;
	// [ErrDuplicateKey] otherwise.
	Take(ctx context.Context, ops []Op, out []Decision) error

	// Peek gives the answers that Take would give and writes nothing.
	Peek(ctx context.Context, ops []Op, out []Decision) error

	// Reset forgets keys: each is untouched from then on. States hold no trace of it: a
	// refund of a draw made before may lower what was drawn since, never below zero.
	Reset(ctx context.Context, keys ...Key) error

	// Close frees what the backend itself made, never a client handed to it.
	// It may be called more than once; Take and Peek fail with [ErrClosed]
	// afterwards.
	Close() error
}

// StateReader is an optional power of a [Backend]: the stored states of keys,
// nil for an untouched one, appended to dst in the order of keys and owned by
// the caller, with the time at which a draw on them would be decided.
type StateReader interface {
	ReadStates(ctx context.Context, keys []Key, dst [][]byte) ([][]byte, Instant, error)
}

// NamespaceResetter is an optional power of a [Backend]: it forgets all keys
// of the backend's namespace.
type NamespaceResetter interface {
	ResetNamespace(ctx context.Context) error
}

// StateBounder is an optional power of a [Backend]: the largest state that it
// can store, in bytes.
type StateBounder interface {
	MaxStateBytes() int
}

// CheckOps is the first thing that Take and Peek of every backend do. It clamps
// the costs (see [ClampCost]) and the instants that refunds name, and returns an error wrapping [ErrUsage] or
// [ErrRate] for an op without a strategy or with an invalid or unlimited rate
// and for an out shorter than ops, and [ErrDuplicateKey].
func CheckOps(ops []Op, out []Decision) error {
	if len(out) < len(ops) {
		return fmt.Errorf("%w: %d ops with room for %d decisions", ErrUsage, len(ops), len(out))
	}
	for i := range ops {
		op := &ops[i]
		switch {
		case op.Strategy == nil:
			return fmt.Errorf("%w: op %d has no strategy", ErrUsage, i)
		case op.Draw.Rate.IsUnlimited():
			return fmt.Errorf("%w: op %d is unlimited; such a throttle needs no backend", ErrUsage, i)
		case op.Draw.Rate.micros == 0:
			return op.Draw.Rate.Validate()
		}
		op.Draw.Cost = ClampCost(op.Draw.Cost)
		if op.Draw.Cost < 0 {
			op.Draw.clampRefund()
		}
		for j := range i {
			if ops[j].Key == op.Key {
				return fmt.Errorf("%w: %q", ErrDuplicateKey, op.Key.ID)
			}
		}
	}
	return nil
}

// clampRefund brings what a refund says of its draw into the range of an [Instant]. An
// instant before 1970 is the first one after, since 0 says something else.
func (d *Draw) clampRefund() {
	if d.TakenAt != 0 {
		d.TakenAt = min(max(1, d.TakenAt), MaxUnits)
	}
	if d.FreeAt != 0 {
		d.FreeAt = min(max(1, d.FreeAt), MaxUnits)
	}
	d.Delay = max(0, d.Delay)
}
