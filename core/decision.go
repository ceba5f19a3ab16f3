package traffik

import (
	"math"
	"time"
)

// Never is the RetryAfter of a cost that can't fit even into an untouched key. Compare
// with it; it is no time to wait or to print.
const Never time.Duration = math.MaxInt64

// Draw is one attempt to take units from a key, the whole input of a
// [Strategy] besides the stored state.
type Draw struct {
	// Rate is the limit in force for this attempt.
	Rate Rate
	// Cost is the number of units: more than 0 takes them, 0 looks without
	// taking, less than 0 refunds (see [Op.Refund]). It lies in
	// [-2^53, 2^53+2]; a cost above 2^53 is [Never] for every strategy.
	Cost int64
	// Now is set by the backend, from one reading of its clock per call; see
	// [Decision.Ahead] for those that decide a key at a later time.
	Now Instant
	// TakenAt matters to refunds (Cost < 0) only: the [Decision.At] of the draw
	// that is refunded. 0, or an instant later than Now, means Now.
	TakenAt Instant
	// FreeAt matters to refunds only: when the draw that is refunded left its key as if
	// untouched, its [Decision.FreeAt]. A bucket derives from it what the draw still
	// holds. 0 means that it is not known: the bucket then assumes that the draw found
	// its key untouched, so it may restore less than the draw holds, and never more.
	FreeAt Instant
	// Delay matters to refunds only: the [Decision.Delay] of the draw that is refunded.
	// A queue restores nothing once that draw's turn has come, so 0 restores nothing
	// there.
	Delay time.Duration
	// Force charges whatever the level, as when a cost known only afterwards is
	// settled upwards. It is for direct calls of [Backend.Take]. It skips every test of admission, Never included; the
	// count stops at 2^53, and later draws feel it.
	Force bool
	// spilled: the draw that is refunded was counted on an overflow counter of a Memory.
	spilled bool
	// Class is the tier or priority of the caller, "" where a strategy has no
	// use for one.
	Class string
}

// Decision is what a [Strategy] answers to a [Draw].
type Decision struct {
	// Allowed reports whether the draw was, or for a look would be, admitted.
	Allowed bool
	spilled bool // counted on an overflow counter of a Memory
	// Limit is the capacity that applied, in units.
	Limit int64
	// Remaining is the largest cost that would be admitted at this instant,
	// after this draw: 0 <= Remaining <= Limit.
	Remaining int64
	// RetryAfter is how long to wait until the same draw is admitted if nobody
	// else draws: exact to the microsecond, 0 when allowed, [Never] when the
	// cost can't fit into an untouched key. Finite ones stop at 2^53 µs.
	RetryAfter time.Duration
	// ResetAfter is how long until the key is as if untouched. A store must
	// keep the state that long and may forget it from then on.
	ResetAfter time.Duration
	// Delay is how long a queueing strategy asks an admitted caller to hold
	// back before it starts; 0 for all others.
	Delay time.Duration
	// At is the instant under which the draw is recorded; a later refund names it
	// in [Draw.TakenAt].
	At Instant
	// Ahead is how far At lies ahead of the backend's own clock, 0 for most backends. A
	// store that decides at the latest time any of its writers saw reports it here, and
	// includes it in RetryAfter and ResetAfter, which count from the caller's present.
	Ahead time.Duration
}

// FreeAt is when the draw left its key as if untouched, in the time of the store that
// decided it: At + ResetAfter, less Ahead. A refund names it in [Draw.FreeAt].
func (d *Decision) FreeAt() Instant { return d.At.Add(d.ResetAfter - d.Ahead) }
