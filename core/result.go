package traffik

import (
	"sync/atomic"
	"time"
)

// Outcome says how a [Result] came about.
type Outcome uint8

const (
	// Undecided is the zero Outcome: the throttle was not asked, because another
	// denied or an error came first.
	Undecided Outcome = iota
	// Admitted means that the units were taken; for a look, that they could be.
	Admitted
	// Denied means that the limit is reached. A throttle under [WithReportOnly] sets
	// Allowed all the same.
	Denied
	// Uncharged means that the units would have fitted, but another throttle of the same
	// call denied, so nothing was taken; or that [Verdict.Refund] has refunded them.
	Uncharged
	// Exempt means that the identifier returned [Exempted], or that the cost is 0.
	Exempt
	// NoLimit means that the rate in force is [Unlimited].
	NoLimit
	// Disabled means that the throttle is switched off.
	Disabled
	// FailedOpen means that there was an error and the policy let the request pass.
	FailedOpen
	// FailedClosed means that there was an error and the policy denied the request.
	FailedClosed
)

var outcomeNames = [...]string{
	"undecided", "admitted", "denied", "uncharged", "exempt", "unlimited", "disabled", "failed open", "failed closed",
}

// String returns the outcome in lower case, such as "failed open".
func (o Outcome) String() string {
	if int(o) >= len(outcomeNames) {
		return "unknown outcome"
	}
	return outcomeNames[o]
}

// Result is the [Decision] of one throttle, with its outcome and all that a refund needs.
// It is a plain value.
//
// Allowed alone says whether to go on. The numbers are zero unless Counted reports true.
type Result struct {
	Decision
	// Outcome says how the decision came about.
	Outcome Outcome
	// Err is the error that an error policy decided, else nil.
	Err error

	settings *settings
	id       string
	class    string
	// limit and period are those of the rate, 0 if there was none. A Result is
	// copied on each hit, and the fraction of a Rate follows from them.
	limit  int64
	period time.Duration
	cost   int64
	charge *charge
}

// UID returns the throttle's uid, "" for the zero Result.
func (r Result) UID() string {
	if r.settings == nil {
		return ""
	}
	return r.settings.uid
}

// Identity returns the identity that was counted, as [Identifier.Identity] makes it or as
// [Throttle.Key] was given it. Pass it to [Throttle.Key] for a look or a Reset. It is ""
// unless Counted.
func (r Result) Identity() string {
	if !r.Counted() {
		return ""
	}
	return r.id
}

// Rate returns the rate that applied, the zero Rate if none was needed.
func (r Result) Rate() Rate {
	switch {
	case r.Outcome == NoLimit:
		return Unlimited
	case r.period == 0:
		return Rate{}
	case r.settings.rateOf == nil:
		return r.settings.rate
	}
	return Per(r.limit, r.period)
}

// Counted reports whether a backend decided, so that Limit, Remaining and ResetAfter mean
// something. It is false for exempt and unlimited requests and those that an error policy
// decided.
func (r Result) Counted() bool {
	return r.Outcome == Admitted || r.Outcome == Denied || r.Outcome == Uncharged
}

// charge is the fate of the units that a use took. Copies of a result share it, so whoever
// refunds them first is the only one. It is nil in results that have nothing to share it
// with.
type charge struct{ fate int32 } // atomic, but not of a type that forbids copies of a Request

// The fates of a charge. It is lost if a refund failed: the backend may have made it or not,
// so it is not made again.
const (
	fateTaken int32 = iota
	fateRefunded
	fateLost
	fateNone // nothing was charged
)

func (c *charge) set(fate int32) { atomic.StoreInt32(&c.fate, fate) }

// fate returns what became of the units that r took, fateNone if it took none.
func (r *Result) fate() int32 {
	switch {
	case r.Outcome != Admitted || r.cost <= 0:
		return fateNone
	case r.charge == nil:
		return fateTaken
	}
	return atomic.LoadInt32(&r.charge.fate)
}

// claim reports whether the caller is the one to refund the charge of r.
func (r *Result) claim() bool {
	if r.fate() != fateTaken {
		return false
	}
	if r.charge == nil {
		r.charge = new(charge)
	}
	return atomic.CompareAndSwapInt32(&r.charge.fate, fateTaken, fateRefunded)
}

// current returns r as of now: Uncharged if its units were refunded.
func (r Result) current() Result {
	if r.fate() == fateRefunded {
		r.Outcome, r.cost = Uncharged, 0
	}
	return r
}

// stands reports whether later uses of the same request repeat r. An admission stands until
// its charge is refunded.
func (r *Result) stands() bool {
	switch r.Outcome {
	case Undecided, Uncharged:
		return false
	case Admitted:
		fate := r.fate()
		return fate == fateTaken || fate == fateLost
	}
	return true
}

// denies reports whether r stops the request.
func (r *Result) denies() bool {
	return !r.Allowed && (r.Outcome == Denied || r.Outcome == FailedClosed)
}

// fail makes r the result of an error under policy.
func (r *Result) fail(policy ErrorPolicy, err error) {
	r.Decision = Decision{}
	r.Err = err
	r.Outcome, r.Allowed = FailedClosed, false
	if policy == FailOpen {
		r.Outcome, r.Allowed = FailedOpen, true
	}
}

// hit makes r the result of a use of set that takes cost units of id.
func (r *Result) hit(set *settings, id string, cost int64) {
	r.settings, r.id, r.cost = set, id, cost
	r.limit, r.period = set.rate.limit, set.rate.period
}

// op is the draw of r at a rate.
func (r *Result) op(rate Rate) Op {
	return Op{
		Key:      Key{Scope: r.settings.scope, ID: r.id},
		Strategy: r.settings.strategy,
		Draw:     Draw{Rate: rate, Cost: r.cost, Class: r.class},
		Advisory: r.settings.reportOnly,
		counting: r.settings.counting,
	}
}

// answer sets the outcome of r by its decision. A limit that only reports stops nobody.
func (r *Result) answer() {
	r.Outcome = Admitted
	if !r.Allowed {
		r.Outcome, r.Allowed = Denied, r.settings.reportOnly
	}
}

// seconds is d in whole seconds, rounded up.
func seconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}
