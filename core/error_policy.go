package traffik

import "errors"

// ErrorPolicy says what a throttle does after an error: its store failed, or an identity, a
// rate or a cost function did. A deadline that passes meanwhile is such an error too,
// because the store or the function was too slow.
//
// Two kinds of errors are returned whatever the policy: the cause of a context that had ended
// before the call or that the caller cancelled, and the error of a wrong call, which wraps
// [ErrUsage]. There are two exceptions. A throttle under [WithReportOnly] lets a request pass
// even if its backend refuses the call as wrong. The policy also decides about a negative
// cost from a cost function, though that error wraps ErrUsage.
//
// Requests that FailOpen or FailClosed decides are logged; see [WithLogger].
type ErrorPolicy uint8

const (
	// DefaultPolicy is that of the backend, if it is a [PolicySetter]. Otherwise it is
	// FailOpen for a store that failed, since a limit is seldom worth an outage, and
	// FailClosed for identities, rates and costs, since a client could make these fail.
	DefaultPolicy ErrorPolicy = iota
	// FailOpen lets the request pass, with the outcome FailedOpen.
	FailOpen
	// FailClosed denies the request, with the outcome FailedClosed.
	FailClosed
	// Propagate returns the error.
	Propagate
)

// PolicySetter is an optional power of a [Backend]: it sets the policy for its errors where
// a throttle has none. ErrorPolicy must be safe for concurrent use; [DefaultPolicy] leaves
// the choice to the throttle's default.
type PolicySetter interface {
	ErrorPolicy(err error) ErrorPolicy
}

// storePolicy is the policy when the backend failed with err. A wrong call is not a failure
// of the store, so its caller gets the error.
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

// requestPolicy is the policy when an identity, rate or cost failed with err.
func (s *settings) requestPolicy(err error) ErrorPolicy {
	if policy := s.policy(err); policy != DefaultPolicy {
		return policy
	}
	return FailClosed
}
