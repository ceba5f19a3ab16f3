package traffik

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// DraftHeaders10 is the set of draft-ietf-httpapi-ratelimit-headers-10:
// RateLimit-Policy and RateLimit, structured fields (RFC 9651) with one item for each
// throttle, named by its uid:
//
//	RateLimit-Policy: "burst";q=100;w=60
//	RateLimit: "burst";r=50;t=30
//
// q is the limit that applied. w is the period in seconds, left out unless it is a whole
// number of them. r is the number of units that remain. t is the number of seconds until the
// limit resets or, for a throttle that denies, the value of Retry-After. The draft may still
// change, so the set carries its version and isn't the default.
//
// A name holds printable ASCII only: other bytes of a uid, and "%", are written as %XX. A
// name of more than 1,000 characters ends in a hash. Different uids have different names.
var DraftHeaders10 = draftHeaders((*Result).untilReset)

// DraftHeaders11 is the set of draft-ietf-httpapi-ratelimit-headers-11, which differs
// from [DraftHeaders10] in one value: t is the effective window (section 4.1.2), the
// seconds in which a client should use no more than r.
//
// For a strategy that counts in windows, t is the time until the reset. A bucket refills
// continuously: its t is the time in which r units, at least one, flow in. So a client that
// spreads r over t is always admitted, and r/t is never more than the rate (section 8.5). A
// bucket is a strategy whose Describe returns a [BucketInfo]. For a throttle that denies, t
// is the value of Retry-After; in a denied answer no t is more than that.
//
// The unit of q and r (section 3.1.2) is the draft's default, "requests", so it is left out,
// even if a cost counts something else.
var DraftHeaders11 = draftHeaders((*Result).effectiveWindow)

func draftHeaders(window func(*Result) time.Duration) HeaderSet {
	set := headersOf(func(h http.Header, v Verdict, wait time.Duration) { writeDraft(h, v, wait, window) }, "RateLimit-Policy", "RateLimit")
	set.form.lists = true
	return set
}

// maxSFInteger is the largest Integer of a structured field: 15 digits.
const maxSFInteger = 999_999_999_999_999

func writeDraft(h http.Header, v Verdict, wait time.Duration, window func(*Result) time.Duration) {
	var policy, limit strings.Builder
	for i := range v.n {
		r := v.result(i)
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
		writeDraftWindow(&limit, &r, wait, window(&r))
	}
	if policy.Len() > 0 {
		h["Ratelimit-Policy"] = []string{policy.String()}
		h["Ratelimit"] = []string{limit.String()}
	}
}

func (r *Result) untilReset() time.Duration { return r.ResetAfter }

// effectiveWindow returns how long r.Remaining units last at the rate of a bucket.
func (r *Result) effectiveWindow() time.Duration {
	describer, ok := r.settings.strategy.(Describer)
	if !ok || r.limit <= 0 {
		return r.ResetAfter
	}
	if _, bucket := describer.Describe(nil, &Draw{Rate: r.Rate(), Now: r.At, Class: r.class}).(BucketInfo); !bucket {
		return r.ResetAfter
	}
	each := float64(r.period) / float64(r.limit)
	return time.Duration(min(each*float64(max(r.Remaining, 1)), float64(maxWindow)))
}

// maxWindow is more than any t needs and small enough for every computation.
const maxWindow = 1 << 62

// writeDraftWindow writes t. An answer has one Retry-After, which the drafts want no earlier
// than any t. So in a denied answer the throttles that deny show its value, and the others
// show their window up to it.
func writeDraftWindow(b *strings.Builder, r *Result, wait, window time.Duration) {
	reset := seconds(window)
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

// maxPolicyName bounds names: every reader of structured fields accepts Strings of 1,024
// characters (RFC 9651, section 3.3.3).
const maxPolicyName = 1000

// sfString writes a uid as a String of RFC 9651, section 3.3.3: printable ASCII in quotes.
// Any other byte, and "%", becomes %XX, so that no two uids have one name.
func sfString(uid string) string {
	name := uid
	if !plainASCII(uid) {
		name = percentASCII(uid)
	}
	if len(name) > maxPolicyName {
		name = name[:maxPolicyName] + escape.Hash(uid) // longer than any name that is no hash
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(name) {
		if name[i] == '"' || name[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(name[i])
	}
	b.WriteByte('"')
	return b.String()
}

func plainASCII(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' || text[i] == '%' {
			return false
		}
	}
	return true
}

func percentASCII(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
