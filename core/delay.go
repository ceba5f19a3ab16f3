package traffik

import (
	"context"
	"math"
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// anyDelay is the bound of a request that can wait for ever.
const anyDelay time.Duration = math.MaxInt64

// boundDelay returns how long r can be held, and shortens the queue of op so that a longer
// wait is denied: its capacity becomes what is served within the bound, rounded up. What
// the rounding lets in, [Request.RefuseDelay] refuses.
func (op *Op) boundDelay(ctx context.Context, r *Request) time.Duration {
	queue, ok := op.Strategy.(LeakyBucketWithQueue)
	if !ok || op.Draw.Cost <= 0 || r == nil || r.Holder == nil {
		return anyDelay
	}
	longest := max(0, r.Holder.MaxDelay(ctx))
	if longest == anyDelay {
		return anyDelay
	}
	longest = longest.Truncate(time.Microsecond)
	rate := op.Draw.Rate
	before := count.MulDivCeil(min(longest.Microseconds(), count.MaxUnits), rate.units, 0, rate.micros)
	if capacity := orLimit(queue.Capacity, rate); before < capacity-op.Draw.Cost {
		queue.Capacity = before + op.Draw.Cost
		op.Strategy = queue
	}
	return longest
}

// delayWithin corrects the decision on op, whose queue boundDelay may have shortened: the
// limit is the throttle's again, and all numbers mean draws that start within the bound.
func (r *Result) delayWithin(longest time.Duration, op *Op) {
	shortened, ok := op.Strategy.(LeakyBucketWithQueue)
	if !ok {
		return
	}
	whole, _ := r.settings.strategy.(LeakyBucketWithQueue)
	capacity := orLimit(whole.Capacity, op.Draw.Rate)
	r.Remaining += capacity - orLimit(shortened.Capacity, op.Draw.Rate)
	r.Limit = capacity
	// The next draw starts when the key is as if untouched.
	if next := r.ResetAfter - r.Ahead; next > longest {
		r.Remaining = 0
		if r.Outcome == Denied && r.RetryAfter != Never {
			r.RetryAfter = max(r.RetryAfter, r.ResetAfter-longest)
		}
	}
}

// RefuseDelay turns v, an admission of r by queueing strategies, into a denial, for a caller
// that can hold r only for longest. Throttles with a longer Delay deny; their RetryAfter is
// the time until r would have to wait no longer than longest if nobody else came. The
// others are Uncharged. r remembers the denial.
//
// Adapters call [Verdict.Refund] first, which RefuseDelay doesn't do. What could not be
// refunded stays charged.
func (r *Request) RefuseDelay(v Verdict, longest time.Duration) Verdict {
	r, longest = orEmpty(r), max(0, longest.Truncate(time.Microsecond))
	refused := v.all()
	for i := range refused {
		res := &refused[i]
		switch {
		case res.Outcome != Admitted:
			continue
		case res.Delay > longest && !res.settings.reportOnly:
			res.Outcome, res.Allowed, res.Remaining, res.RetryAfter = Denied, false, 0, res.Delay-longest
		default:
			res.Outcome = Uncharged
		}
		res.Delay, res.cost = 0, 0
	}
	memo := r.memo()
	results := memo.verdict.all()
	for i := range results {
		for _, res := range refused {
			if res.settings != nil && results[i].settings == res.settings && res.Outcome != Admitted {
				results[i] = res
			}
		}
	}
	memo.verdict = verdictOf(results...)
	return verdictOf(refused...)
}
