package traffik

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// HeaderSet says in which response headers clients see their limits. The zero HeaderSet is
// [NoHeaders]. It is a value and safe for concurrent use.
type HeaderSet struct {
	form       *headerForm
	whenDenied bool
	exposed    bool
}

// headerForm is one convention of names and values. Throttles whose sets have one form
// write one set together.
type headerForm struct {
	names []string  // all that write may set, in canonical form
	named [3]string // what NamedHeaders was given, in canonical form
	lists bool      // the headers are lists: of several values each is a part
	// write gets the results that are shown in this form, and the wait of Retry-After,
	// which may be that of others.
	write func(h http.Header, v Verdict, wait time.Duration)
}

// is reports whether both forms are one convention. Two sets of the same names are, since
// they would overwrite each other.
func (f *headerForm) is(other *headerForm) bool {
	return f == other || f != nil && other != nil && f.named != [3]string{} && f.named == other.named
}

// NoHeaders shows clients nothing but Retry-After.
var NoHeaders = HeaderSet{}

// XRateLimitHeaders is the default set: X-RateLimit-Limit, X-RateLimit-Remaining and
// X-RateLimit-Reset, the last in whole seconds from now, rounded up. Of several throttles
// it shows the one of [Verdict.Tightest].
var XRateLimitHeaders = NamedHeaders("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")

// NamedHeaders is the default set under other names. An empty name leaves its header out.
func NamedHeaders(limit, remaining, reset string) HeaderSet {
	form := &headerForm{named: [3]string{canonical(limit), canonical(remaining), canonical(reset)}}
	for _, name := range form.named {
		if name != "" {
			form.names = append(form.names, name)
		}
	}
	form.write = form.writeNamed
	return HeaderSet{form: form}
}

// writeNamed writes the tightest result of v with two allocations.
func (f *headerForm) writeNamed(h http.Header, v Verdict, _ time.Duration) {
	shown := v.Tightest()
	if !shown.Counted() {
		return
	}
	var room [3 * len("-9223372036854775808")]byte
	limit := strconv.AppendInt(room[:0], shown.Limit, 10)
	remaining := strconv.AppendInt(limit, shown.Remaining, 10)
	text := string(strconv.AppendInt(remaining, seconds(shown.ResetAfter), 10))
	values := &[3]string{text[:len(limit)], text[len(limit):len(remaining)], text[len(remaining):]}
	for i, name := range f.named {
		if name != "" {
			h[name] = values[i : i+1 : i+1] // an append must not write into the next one
		}
	}
}

// CustomHeaders is a set that a function writes. It gets the results of all throttles of
// the request that use the set, so give all of them the same value. List in names the
// headers that it may write: others are left as they are if an upstream sends them too, see
// [Verdict.ReconcileHeaders]. The function must be safe for concurrent use and write the
// same for the same verdict. With a nil function the set is [NoHeaders].
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

// WhenDenied returns the set with its headers written in denials only.
func (s HeaderSet) WhenDenied() HeaderSet {
	s.whenDenied = true
	return s
}

// Exposed returns the set with its headers and Retry-After added to
// Access-Control-Expose-Headers, so that scripts of other origins can read them.
func (s HeaderSet) Exposed() HeaderSet {
	s.exposed = true
	return s
}

// canonical returns the key of a name in an http.Header: X-Ratelimit-Limit for
// X-RateLimit-Limit. Header names have no case.
func canonical(name string) string { return http.CanonicalHeaderKey(name) }

// WriteHeaders writes the headers of all throttles that r was checked against so far to
// r.Writer, and Retry-After if they deny and waiting helps. It replaces what an outer use
// wrote and leaves all other headers alone. Without a Writer it does nothing. For a request
// over the limit that goes on to its handler, call [Request.WriteLimitHeaders].
func (r *Request) WriteHeaders() {
	if r == nil || r.Writer == nil {
		return
	}
	r.WriteLimitHeaders()
	// Whole seconds, rounded up and at least 1 (RFC 9110, section 10.2.3).
	if wait := r.Verdict().RetryAfter(); wait > 0 && wait != Never {
		r.Writer.Header()["Retry-After"] = []string{strconv.FormatInt(seconds(wait), 10)}
	}
}

// WriteLimitHeaders is [Request.WriteHeaders] without Retry-After, which belongs to an
// answer that denies.
func (r *Request) WriteLimitHeaders() {
	if r == nil || r.Writer == nil {
		return
	}
	h, v, wait := r.Writer.Header(), r.memo().verdict, time.Duration(0)
	denied := !v.Allowed()
	if denied {
		wait = v.RetryAfter()
	}
	for i := range v.n {
		set := v.settings(i)
		form := set.form(denied)
		if set != nil && set.headers.exposed && v.result(i).Counted() {
			expose(h, form, denied)
		}
		if shared, first := v.sharing(form, denied, i); first {
			form.write(h, shared, wait)
		}
	}
}

// form is the convention in which clients see a throttle, nil if in none.
func (s *settings) form(denied bool) *headerForm {
	if s == nil || s.headers.whenDenied && !denied {
		return nil
	}
	return s.headers.form
}

// sharing returns the results that are shown in form, and whether result i is the first of
// them. It copies them only if others are shown in another form.
func (v Verdict) sharing(form *headerForm, denied bool, i int) (shared Verdict, first bool) {
	if form == nil || v.n == 1 {
		return v, form != nil
	}
	n := 0
	for j := range v.n {
		switch shows := v.settings(j).form(denied).is(form); {
		case shows && j < i:
			return Verdict{}, false
		case shows:
			n++
		}
	}
	if n == v.n {
		return v, true
	}
	results := make([]Result, 0, n)
	for j := range v.n {
		if v.settings(j).form(denied).is(form) {
			results = append(results, v.result(j))
		}
	}
	return verdictOf(results...), true
}

// expose adds Retry-After and the names of form to Access-Control-Expose-Headers, each
// once.
func expose(h http.Header, form *headerForm, denied bool) {
	names := []string{"Retry-After"}
	switch {
	case form != nil:
		names = append(names, form.names...)
	case !denied:
		return
	}
	const header = "Access-Control-Expose-Headers"
	listed := make(map[string]bool)
	for name := range strings.SplitSeq(strings.Join(h.Values(header), ","), ",") {
		listed[canonical(strings.TrimSpace(name))] = true
	}
	for _, name := range names {
		if !listed[name] {
			h.Add(header, name)
			listed[name] = true
		}
	}
}
