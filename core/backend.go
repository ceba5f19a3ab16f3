package traffik

import (
	"context"
	"fmt"
	"unique"

	"github.com/traffik-go/traffik/core/internal/count"
)

// Key names one counter of a backend.
type Key struct {
	// Scope is the throttle's uid and its strategy's ID, interned once by New and compared
	// as a pointer. Throttles with equal uid and strategy ID share their counters on one
	// backend.
	Scope unique.Handle[string]
	// ID is the identity, such as "ip:192.0.2.1". The rate is never part of a key.
	ID string
}

// Op is one draw on one key.
type Op struct {
	Key      Key
	Strategy Strategy
	Draw     Draw
	// Advisory marks a limit that only reports: it is drawn if it fits and no other op
	// denies, and its denial stops nobody.
	Advisory bool
	// counting is how a Memory counts the op in integers, nil if it doesn't.
	counting *counting
}

// Backend stores counters. All methods are safe for concurrent use and return when ctx
// ends. They keep none of the slices given to them after they return, and set Draw.Now of
// the ops from one reading of their clock per call. A store without a clock may instead
// decide a key at the latest time that any of its writers saw; [Decision.Ahead] tells how
// far that time lies ahead.
//
// Being over the limit is a [Decision], never an error. An error means that the store
// failed and nothing is known. Errors wrap [ErrBackend] or one of its kinds, or the cause
// of ctx's end; a throttle wraps others in ErrBackend. The error of a wrong call wraps
// [ErrUsage] and is not a failure of the store. A throttle bounds all calls but Take by
// five seconds, and Take by its caller's context.
//
// Package store helps you to write one. Backend never grows a method. Extra powers are the
// optional interfaces [StateReader], [NamespaceResetter], [StateBounder] and
// [PolicySetter], which throttles find by type assertion. A decorator must forward all of
// them.
type Backend interface {
	// Take draws every op or none, atomically, and puts the answers into out[:len(ops)]. If
	// an op that is not Advisory denies, nothing is charged, and every op that would have
	// fitted gets the answer of a look (Cost 0). Two ops with one key give
	// [ErrDuplicateKey].
	Take(ctx context.Context, ops []Op, out []Decision) error

	// Peek puts the answers that Take would give into out[:len(ops)] and writes nothing.
	Peek(ctx context.Context, ops []Op, out []Decision) error

	// Reset makes keys untouched. States don't remember it: a refund of an earlier draw may
	// lower what was drawn since, but never below zero.
	Reset(ctx context.Context, keys ...Key) error

	// Close frees what the backend made, but never a client that it was given. It may be
	// called more than once. Take and Peek fail with [ErrClosed] afterwards.
	Close() error
}

// StateReader is an optional power of a [Backend]. ReadStates appends the stored state of
// each key, nil for an untouched one, to dst, and returns the time at which a draw on them
// would be decided. The caller owns the states.
type StateReader interface {
	ReadStates(ctx context.Context, keys []Key, dst [][]byte) ([][]byte, Instant, error)
}

// NamespaceResetter is an optional power of a [Backend]: it makes all keys of the
// backend's namespace untouched.
type NamespaceResetter interface {
	ResetNamespace(ctx context.Context) error
}

// StateBounder is an optional power of a [Backend]: the largest state, in bytes, that it
// can store.
type StateBounder interface {
	MaxStateBytes() int
}

// Normalize clamps the cost of op and the instants that a refund names to what a
// strategy expects. The error wraps [ErrUsage] for an op without a strategy or with an
// unlimited rate, and [ErrRate] for an invalid rate. Backends call it through
// store.CheckOps.
func (op *Op) Normalize() error {
	d := &op.Draw
	switch {
	case op.Strategy == nil:
		return fmt.Errorf("%w: the op on %q has no strategy", ErrUsage, op.Key.ID)
	case d.Rate == Unlimited:
		return fmt.Errorf("%w: the op on %q is unlimited; such a throttle needs no backend", ErrUsage, op.Key.ID)
	case d.Rate.micros == 0:
		return d.Rate.Validate()
	}
	if d.Cost >= 0 && d.Cost <= MaxUnits {
		return nil // as nearly always
	}
	if d.Cost = count.ClampCost(d.Cost); d.Cost < 0 {
		d.TakenAt, d.FreeAt, d.Delay = clampInstant(d.TakenAt), clampInstant(d.FreeAt), max(0, d.Delay)
	}
	return nil
}

// clampInstant brings an instant that a refund names into range. 0 means that it is not
// known, so an instant before 1970 becomes the first one after.
func clampInstant(i Instant) Instant {
	if i == 0 {
		return 0
	}
	return min(max(1, i), MaxUnits)
}

// Refund returns the op that refunds units of op, which a backend decided as dec: on
// the same key, at the same rate, with everything that the strategy needs to tell what
// the draw still holds. units is above 0 and at most what op took.
func (op Op) Refund(dec *Decision, units int64) Op {
	op.Draw.refund(dec, units)
	op.Advisory = false
	return op
}

func (d *Draw) refund(dec *Decision, units int64) {
	d.Cost, d.Force = -min(units, MaxUnits), false
	d.TakenAt, d.FreeAt, d.Delay, d.spilled = dec.At, dec.FreeAt(), dec.Delay, dec.spilled
}
