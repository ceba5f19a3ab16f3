package traffik

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// reply is what a client got.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// answer checks a request with limiter hits times and returns the reply to the last.
func answer(t *testing.T, limiter Limiter, hits int, method string) reply {
	t.Helper()
	var rec *httptest.ResponseRecorder
	for range hits {
		rec = httptest.NewRecorder()
		rec.Header().Set("Access-Control-Allow-Origin", "*")
		r := &Request{Method: method, RemoteAddr: "192.0.2.1:1", Writer: rec}
		v, err := limiter.Admit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		r.WriteHeaders()
		if !v.Allowed() {
			r.WriteDenied(v)
		}
	}
	return reply{status: rec.Code, header: rec.Header(), body: rec.Body.Bytes()}
}

// wantHeader takes "" for an absent header.
func wantHeader(t *testing.T, h http.Header, name, want string) {
	t.Helper()
	if got := strings.Join(h.Values(name), ", "); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func TestXRateLimitHeaders(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t)
	clock.now = testEpoch - testEpoch%60_000_000 + 500_000 // half a second into a minute
	throttle := newTestThrottle(t, "2/min", WithBackend(m))
	h := answer(t, throttle, 1, "GET").header
	wantHeader(t, h, "X-RateLimit-Limit", "2")
	wantHeader(t, h, "X-RateLimit-Remaining", "1")
	wantHeader(t, h, "X-RateLimit-Reset", "60") // 59.5 s, rounded up
	wantHeader(t, h, "Retry-After", "")
	res := answer(t, throttle, 2, "GET")
	wantHeader(t, res.header, "X-RateLimit-Remaining", "0")
	wantHeader(t, res.header, "Retry-After", "60")
	wantHeader(t, res.header, "Access-Control-Allow-Origin", "*")
	wantHeader(t, res.header, "Content-Type", "application/problem+json")
	if res.status != 429 {
		t.Errorf("status %d, want 429", res.status)
	}
	var body map[string]any
	if err := json.Unmarshal(res.body, &body); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type":              "https://iana.org/assignments/http-problem-types#quota-exceeded",
		"title":             "Request cannot be satisfied as assigned quota has been exceeded",
		"status":            429.0,
		"detail":            "Try again in 60 s.",
		"violated-policies": []any{t.Name()},
	}
	if !reflect.DeepEqual(body, want) {
		t.Errorf("body %v, want %v", body, want)
	}
}

func TestRetryAfterIsAtLeastOneAndAbsentForNever(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	soon := newNamed(t, "soon", "10000/s", WithBackend(m), WithStrategy(GCRA{}))
	wantHeader(t, answer(t, soon, 2, "GET").header, "Retry-After", "1")
	never := newNamed(t, "never", "5/min", WithBackend(m), WithCostFunc(func(*Request) (int64, error) { return 6, nil }))
	res := answer(t, never, 1, "GET")
	wantHeader(t, res.header, "Retry-After", "")
	if res.status != 429 {
		t.Errorf("status %d, want 429", res.status)
	}
	// Waiting helps at one limit and not at the other, so no wait helps.
	wantHeader(t, answer(t, All(soon, never), 1, "GET").header, "Retry-After", "")
}

func TestHeadHasNoBody(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	res := answer(t, newTestThrottle(t, "1/min", WithBackend(m)), 2, "HEAD")
	if n := len(res.body); n != 0 || res.status != 429 || res.header.Get("Content-Length") == "" {
		t.Errorf("%d bytes of body, status %d, length %q; want none, 429 and that of GET", n, res.status, res.header.Get("Content-Length"))
	}
}

func TestHeadersOfAGateShowTheTightest(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t)
	clock.now = testEpoch - testEpoch%(24*3600*1_000_000)
	burst := newNamed(t, "burst", "2/s", WithBackend(m))
	daily := newNamed(t, "daily", "100/d", WithBackend(m))
	h := answer(t, All(daily, burst), 1, "GET").header
	wantHeader(t, h, "X-RateLimit-Limit", "2")
	wantHeader(t, h, "X-RateLimit-Remaining", "1")
	res := answer(t, All(daily, burst), 2, "GET")
	wantHeader(t, res.header, "X-RateLimit-Limit", "2")
	wantHeader(t, res.header, "Retry-After", "1")
}

func TestDraftHeaders(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t)
	clock.now = testEpoch - testEpoch%(24*3600*1_000_000)
	must := func(uid, rate string) *Throttle {
		throttle, err := New(uid, rate, WithBackend(m), WithHeaders(DraftHeaders10))
		if err != nil {
			t.Fatal(err)
		}
		return throttle
	}
	burst, daily := must(`bu"rst\é`, "2/500ms"), must("daily", "100/d")
	h := answer(t, All(burst, daily), 1, "GET").header
	// A period that isn't whole seconds has no w; a String is ASCII, escaped.
	wantHeader(t, h, "RateLimit-Policy", `"bu\"rst\\%C3%A9";q=2, "daily";q=100;w=86400`)
	wantHeader(t, h, "RateLimit", `"bu\"rst\\%C3%A9";r=1;t=1, "daily";r=99;t=86400`)
	wantHeader(t, h, "X-RateLimit-Limit", "")
	h = answer(t, All(burst, daily), 2, "GET").header
	wantHeader(t, h, "Retry-After", "1")
	// No t is later than Retry-After.
	wantHeader(t, h, "RateLimit", `"bu\"rst\\%C3%A9";r=0;t=1, "daily";r=98;t=1`)
}

