package traffik

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// HeaderSet is a way of telling clients about limits in response headers. The
// zero HeaderSet is [NoHeaders]. It is a value and safe for concurrent use.
type HeaderSet struct {
	form       *headerForm
	whenDenied bool
	exposed    bool
}

// headerForm is one convention of names and values. Throttles whose sets have
// one form write one set together.
type headerForm struct {
	names []string  // all that write may set, in canonical form
	named [3]string // what NamedHeaders was given, in canonical form
	lists bool      // the headers are lists: of several values each is a part
	// write gets the results that are told in this form, and the wait that
	// Retry-After tells, which may be that of others.
	write func(h http.Header, v Verdict, wait time.Duration)
}

// is reports whether both forms are one convention: two sets of the same names
// would else write over each other.
func (f *headerForm) is(other *headerForm) bool {
	return f == other || f != nil && other != nil && f.named != [3]string{} && f.named == other.named
}

// NoHeaders tells clients nothing but Retry-After.
var NoHeaders = HeaderSet{}

// XRateLimitHeaders is the default set: X-RateLimit-Limit, -Remaining and
// -Reset, the last in whole seconds from now, rounded up. Of several throttles
// it shows the one of [Verdict.Tightest].
var XRateLimitHeaders = NamedHeaders("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

// NamedHeaders is the default set under other names. An empty name leaves that
// header out.
func NamedHeaders(limit, remaining, reset string) HeaderSet {
	form := &headerForm{named: [3]string{canonical(limit), canonical(remaining), canonical(reset)}}
	for _, name := range form.named {
		if name != "" {
			form.names = append(form.names, name)
		}
	}
	form.write = func(h http.Header, v Verdict, _ time.Duration) {
		shown := v.Tightest()
		if !shown.Counted() {
			return
		}
		setAll(h, &form.named, shown.settings.limitText.of(shown.Limit), shown.Remaining, seconds(shown.ResetAfter))
	}
	return HeaderSet{form: form}
}

// CustomHeaders is a set written by a function, which gets the results of all
// throttles of the request that use the set: give them one and the same value.
// Names lists the headers it may write; those that it leaves out are not looked after
// where an upstream sends them too, see [Verdict.ReconcileHeaders]. The function must
// be safe for concurrent use and write the same for the same verdict.
func CustomHeaders(write func(h http.Header, v Verdict), names ...string) HeaderSet {
	if write == nil {
		return NoHeaders
	}
	return headersOf(func(h http.Header, v Verdict, _ time.Duration) { write(h, v) }, names...)
}

func headersOf(write func(http.Header, Verdict, time.Duration), names ...string) HeaderSet {
	form := &headerForm{write: write}
	for _, name := range names {
		form.names = append(form.names, canonical(name))
	}
	return HeaderSet{form: form}
}

// WhenDenied returns the set with its headers written on denials only.
func (s HeaderSet) WhenDenied() HeaderSet {
	s.whenDenied = true
	return s
}

// Exposed returns the set with its headers and Retry-After added to
// Access-Control-Expose-Headers, so that scripts of other origins can read
// them.
func (s HeaderSet) Exposed() HeaderSet {
	s.exposed = true
	return s
}

// canonical turns a name into the key of an http.Header. X-RateLimit-Limit
// keeps to that rule and becomes X-Ratelimit-Limit; names of headers have no
// case.
func canonical(name string) string { return http.CanonicalHeaderKey(name) }

func set(h http.Header, name string, n int64) { h[name] = []string{strconv.FormatInt(n, 10)} }

// setAll sets three headers for the price of two allocations.
func setAll(h http.Header, names *[3]string, limit string, remaining, reset int64) {
	var room [2 * len("-9223372036854775808")]byte
	digits := strconv.AppendInt(room[:0], remaining, 10)
	end := len(digits)
	text := string(strconv.AppendInt(digits, reset, 10))
	values := &[3]string{limit, text[:end], text[end:]}
	for i, name := range names {
		if name != "" {
			h[name] = values[i : i+1 : i+1] // who appends gets memory of his own
		}
	}
}

// numberText is the text of a number that nearly always is the same. It is safe for
// concurrent use.
type numberText struct {
	known atomic.Pointer[writtenNumber]
}

type writtenNumber struct {
	n    int64
	text string
}

// of returns the text of n, and remembers that of the first.
func (t *numberText) of(n int64) string {
	known := t.known.Load()
	if known != nil && known.n == n {
		return known.text
	}
	text := strconv.FormatInt(n, 10)
	if known == nil {
		t.known.CompareAndSwap(nil, &writtenNumber{n: n, text: text})
	}
	return text
}

// WriteHeaders sets the headers of all throttles that judged r so far, and
// Retry-After on a denial that waiting helps, on r.Writer. It replaces what an
// outer use wrote and leaves all other headers alone. Without a Writer it does
// nothing.
func (r *Request) WriteHeaders() {
	if r == nil || r.Writer == nil {
		return
	}
	h := r.Writer.Header()
	v := r.Verdict()
	denied := !v.Allowed()
	for i := range v.len() {
		res := v.result(i)
		form := v.form(i, denied)
		exposed := res.Counted() && res.settings.headers.exposed
		switch {
		case form == nil && exposed && denied:
			expose(h, []string{"Retry-After"})
		case form == nil:
			continue
		case exposed:
			expose(h, append([]string{"Retry-After"}, form.names...))
		}
		if form != nil && v.firstWith(form, denied) == i {
			form.write(h, v.with(form, denied), v.RetryAfter())
		}
	}
	if denied {
		setRetryAfter(h, v)
	}
}

// form is the convention in which result i is told to a client, nil if in none.
func (v Verdict) form(i int, denied bool) *headerForm {
	set := v.settings(i)
	if set == nil || set.headers.whenDenied && !denied {
		return nil
	}
	return set.headers.form
}

// setRetryAfter writes whole seconds, rounded up and at least 1 (RFC 9110,
// section 10.2.3), or nothing when waiting doesn't help.
func setRetryAfter(h http.Header, v Verdict) {
	wait := v.RetryAfter()
	if wait == Never || wait <= 0 {
		return
	}
	set(h, "Retry-After", seconds(wait))
}

// firstWith is the index of the first result that is told in form, which one is.
func (v Verdict) firstWith(form *headerForm, denied bool) int {
	if v.len() == 1 {
		return 0
	}
	for i := range v.len() {
		if v.form(i, denied).is(form) {
			return i
		}
	}
	return -1
}

// with is the verdict of the results that are told in form; without a copy when
// all of them are.
func (v Verdict) with(form *headerForm, denied bool) Verdict {
	var results []Result
	for i := range v.len() {
		if v.form(i, denied).is(form) {
			results = append(results, v.result(i))
		}
	}
	if len(results) == v.len() {
		return v
	}
	return verdictOf(results...)
}

// expose adds names to Access-Control-Expose-Headers, each once.
func expose(h http.Header, names []string) {
	const header = "Access-Control-Expose-Headers"
	present := strings.Join(h.Values(header), ",")
	listed := make(map[string]bool)
	for name := range strings.SplitSeq(present, ",") {
		listed[canonical(strings.TrimSpace(name))] = true
	}
	for _, name := range names {
		if name = canonical(name); !listed[name] {
			h.Add(header, name)
			listed[name] = true
		}
	}
}
