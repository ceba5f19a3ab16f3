package traffik

import (
	"slices"
	"time"
)

// RefuseDelay makes a denial of v, the admission of r by queueing strategies, for a
// caller that can hold r for less than v.Delay: throttles whose delay is above longest
// deny, and tell in RetryAfter when r would have to wait for no more than longest if
// nobody else came. The others are Uncharged. Adapters call it after [Verdict.Refund],
// which it doesn't include; what could not be refunded stays charged. The denial is
// remembered in r as any other.
func (r *Request) RefuseDelay(v Verdict, longest time.Duration) Verdict {
	r = orEmpty(r)
	refused := Verdict{results: slices.Clone(v.results)}
	for i := range refused.results {
		res := &refused.results[i]
		switch {
		case res.Outcome != Admitted:
			continue
		case res.Delay > longest && !res.reportsOnly():
			res.Outcome, res.Allowed, res.Remaining, res.RetryAfter = Denied, false, 0, res.Delay-longest
		default:
			res.Outcome = Uncharged
		}
		res.Delay, res.cost = 0, 0
	}
	known := r.attached()
	results := slices.Clone(known.verdict.results) // verdicts that were handed out don't change
	for i := range results {
		for _, res := range refused.results {
			if res.settings != nil && results[i].settings == res.settings && res.Outcome != Admitted {
				results[i] = res
			}
		}
	}
	known.verdict.results = results
	return refused
}
