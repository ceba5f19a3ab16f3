package traffik

import "errors"

// ErrorPolicy says what a throttle makes of an error: a store that failed, or an
// identity, a rate or a cost that could not be found out. A deadline that passes while
// one of them is under way is such an error, too: the store or the function was too slow.
//
// These are none, and returned whatever the policy: the cause of a context that had ended
// before the call or that its caller cancelled, and an error about a wrong call, of the
// throttle or of its backend, which wraps [ErrUsage]. A throttle under [WithReportOnly] lets
// pass even what its backend refuses as a wrong call. A negative cost of a cost function
// wraps ErrUsage too, and is for the policy.
//
// What FailOpen and FailClosed decide is logged; see [WithLogger].
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

// storePolicy is what to do when the backend failed with err. A wrong call is no failure of
// the store: whoever made it is told.
func (s *settings) storePolicy(err error) ErrorPolicy {
	if errors.Is(err, ErrUsage) {
		return Propagate
	}
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
