package traffik

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// problem is the body of an answer (RFC 9457).
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// ViolatedPolicies names the throttles that denied.
	ViolatedPolicies []string `json:"violated-policies,omitempty"`
}

// quotaExceeded is registered with IANA for denials by a rate limit.
const quotaExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"

// Status returns the HTTP status for v: 200 if it allows, 429 (RFC 6585, section 4) if a
// limit is reached, 503 if only an error denies.
func (v Verdict) Status() int {
	switch {
	case v.Allowed():
		return http.StatusOK
	case v.Failed():
		return http.StatusServiceUnavailable
	}
	return http.StatusTooManyRequests
}

// WriteDenied writes the answer for v, a verdict that does not allow, to r.Writer: that of
// the first denying throttle with [WithDeniedHandler], else [Verdict.Status] with an
// application/problem+json body (RFC 9457). Call [Request.WriteHeaders] before it. Without a
// Writer it does nothing.
func (r *Request) WriteDenied(v Verdict) {
	if r == nil || r.Writer == nil {
		return
	}
	for i := range v.n {
		if res := v.result(i); res.denies() && res.settings.onDenied != nil {
			res.settings.onDenied(r, v)
			return
		}
	}
	r.writeProblem(v.problem())
}

// WriteUnavailable answers a request whose limit could not be checked with 503 and a
// problem+json body. Without a Writer it does nothing.
func (r *Request) WriteUnavailable() {
	if r != nil && r.Writer != nil {
		r.writeProblem(unavailable)
	}
}

// unavailable names no cause: causes are for operators, not for clients.
var unavailable = problem{
	Type:   "about:blank",
	Title:  "Service Unavailable",
	Status: http.StatusServiceUnavailable,
	Detail: "The server can't check the limit at the moment.",
}

func (r *Request) writeProblem(p problem) {
	body, err := json.Marshal(p)
	if err != nil {
		return // not reached: the struct has nothing that fails
	}
	h := r.Writer.Header()
	// An outer middleware may have set these for another body.
	h.Del("Etag")
	h.Del("Last-Modified")
	h.Del("Content-Length")
	h.Set("Content-Type", "application/problem+json")
	if h.Get("Content-Encoding") == "" { // else an outer middleware makes it another length
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	// No cache may serve this answer to the next client.
	h.Set("Cache-Control", "no-store")
	r.Writer.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = r.Writer.Write(body) // an error means that the client is gone
	}
}

func (v Verdict) problem() problem {
	if v.Failed() {
		return unavailable
	}
	p := problem{
		Type:   quotaExceeded,
		Title:  "Request cannot be satisfied as assigned quota has been exceeded",
		Status: http.StatusTooManyRequests,
	}
	for i := range v.n {
		if r := v.result(i); r.denies() && r.Outcome == Denied {
			p.ViolatedPolicies = append(p.ViolatedPolicies, r.UID())
		}
	}
	switch wait := v.RetryAfter(); {
	case wait == Never:
		p.Detail = "The request costs more than the limit ever admits."
	case wait > 0:
		p.Detail = "Try again in " + strconv.FormatInt(seconds(wait), 10) + " s."
	}
	return p
}