func TestHeaderSets(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	with := func(uid string, set HeaderSet) *Throttle {
		return newNamed(t, uid, "1/min", WithBackend(m), WithHeaders(set))
	}
	h := answer(t, with("none", NoHeaders), 2, "GET").header
	wantHeader(t, h, "X-RateLimit-Limit", "")
	if h.Get("Retry-After") == "" {
		t.Error("NoHeaders took Retry-After away")
	}
	denied := with("denied", XRateLimitHeaders.WhenDenied())
	wantHeader(t, answer(t, denied, 1, "GET").header, "X-RateLimit-Limit", "")
	wantHeader(t, answer(t, denied, 1, "GET").header, "X-RateLimit-Limit", "1")

	h = answer(t, with("named", NamedHeaders("quota", "", "quota-reset")), 1, "GET").header
	wantHeader(t, h, "Quota", "1")
	if h.Get("Quota-Reset") == "" {
		t.Error("Quota-Reset is missing")
	}
	custom := CustomHeaders(func(h http.Header, v Verdict) { h.Set("Left", v.Tightest().Outcome.String()) }, "Left")
	wantHeader(t, answer(t, with("custom", custom), 1, "GET").header, "Left", "admitted")

	// Two forms side by side, each for its throttles; each form is written once.
	h = answer(t, All(with("a", custom), with("b", XRateLimitHeaders), with("c", DraftHeaders10)), 1, "GET").header
	wantHeader(t, h, "Left", "admitted")
	wantHeader(t, h, "X-RateLimit-Limit", "1")
	if got := h.Get("RateLimit"); strings.Contains(got, ",") || !strings.Contains(got, "/c\"") {
		t.Errorf("RateLimit: %q, want the one throttle with that set", got)
	}
}

