package traffik

import (
	"errors"
	"time"
)

// Verdict is how all throttles of a [Limiter] decided one request together. The zero
// Verdict has decided nothing and allows. It is a small value. Copies share what was
// refunded, and all methods are safe for concurrent use.
type Verdict struct {
	rec  *record // nil means no results
	uses bool    // those of rec.outer belong to it, too
}

// record is what one Take decided, shared by all copies of its verdict: a few words for
// each limit that hits in process have drawn on, whose results are made when somebody asks
// for them, or else the results.
type record struct {
	outer   *record  // of an earlier use of the same request, nil if there was none
	results []Result // nil if limits tell all
	id      string   // identity of limits
	at      Instant  // of limits
	units   int64    // that each of limits took, 0 for the cost of its throttle
	n       int8     // limits in use
	denied  bool     // a limit stops the request
	limits  [hitLimits]limit
}

// limit is what became of a hit in process at one throttle.
type limit struct {
	settings     *settings
	remaining    int64
	reset, retry time.Duration
	charge       charge
	outcome      Outcome
}

// verdictOf is a verdict of results.
func verdictOf(results ...Result) Verdict { return Verdict{rec: &record{results: results}} }

func (rec *record) costOf(l *limit) int64 {
	if rec.units > 0 {
		return rec.units
	}
	return l.settings.cost
}

// answer notes a decision.
func (l *limit) answer(dec *Decision) {
	l.remaining, l.reset, l.retry, l.outcome = dec.Remaining, dec.ResetAfter, dec.RetryAfter, Denied
	if dec.Allowed {
		l.outcome = Admitted
	}
}

// decision is the decision that was noted at an instant.
func (l *limit) decision(at Instant) Decision {
	return Decision{
		Allowed: l.outcome != Denied, Limit: l.settings.counting.limit(), Remaining: l.remaining,
		RetryAfter: l.retry, ResetAfter: l.reset, At: at,
	}
}

// len is the number of results.
func (v Verdict) len() (n int) {
	for rec := v.rec; rec != nil; rec = v.before(rec) {
		n += rec.len()
	}
	return n
}

// before is the record of the use before that of rec, nil if there is none in v.
func (v Verdict) before(rec *record) *record {
	if v.uses {
		return rec.outer
	}
	return nil
}

// at finds result i: the earliest use comes first.
func (v Verdict) at(i int) (rec *record, in int) {
	if !v.uses || v.rec.outer == nil { // nearly always
		return v.rec, i
	}
	rec, end := v.rec, v.len()
	for i < end-rec.len() {
		end -= rec.len()
		rec = rec.outer
	}
	return rec, i - (end - rec.len())
}

// settings returns those of result i.
func (v Verdict) settings(i int) *settings {
	rec, i := v.at(i)
	if rec.results != nil {
		return rec.results[i].settings
	}
	return rec.limits[i].settings
}

// result returns result i as it was decided, whatever was refunded since.
func (v Verdict) result(i int) Result {
	rec, i := v.at(i)
	if rec.results != nil {
		return rec.results[i]
	}
	return rec.limits[i].result(rec)
}

func (rec *record) len() int {
	if rec.results != nil {
		return len(rec.results)
	}
	return int(rec.n)
}

// denies reports whether a result of rec stops the request.
func (rec *record) denies() bool {
	for i := range rec.results {
		if rec.results[i].denies() {
			return true
		}
	}
	return rec.results == nil && rec.denied
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

// all returns all results as they were decided, whatever was refunded since.
func (v Verdict) all() []Result {
	if v.len() == 0 {
		return nil
	}
	results := make([]Result, v.len())
	for i := range results {
		results[i] = v.result(i)
	}
	return results
}

// of returns the result of t.
func (v Verdict) of(t *Throttle) (res Result, decided bool) {
	for i := range v.len() {
		if set := v.settings(i); set != nil && set.owner == t {
			return v.result(i), true
		}
	}
	return Result{}, false
}

// shareCharges gives each of results that took units a charge, for all copies of it.
func shareCharges(results []Result) {
	var charges []charge
	for i := range results {
		if res := &results[i]; res.took() {
			if charges == nil {
				charges = make([]charge, len(results))
			}
			res.charge = &charges[i]
		}
	}
}

// Allowed reports whether no throttle stops the request.
func (v Verdict) Allowed() bool {
	for rec := v.rec; rec != nil; rec = v.before(rec) {
		if rec.denies() {
			return false
		}
	}
	return true
}

// Results returns the result of each throttle, in the order of their use and as of
// now: what was refunded meanwhile is Uncharged. The slice is the caller's.
func (v Verdict) Results() []Result {
	results := v.all()
	for i := range results {
		results[i] = results[i].current()
	}
	return results
}

// Failed reports whether the request is stopped because of an error alone, and
// not because a limit is reached: HTTP answers 503 then, and 429 otherwise.
func (v Verdict) Failed() bool {
	failed := false
	for i := range v.len() {
		r := v.result(i)
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
func (v Verdict) Tightest() (tightest Result) {
	for i := range v.len() {
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

// RetryAfter returns the longest wait of those that deny, [Never] included, and
// 0 when the request is allowed or stopped by an error.
func (v Verdict) RetryAfter() time.Duration {
	var longest time.Duration
	for i := range v.len() {
		if r := v.result(i); r.denies() {
			longest = max(longest, r.RetryAfter)
		}
	}
	return longest
}

// Delay returns the longest time that a queueing strategy asks an admitted
// request to hold back. Throttles that only report hold nobody.
func (v Verdict) Delay() time.Duration {
	var longest time.Duration
	for rec := v.rec; rec != nil; rec = v.before(rec) { // the limits of a record have no delay
		for i := range rec.results {
			if r := &rec.results[i]; !r.reportsOnly() {
				longest = max(longest, r.Delay)
			}
		}
	}
	return longest
}

// Err returns the errors that error policies had to decide on, joined, nil if
// there was none.
func (v Verdict) Err() error {
	var errs []error
	for i := range v.len() {
		if err := v.result(i).Err; err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
