package traffik

import (
	"math"
	"time"
)

// Never is the RetryAfter of a cost that can't fit even into an untouched key. Compare with
// it; don't wait for it or print it.
const Never time.Duration = math.MaxInt64

// MaxUnits is 2^53, the largest count, cost, limit and number of microseconds in a
// decision. Up to it every integer has a distinct float64, so a store whose numbers are
// floats, such as Redis' Lua, computes exactly what Go computes.
const MaxUnits = 1 << 53

// Draw is one attempt to take units from a key: all that a [Strategy] gets besides the
// stored state.
type Draw struct {
	// Rate is the limit in force for this attempt.
	Rate Rate
	// Cost is the number of units: above 0 takes them, 0 looks without taking, below 0
	// refunds them (see [Op.Refund]). It lies in [-2^53, 2^53+2]. A cost above 2^53 is
	// [Never] for every strategy.
	Cost int64
	// Now is set by the backend, from one reading of its clock per call; see
	// [Decision.Ahead] for backends that decide a key at a later time.
	Now Instant
	// TakenAt is for refunds only: the [Decision.At] of the refunded draw. 0, or an
	// instant later than Now, means Now.
	TakenAt Instant
	// FreeAt is for refunds only: the [Decision.FreeAt] of the refunded draw. A bucket
	// derives from it how much the draw still holds. 0 means unknown: the bucket then
	// assumes that the draw found its key untouched, and may restore less than the draw
	// holds, never more.
	FreeAt Instant
	// Delay is for refunds only: the [Decision.Delay] of the refunded draw. A queue
	// restores nothing once that draw's turn has come, so 0 restores nothing there.
	Delay time.Duration
	// Force charges the cost whatever the level. Use it in direct calls of [Backend.Take]
	// for a cost that is known only afterwards. It skips every test of admission, Never
	// included. The count stops at 2^53, and later draws are decided on it.
	Force bool
	// spilled: the refunded draw was counted on an overflow counter of a Memory.
	spilled bool
	// Class is the tier or priority of the caller; see [WithClass].
	Class string
}

// Decision is a [Strategy]'s answer to a [Draw].
type Decision struct {
	// Allowed reports whether the draw was admitted, or for a look would be.
	Allowed bool
	spilled bool // counted on an overflow counter of a Memory
	// Limit is the capacity that applied, in units.
	Limit int64
	// Remaining is the largest cost that would be admitted at this instant, after this
	// draw: 0 <= Remaining <= Limit.
	Remaining int64
	// RetryAfter is how long to wait until the same draw is admitted if nobody else
	// draws: exact to the microsecond, 0 when allowed, [Never] when the cost can't fit
	// into an untouched key, otherwise at most 2^53 µs.
	RetryAfter time.Duration
	// ResetAfter is how long until the key is as good as untouched. A store keeps the state
	// that long and may then forget it.
	ResetAfter time.Duration
	// Delay is how long a queueing strategy asks an admitted caller to wait before it
	// starts; 0 for all others.
	Delay time.Duration
	// At is the instant under which the draw is recorded. A refund names it in
	// [Draw.TakenAt].
	At Instant
	// Ahead is how far At lies ahead of the backend's clock, 0 for most backends. A store
	// that decides at the latest time that any of its writers saw reports it here, and
	// includes it in RetryAfter and ResetAfter, which count from the caller's present.
	Ahead time.Duration
}

// FreeAt returns the instant from which the key is as good as untouched if nobody draws
// after this draw, by the clock of the store that decided it: At + ResetAfter - Ahead. A
// refund names it in [Draw.FreeAt].
func (d *Decision) FreeAt() Instant { return d.At.Add(d.ResetAfter - d.Ahead) }
