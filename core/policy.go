package traffik

// ErrorPolicy says what a throttle makes of an error: a store that failed, an
// identity, a rate or a cost that could not be found out. A caller's cancelled
// context is none of these: its cause is returned as it is.
type ErrorPolicy uint8

const (
	// DefaultPolicy lets the backend's own default decide (see
	// [PolicySetter]). Without one it is FailOpen for a store that failed, since
	// a limit is seldom worth an outage, and FailClosed for everything that is
	// read from the request, since a caller could make that fail at will.
	DefaultPolicy ErrorPolicy = iota
	// FailOpen lets the request pass, with the outcome FailedOpen.
	FailOpen
	// FailClosed denies the request, with the outcome FailedClosed.
	FailClosed
	// Propagate returns the error.
	Propagate
)

// PolicySetter is an optional power of a [Backend]: the policy for its errors
// where a throttle has none of its own.
type PolicySetter interface {
	ErrorPolicy(err error) ErrorPolicy
}

// storePolicy is what to do when the backend failed with err.
func (s *settings) storePolicy(err error) ErrorPolicy {
	policy := s.policy(err)
	if policy == DefaultPolicy {
		if setter, ok := s.backend.(PolicySetter); ok {
			policy = setter.ErrorPolicy(err)
		}
	}
	if policy == DefaultPolicy {
		return FailOpen
	}
	return policy
}

// requestPolicy is what to do when the request can't be judged because of err.
func (s *settings) requestPolicy(err error) ErrorPolicy {
	if policy := s.policy(err); policy != DefaultPolicy {
		return policy
	}
	return FailClosed
}
