package traffik

import (
	"errors"
	"slices"
	"time"
)

// Verdict is how all throttles of a [Limiter] judged one request together. The
// zero Verdict has judged nothing and allows.
type Verdict struct {
	results []Result
}

// Allowed reports whether no throttle stops the request.
func (v Verdict) Allowed() bool {
	for i := range v.results {
		if v.results[i].denies() {
			return false
		}
	}
	return true
}

// Results returns the result of each throttle, in the order of their use and as of
// now: what was given back meanwhile is Uncharged. The slice is not to be changed.
func (v Verdict) Results() []Result {
	for i := range v.results {
		if r := &v.results[i]; r.took() && r.fate() == fateReturned {
			results := slices.Clone(v.results)
			for i := range results {
				results[i] = results[i].current()
			}
			return results
		}
	}
	return v.results
}

// Failed reports whether the request is stopped because of an error alone, and
// not because a limit is reached: HTTP answers 503 then, and 429 otherwise.
func (v Verdict) Failed() bool {
	failed := false
	for i := range v.results {
		r := &v.results[i]
		if r.denies() && r.Outcome == Denied {
			return false
		}
		failed = failed || r.denies()
	}
	return failed
}

// Tightest returns the result that a client with room for one is shown: of those
// that deny, the one with the longest wait; else the one with the least
// remaining, throttles that only report last. It is the zero Result if no
// backend was asked.
func (v Verdict) Tightest() Result {
	if best := v.tightest(); best != nil {
		return best.current()
	}
	return Result{}
}

// tightest is Tightest without a copy, nil if no backend was asked.
func (v Verdict) tightest() (best *Result) {
	for i := range v.results {
		if r := &v.results[i]; r.Counted() && (best == nil || r.tighterThan(best)) {
			best = r
		}
	}
	return best
}

func (r *Result) tighterThan(other *Result) bool {
	if r.denies() != other.denies() {
		return r.denies()
	}
	if r.denies() {
		return r.RetryAfter > other.RetryAfter
	}
	if r.reportsOnly() != other.reportsOnly() {
		return other.reportsOnly()
	}
	return r.Remaining < other.Remaining
}

// RetryAfter returns the longest wait of those that deny, [Never] included, and
// 0 when the request is allowed or stopped by an error.
func (v Verdict) RetryAfter() time.Duration {
	var longest time.Duration
	for i := range v.results {
		if r := &v.results[i]; r.denies() {
			longest = max(longest, r.RetryAfter)
		}
	}
	return longest
}

// Delay returns the longest time that a queueing strategy asks an admitted
// request to hold back. Throttles that only report hold nobody.
func (v Verdict) Delay() time.Duration {
	var longest time.Duration
	for i := range v.results {
		if r := &v.results[i]; !r.reportsOnly() {
			longest = max(longest, r.Delay)
		}
	}
	return longest
}

// Err returns the errors that error policies had to decide on, joined, nil if
// there was none.
func (v Verdict) Err() error {
	var errs []error
	for i := range v.results {
		if err := v.results[i].Err; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
