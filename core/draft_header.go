package traffik

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DraftHeaders10 is the set of draft-ietf-httpapi-ratelimit-headers-10:
// RateLimit-Policy and RateLimit, structured fields (RFC 9651) with one item
// for each throttle, named by its uid:
//
//	RateLimit-Policy: "burst";q=100;w=60
//	RateLimit: "burst";r=50;t=30
//
// q is the limit that applied, w the period, left out unless it is whole
// seconds; r what remains, and t the seconds until the limit resets or, for a
// throttle that denies, those of Retry-After. The draft may still change, so
// the set carries its version and isn't the default.
var DraftHeaders10 = headersOf(writeDraft10, "RateLimit-Policy", "RateLimit")

// maxSFInteger is the largest Integer of a structured field: 15 digits.
const maxSFInteger = 999_999_999_999_999

func writeDraft10(h http.Header, v Verdict, wait time.Duration) {
	var policy, limit strings.Builder
	for i := range v.results {
		r := &v.results[i]
		if !r.Counted() {
			continue
		}
		if policy.Len() > 0 {
			policy.WriteString(", ")
			limit.WriteString(", ")
		}
		name := sfString(r.UID())
		policy.WriteString(name)
		sfParam(&policy, "q", r.Limit)
		if period := r.period; period%time.Second == 0 {
			sfParam(&policy, "w", int64(period/time.Second))
		}
		limit.WriteString(name)
		sfParam(&limit, "r", r.Remaining)
		writeDraftReset(&limit, r, wait)
	}
	if policy.Len() > 0 {
		h["Ratelimit-Policy"] = []string{policy.String()}
		h["Ratelimit"] = []string{limit.String()}
	}
}

// writeDraftReset writes t. Retry-After is one for the whole answer, and the
// draft wants it no earlier than any t: in a denied answer the throttles that
// deny show its value, and the others their own reset up to it.
func writeDraftReset(b *strings.Builder, r *Result, wait time.Duration) {
	reset := seconds(r.ResetAfter)
	switch {
	case wait == Never && r.denies():
		return // there is no time that helps
	case wait == Never || wait == 0:
	case r.denies():
		reset = seconds(wait)
	default:
		reset = min(reset, seconds(wait))
	}
	sfParam(b, "t", reset)
}

func sfParam(b *strings.Builder, key string, n int64) {
	b.WriteByte(';')
	b.WriteString(key)
	b.WriteByte('=')
	b.WriteString(strconv.FormatInt(min(n, maxSFInteger), 10))
}

// sfString writes text as a String of RFC 9651, section 3.3.3: printable ASCII
// in quotes. Any other byte is shown as "?".
func sfString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
