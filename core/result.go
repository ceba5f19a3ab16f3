package traffik

import (
	"sync/atomic"
	"time"
)

// Outcome is what became of a request at one throttle.
type Outcome uint8

const (
	// Undecided is the zero Outcome: the throttle was not asked, because an
	// earlier one had denied or an error came first.
	Undecided Outcome = iota
	// Admitted means that the units were taken, or for a look could be.
	Admitted
	// Denied means that the limit is reached. With Allowed true it comes from a
	// throttle that only reports.
	Denied
	// Uncharged means that it would have fitted, but another throttle of the
	// same call denied, so that nothing was taken; or that what was taken has
	// been given back by [Verdict.Refund].
	Uncharged
	// Exempt means that the identifier said [Exempted], or that the cost is 0.
	Exempt
	// NoLimit means that the rate in force is [Unlimited].
	NoLimit
	// Disabled means that the throttle is switched off.
	Disabled
	// FailedOpen means that an error was met and the policy let it pass.
	FailedOpen
	// FailedClosed means that an error was met and the policy denied.
	FailedClosed
)

var outcomeNames = [...]string{
	"undecided", "admitted", "denied", "uncharged", "exempt", "unlimited", "disabled", "failed open", "failed closed",
}

// String returns the outcome in lower case, as "failed open".
func (o Outcome) String() string {
	if int(o) >= len(outcomeNames) {
		return "unknown outcome"
	}
	return outcomeNames[o]
}

// Result is the [Decision] of one throttle, what became of it, and all that is
// needed to give its charge back. It is a plain value.
//
// Allowed alone answers whether to go on. The numbers are zero unless Counted
// reports true.
type Result struct {
	Decision
	// Outcome tells how the answer came about.
	Outcome Outcome
	// Err is why an error policy had to decide, else nil.
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
// it was given to [Throttle.Key], for a look or a Reset by [Throttle.Key]. It is "" unless
// Counted: for exempt and unlimited requests and for those that an error policy decided.
func (r Result) Identity() string {
	if !r.Counted() {
		return ""
	}
	return r.id
}

// Rate returns the rate that applied, the zero Rate if none was asked for.
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

// Counted reports whether a backend was asked, so that Limit, Remaining and
// ResetAfter mean something.
func (r Result) Counted() bool {
	return r.Outcome == Admitted || r.Outcome == Denied || r.Outcome == Uncharged
}

// charge is what became of the units that a use took. All copies of the result
// share it, so that they are given back once, whoever does so; nil until there is
// somebody to share it with.
type charge struct{ fate int32 } // atomic; Request is copied, so not of a type that can't be

// The fates of a charge. Of one that is lost nobody knows whether the backend has
// taken it back: it is not given back again.
const (
	fateTaken int32 = iota
	fateReturned
	fateLost
)

func (c *charge) set(fate int32) { atomic.StoreInt32(&c.fate, fate) }

func (r *Result) fate() int32 {
	if r.charge == nil {
		return fateTaken
	}
	return atomic.LoadInt32(&r.charge.fate)
}

// took reports whether units were taken, whatever became of them.
func (r *Result) took() bool { return r.Outcome == Admitted && r.cost > 0 }

// charged reports whether units were taken that a refund could give back.
func (r *Result) charged() bool { return r.took() && r.fate() == fateTaken }

// claim makes the charge of r the caller's to give back, if it is anybody's.
func (r *Result) claim() bool {
	if !r.took() {
		return false
	}
	if r.charge == nil {
		r.charge = new(charge)
	}
	return atomic.CompareAndSwapInt32(&r.charge.fate, fateTaken, fateReturned)
}

// told is r as of now: Uncharged if its units were given back.
func (r Result) current() Result {
	if r.took() && r.fate() == fateReturned {
		r.Outcome, r.cost = Uncharged, 0
	}
	return r
}

// stands reports whether r answers for the whole request: further uses repeat
// it. An admission does while its charge does.
func (r *Result) stands() bool {
	switch r.Outcome {
	case Undecided, Uncharged:
		return false
	case Admitted:
		return r.cost > 0 && r.fate() != fateReturned
	}
	return true
}

// denies reports whether r stops the request.
func (r *Result) denies() bool {
	return !r.Allowed && (r.Outcome == Denied || r.Outcome == FailedClosed)
}

func (r *Result) reportsOnly() bool { return r.settings != nil && r.settings.reportOnly }

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

// answer completes r by the decision that it holds. A limit that only reports stops nobody.
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
