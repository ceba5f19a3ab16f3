package traffik

import (
	"errors"
	"time"
)

// Verdict is the decision of all throttles of a [Limiter] on one request or plain key. It is
// a small value: copies share what was refunded. All methods are safe for concurrent use.
// The zero Verdict has no results and allows.
type Verdict struct {
	rec *record // nil means no results
	n   int     // the number of results: those of rec and, if more, of rec.outer
}

// record is the outcome of one use, shared by all copies of its verdict. Hits in process
// write a few words for each limit, and a Result is made of them when somebody asks for it.
// Every other use writes results.
type record struct {
	outer   *record  // of the use before on the same request, nil if there was none
	n       int      // the number of its own results
	denied  bool     // one of its own results stops the request
	stopped bool     // one of the uses before stops the request
	results []Result // nil if limits hold the outcome

	// What limits have in common.
	id     string
	at     Instant
	units  int64 // taken from each, 0 for the cost of its throttle
	limits [hitLimits]limit
}

// limit is the outcome of a hit in process at one throttle.
type limit struct {
	settings     *settings
	remaining    int64
	reset, retry time.Duration
	charge       charge
	outcome      Outcome
}

// verdictOf returns a verdict of results.
func verdictOf(results ...Result) Verdict {
	rec := new(record)
	rec.keep(results)
	return Verdict{rec: rec, n: rec.n}
}

// keep makes results those of rec.
func (rec *record) keep(results []Result) {
	rec.results, rec.n, rec.denied = results, len(results), false
	for i := range results {
		rec.denied = rec.denied || results[i].denies()
	}
}

func (rec *record) costOf(l *limit) int64 {
	if rec.units > 0 {
		return rec.units
	}
	return l.settings.cost
}

// answer keeps a decision.
func (l *limit) answer(dec *Decision) {
	l.remaining, l.reset, l.retry, l.outcome = dec.Remaining, dec.ResetAfter, dec.RetryAfter, Denied
	if dec.Allowed {
		l.outcome = Admitted
	}
}

// decision returns the kept decision, which was made at an instant.
func (l *limit) decision(at Instant) Decision {
	return Decision{
		Allowed: l.outcome != Denied, Limit: l.settings.counting.limit(), Remaining: l.remaining,
		RetryAfter: l.retry, ResetAfter: l.reset, At: at,
	}
}

// at finds result i. Results of the earliest use come first.
func (v Verdict) at(i int) (rec *record, in int) {
	rec, in = v.rec, i-v.n+v.rec.n
	for in < 0 {
		rec = rec.outer
		in += rec.n
	}
	return rec, in
}

// settings returns the settings of result i.
func (v Verdict) settings(i int) *settings {
	rec, i := v.at(i)
	if rec.results != nil {
		return rec.results[i].settings
	}
	return rec.limits[i].settings
}

// result returns result i as decided, whatever was refunded since.
func (v Verdict) result(i int) Result {
	rec, i := v.at(i)
	if rec.results != nil {
		return rec.results[i]
	}
	return rec.limits[i].result(rec)
}

// result makes the result of l, which is part of rec.
func (l *limit) result(rec *record) (res Result) {
	res.hit(l.settings, rec.id, rec.costOf(l))
	res.Decision, res.Outcome, res.charge = l.decision(rec.at), l.outcome, &l.charge
	if l.outcome != Admitted {
		res.cost = 0
	}
	res.Allowed = res.Allowed || l.settings.reportOnly
	return res
}

// all returns all results as decided, whatever was refunded since.
func (v Verdict) all() []Result {
	if v.n == 0 {
		return nil
	}
	results := make([]Result, v.n)
	for i := range results {
		results[i] = v.result(i)
	}
	return results
}

// of returns the result of t.
func (v Verdict) of(t *Throttle) (res Result, decided bool) {
	for i := range v.n {
		if set := v.settings(i); set != nil && set.owner == t {
			return v.result(i), true
		}
	}
	return Result{}, false
}

// Allowed reports whether no throttle stops the request.
func (v Verdict) Allowed() bool {
	return v.rec == nil || !v.rec.denied && (v.n == v.rec.n || !v.rec.stopped)
}

// Results returns the result of each throttle in the order of use. A result whose charge
// was refunded meanwhile is Uncharged. The slice is new, so the caller may change it.
func (v Verdict) Results() []Result {
	results := v.all()
	for i := range results {
		results[i] = results[i].current()
	}
	return results
}

// Failed reports whether an error alone stops the request, and no limit is reached. HTTP
// answers 503 then, and 429 if a limit is reached.
func (v Verdict) Failed() bool {
	failed := false
	for i := range v.n {
		r := v.result(i)
		if r.denies() && r.Outcome == Denied {
			return false
		}
		failed = failed || r.denies()
	}
	return failed
}

// Tightest returns the one result to show to a client: of those that deny, the one with
// the longest wait; else the one with the least remaining, with report-only throttles
// last. It is the zero Result if no backend was asked.
func (v Verdict) Tightest() (tightest Result) {
	for i := range v.n {
		if r := v.result(i); r.Counted() && (!tightest.Counted() || r.tighterThan(&tightest)) {
			tightest = r
		}
	}
	return tightest.current()
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

func (r *Result) reportsOnly() bool { return r.settings != nil && r.settings.reportOnly }

// RetryAfter returns the longest wait of the limits that deny, [Never] included. It is 0 if
// the request is allowed or stopped by an error.
func (v Verdict) RetryAfter() time.Duration {
	var longest time.Duration
	for i := range v.n {
		if r := v.result(i); r.denies() {
			longest = max(longest, r.RetryAfter)
		}
	}
	return longest
}

// Delay returns how long to hold an admitted request before it starts: the longest Delay of
// its queueing strategies, without report-only throttles.
func (v Verdict) Delay() time.Duration {
	var longest time.Duration
	for i := range v.n {
		rec, i := v.at(i)
		if rec.results == nil {
			continue // limits have no delay
		}
		if r := &rec.results[i]; r.Delay > longest && !r.settings.reportOnly {
			longest = r.Delay
		}
	}
	return longest
}

// Err returns the joined errors that error policies decided, nil if there were none.
func (v Verdict) Err() error {
	var errs []error
	for i := range v.n {
		if err := v.result(i).Err; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