// Throttles of one form, of which some show in denials only.
func TestHeadersShownWhenDeniedBesideOthers(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	quiet := newNamed(t, "quiet", "2/min", WithBackend(m), WithHeaders(XRateLimitHeaders.WhenDenied()))
	open := newNamed(t, "open", "9/min", WithBackend(m))
	for _, gate := range []*Gate{All(quiet, open), All(open, quiet)} {
		wantHeader(t, answer(t, gate, 1, "GET").header, "X-RateLimit-Limit", "9")
		wantHeader(t, answer(t, gate, 2, "GET").header, "X-RateLimit-Limit", "2")
		if err := gate.Key("ip:192.0.2.1").Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Clients see a throttle that only reports if there is no other.
func TestHeadersLeaveReportsOut(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	report := newNamed(t, "report", "1/min", WithBackend(m), WithReportOnly())
	firm := newNamed(t, "firm", "9/min", WithBackend(m))
	for _, gate := range []*Gate{All(report, firm), All(firm, report)} {
		wantHeader(t, answer(t, gate, 1, "GET").header, "X-RateLimit-Limit", "9")
	}
	wantHeader(t, answer(t, report, 1, "GET").header, "X-RateLimit-Limit", "1")
}

// Headers that describe another body are not sent with a denial.
func TestDeniedAnswerIsPlain(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	rec.Header().Set("ETag", `"v1"`)
	rec.Header().Set("Vary", "Origin")
	(&Request{Writer: rec}).WriteUnavailable()
	wantHeader(t, rec.Header(), "ETag", "")
	wantHeader(t, rec.Header(), "Vary", "Origin")
	wantHeader(t, rec.Header(), "Content-Length", strconv.Itoa(rec.Body.Len()))
}

// A middleware that compresses what is written compresses a denial too, which changes its
// length.
func TestDeniedAnswerIsCompressed(t *testing.T) {
	t.Parallel()
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Encoding", "gzip")
	rec.Header().Set("Content-Length", "3")
	(&Request{Writer: rec}).WriteUnavailable()
	wantHeader(t, rec.Header(), "Content-Encoding", "gzip")
	wantHeader(t, rec.Header(), "Content-Length", "")
}

func TestExposedHeaders(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	rec := httptest.NewRecorder()
	rec.Header().Set("Access-Control-Expose-Headers", "ETag, retry-after")
	r := &Request{RemoteAddr: "192.0.2.1:1", Writer: rec}
	throttle := newTestThrottle(t, "1/min", WithBackend(m), WithHeaders(XRateLimitHeaders.Exposed()))
	if _, err := throttle.Admit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	r.WriteHeaders()
	r.WriteHeaders() // a nested use writes again
	wantHeader(t, rec.Header(), "Access-Control-Expose-Headers",
		"ETag, retry-after, X-Ratelimit-Limit, X-Ratelimit-Remaining, X-Ratelimit-Reset")
}

// A request over the limit that goes on has the headers of its limit and the application's
// own Retry-After.
func TestWriteLimitHeaders(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	throttle := newTestThrottle(t, "1/min", WithBackend(m))
	for _, own := range []string{"", "7"} {
		rec := httptest.NewRecorder()
		if own != "" {
			rec.Header().Set("Retry-After", own)
		}
		var r *Request
		for range 2 { // the second is over the limit
			r = &Request{RemoteAddr: "192.0.2.1:1", Writer: rec}
			if _, err := throttle.Admit(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		r.WriteLimitHeaders()
		wantHeader(t, rec.Header(), "X-RateLimit-Remaining", "0")
		wantHeader(t, rec.Header(), "Retry-After", own)
	}
}

func TestExemptedHasNoHeaders(t *testing.T) {
	t.Parallel()
	id := Identify("user", func(*Request) (string, error) { return "", Exempted })
	h := answer(t, newTestThrottle(t, "1/min", WithIdentifier(id)), 3, "GET").header
	delete(h, "Access-Control-Allow-Origin")
	if len(h) != 0 {
		t.Errorf("headers %v, want none", h)
	}
}

func TestDeniedHandler(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	teapot := newTestThrottle(t, "1/min", WithBackend(m), WithDeniedHandler(func(r *Request, v Verdict) {
		r.Writer.WriteHeader(http.StatusTeapot)
	}))
	res := answer(t, teapot, 2, "GET")
	if res.status != http.StatusTeapot || res.header.Get("Retry-After") == "" {
		t.Errorf("status %d, headers %v; want the handler's, headers set", res.status, res.header)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	backend := newFakeBackend(t)
	backend.err = ErrBackend
	res := answer(t, newTestThrottle(t, "1/min", WithBackend(backend), WithErrorPolicy(FailClosed)), 1, "GET")
	if res.status != 503 || res.header.Get("Retry-After") != "" || res.header.Get("X-RateLimit-Limit") != "" {
		t.Errorf("status %d, headers %v; want 503 without any limit", res.status, res.header)
	}
}

func TestWithoutAWriter(t *testing.T) {
	t.Parallel()
	r := &Request{}
	r.WriteHeaders()
	r.WriteLimitHeaders()
	r.WriteDenied(Verdict{})
	r.WriteUnavailable()
}

func TestSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]int64{0: 0, 1: 1, time.Microsecond: 1, time.Second: 1, time.Second + 1: 2, time.Hour: 3600} {
		if got := seconds(d); got != want {
			t.Errorf("seconds(%v) = %d, want %d", d, got, want)
		}
	}
}

// The draft's t is never more than Retry-After, also when the throttle that denies uses
// other headers, or none.
func TestDraftHeadersBesideOthers(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	quick := newNamed(t, "quick", "1/s", WithBackend(m))
	slow := newNamed(t, "slow", "100/min", WithBackend(m), WithHeaders(DraftHeaders10))
	h := answer(t, All(quick, slow), 2, "GET").header
	wantHeader(t, h, "Retry-After", "1")
	wantHeader(t, h, "RateLimit", `"`+slow.UID()+`";r=99;t=1`)
}

// Sets of the same names are one set, wherever they were made.
func TestNamedHeadersMadeTwice(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	scarce := newNamed(t, "scarce", "2/min", WithBackend(m), WithHeaders(NamedHeaders("L", "R", "T")))
	plenty := newNamed(t, "plenty", "100/min", WithBackend(m), WithHeaders(NamedHeaders("l", "r", "t")))
	h := answer(t, All(scarce, plenty), 3, "GET").header
	wantHeader(t, h, "L", "2")
	wantHeader(t, h, "R", "0")
	other := newNamed(t, "other", "7/min", WithBackend(m), WithHeaders(NamedHeaders("Other-Limit", "", "")))
	h = answer(t, All(plenty, other), 1, "GET").header
	wantHeader(t, h, "L", "100")
	wantHeader(t, h, "Other-Limit", "7")
}

// An exempt request has no header at all, also none that exposes others.
func TestExemptedExposesNothing(t *testing.T) {
	t.Parallel()
	exempt := Identify("user", func(*Request) (string, error) { return "", Exempted })
	throttle := newTestThrottle(t, "2/min", WithIdentifier(exempt), WithHeaders(XRateLimitHeaders.Exposed()))
	h := answer(t, throttle, 1, "GET").header
	h.Del("Access-Control-Allow-Origin")
	if len(h) > 0 {
		t.Errorf("headers %v", h)
	}
}

// Retry-After can be exposed without other headers.
func TestNoHeadersExposed(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	h := answer(t, newTestThrottle(t, "1/h", WithBackend(m), WithHeaders(NoHeaders.Exposed())), 2, "GET").header
	wantHeader(t, h, "Access-Control-Expose-Headers", "Retry-After")
}
