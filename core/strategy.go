package traffik

// Strategy is a way of counting: a pure function from a stored state and a
// [Draw] to a [Decision] and the next state. A backend runs it atomically.
//
// Implementations are plain values, safe for concurrent use, whose methods
// neither block nor read a clock. They keep these promises for any trace of
// draws, any clock and any bytes of state; RunStrategy of the backendtest
// package checks what can be checked without knowing the bound, for a strategy
// of your own too:
//
//  1. What is admitted less what is refunded of it stays inside the documented
//     bound. Forced charges are not admissions. A refund restores only what its draw
//     still holds; in a bucket it moves the units of younger draws forward, which may
//     restore as many too many when they are refunded later.
//  2. RetryAfter is exact: at that instant the same draw is admitted, one
//     microsecond earlier it is not.
//  3. Remaining units are admitted at the same instant, one more is not.
//  4. A denied draw changes no later answer.
//  5. A refund is the inverse of the draw at the same instant, takes no count below zero
//     and has no effect on what has expired. A queue refunds what waits, not what started.
//  6. From ResetAfter on answers equal those of a fresh key, and not before.
//  7. A clock that stands still or steps back hands out no more, as long as the
//     state is kept: one that is gone, with the last unit refunded or at its
//     reset, is untouched for a clock that then steps back, too.
//  8. State that can't be read is taken as untouched.
//  9. A store's own form of the algorithm decides identically.
//  10. A change of rate or parameters takes effect on live keys at once and
//     hands out no fresh quota.
//
// A strategy may also implement [Validator], [Describer], [StateSizer] and [Classer].
type Strategy interface {
	// ID names algorithm and state layout with its version, as
	// "token_bucket.1". It is read once, by New. Burst, capacity and rate are
	// not part of it, so that changing them during a rolling deployment neither
	// hands out a fresh quota nor counts twice.
	ID() string

	// Decide reads state (nil or empty for an untouched key), which it neither
	// writes nor keeps, and appends the next state to dst, which never overlaps
	// state.
	//
	// What it appends, by d.Cost:
	//   - above 0 and allowed: always the next state;
	//   - 0, or denied: nothing, which leaves the store as it is, or the repaired
	//     state (one whose time lay ahead of the clock), which is stored even
	//     when the whole Take is denied;
	//   - below 0: the next state, unchanged if the refund had no effect; nothing
	//     means that the key is untouched again and may be deleted.
	Decide(dst, state []byte, d *Draw) (next []byte, dec Decision)
}

// Validator is an optional power of a [Strategy]: New calls Validate once and
// returns its error.
type Validator interface {
	Validate() error
}

// Describer is an optional power of a [Strategy]: Describe tells what a stored
// state means at d.Now as a typed value for dashboards, such as [WindowInfo]
// or [BucketInfo]. It charges nothing.
type Describer interface {
	Describe(state []byte, d *Draw) any
}

// Classer is an optional power of a [Strategy] whose capacity depends on [Draw.Class]: the
// classes that it tells apart. With it New refuses a fixed cost that fits no class; without
// it New can't tell, and accepts any cost beside [WithClass].
type Classer interface {
	Classes() []string
}

// StateSizer is an optional power of a [Strategy]: the largest state it can
// write at rate, in bytes; at the zero Rate, which New gives for a [RateFunc],
// what it needs at any rate. New compares it with [StateBounder] of the backend.
type StateSizer interface {
	MaxStateBytes(rate Rate) int
}
