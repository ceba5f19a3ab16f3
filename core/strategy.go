package traffik

// Strategy is a way of counting: a pure function from a stored state and a [Draw] to a
// [Decision] and the next state. A backend runs it atomically.
//
// Implementations are plain values, safe for concurrent use, whose methods neither block
// nor read a clock. They keep ten promises for any trace of draws, any clock and any bytes
// of state. docs/design/promises.md has them in full, and RunStrategy of package
// backendtest checks a custom strategy for all but the first and the ninth:
//
//  1. Bound: admitted less refunded units stay inside the documented bound.
//  2. RetryAfter is exact: at that instant the same draw is admitted, one microsecond
//     earlier it is not.
//  3. Remaining units are admitted at the same instant, one more is not.
//  4. A denied draw changes no later answer.
//  5. A refund is the inverse of its draw at the same instant, takes no count below zero
//     and restores nothing that has expired. A queue refunds draws that still wait.
//  6. From ResetAfter on answers equal those of an untouched key, and not before.
//  7. A clock that stands still or steps back hands out no more.
//  8. A state that can't be read counts as untouched.
//  9. A store's form of the algorithm, such as a script, decides identically.
//  10. A change of rate or parameters takes effect on live keys at once and hands out no
//     fresh quota.
//
// A strategy may also implement [Validator], [Describer], [StateSizer] and [Classer].
type Strategy interface {
	// ID names algorithm and state layout with its version, such as "token_bucket.1". New
	// reads it once. Burst, capacity and rate are not part of it, so that changing them
	// during a rolling deployment neither hands out a fresh quota nor counts twice.
	ID() string

	// Decide reads state, which is empty for an untouched key and which it neither writes
	// nor keeps, and appends the next state to dst, which never overlaps state:
	//   - Cost above 0 and allowed: always the next state;
	//   - Cost 0, or denied: nothing, which leaves the store as it is, or the repaired
	//     state (one whose time lay ahead of the clock), which is stored even when the
	//     whole Take is denied;
	//   - Cost below 0: the next state, unchanged if the refund had no effect; nothing
	//     means that the key is untouched again and may be deleted.
	Decide(dst, state []byte, d *Draw) (next []byte, dec Decision)
}

// Validator is an optional power of a [Strategy]: [New] calls Validate once and returns
// its error.
type Validator interface {
	Validate() error
}

// Describer is an optional power of a [Strategy]: Describe returns what a stored state
// means at d.Now as a typed value for dashboards, such as [WindowInfo] or [BucketInfo]. It
// charges nothing. [Subject.Describe] calls it.
type Describer interface {
	Describe(state []byte, d *Draw) any
}

// Classer is an optional power of a [Strategy] whose capacity depends on [Draw.Class]:
// Classes returns the classes that it tells apart. With it, [New] refuses a fixed cost that
// fits no class. Without it, New accepts any cost together with [WithClass].
type Classer interface {
	Classes() []string
}

// StateSizer is an optional power of a [Strategy]: the largest state, in bytes, that it
// writes at rate. At the zero Rate, which [New] gives for a [RateFunc], it is the largest
// at any rate. New compares it with [StateBounder] of the backend.
type StateSizer interface {
	MaxStateBytes(rate Rate) int
}
