package traffik

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// HasHeaders reports whether [Request.WriteLimitHeaders] writes a header for v.
func (v Verdict) HasHeaders() bool {
	denied := !v.Allowed()
	for i := range v.n {
		if v.settings(i).form(denied) != nil {
			return true
		}
	}
	return false
}

// ReconcileHeaders leaves one value in h of each header that the throttles of v wrote and a
// handler added to, as a reverse proxy does when it copies the response of a service that
// also has limits. Adapters call it right before a response with this status is sent. It
// allocates nothing if there is nothing to do.
//
// A response that denies, with the status 429 or with Retry-After, keeps what its sender
// wrote, so that its headers and its body agree. In any other response, X-RateLimit and
// [NamedHeaders] show the limit with less remaining, or ours if the other doesn't say. The
// lists of the IETF drafts become one line with both. For [CustomHeaders], ours stay.
func (v Verdict) ReconcileHeaders(h http.Header, status int) {
	denied := !v.Allowed()
	for i := range v.n {
		form := v.settings(i).form(denied)
		if form == nil || !form.crowded(h) {
			continue
		}
		if shared, first := v.sharing(form, denied, i); first {
			form.reconcile(h, shared, status)
		}
	}
}

// crowded reports whether a header of f has more than one value.
func (f *headerForm) crowded(h http.Header) bool {
	for _, name := range f.names {
		if len(h[name]) > 1 {
			return true
		}
	}
	return false
}

func (f *headerForm) reconcile(h http.Header, v Verdict, status int) {
	theirs := status == http.StatusTooManyRequests || len(h["Retry-After"]) > 0
	switch {
	case f.lists && !theirs:
		f.join(h)
	case f.named != [3]string{}:
		f.choose(h, theirs || f.tighterIn(h))
	default:
		f.separate(h, v, theirs)
	}
}

// join makes one line of the lines of each header. It leaves out empty ones, because a list
// may not end with a comma.
func (f *headerForm) join(h http.Header) {
	for _, name := range f.names {
		if len(h[name]) > 1 {
			lines := slices.DeleteFunc(slices.Clone(h[name]), func(line string) bool { return strings.TrimSpace(line) == "" })
			h[name] = []string{strings.Join(lines, ", ")}
		}
	}
}

// tighterIn reports whether the set that was added to h shows no more remaining than ours.
func (f *headerForm) tighterIn(h http.Header) bool {
	values := h[f.named[1]]
	if len(values) < 2 {
		return false
	}
	ours, err := strconv.ParseInt(values[0], 10, 64)
	added, otherErr := strconv.ParseInt(strings.TrimSpace(values[1]), 10, 64)
	return err == nil && otherErr == nil && added <= ours
}

// choose keeps the first or the second value of each header. The sets don't mix: a header
// of ours that the other set lacks goes with ours.
func (f *headerForm) choose(h http.Header, second bool) {
	for _, name := range f.names {
		switch values := h[name]; {
		case len(values) > 1 && second:
			h[name] = values[1:2:2]
		case len(values) > 1:
			h[name] = values[:1:1]
		case second:
			delete(h, name)
		}
	}
}

// separate finds out what was added by writing ours again, for headers that may have
// several values.
func (f *headerForm) separate(h http.Header, v Verdict, theirs bool) {
	ours := http.Header{}
	f.write(ours, v, v.RetryAfter())
	for _, name := range f.names {
		switch n := len(ours[name]); {
		case theirs && slices.Equal(h[name], ours[name]):
			delete(h, name)
		case n == 0 || len(h[name]) <= n:
		case theirs:
			h[name] = slices.Clone(h[name][n:])
		default:
			h[name] = slices.Clone(h[name][:n])
		}
	}
}
