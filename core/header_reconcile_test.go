package traffik

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// lines is a header as "Name: first | second", sorted.
func lines(h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		b.WriteString(name + ": " + strings.Join(h[name], " | ") + "\n")
	}
	return b.String()
}

// One value of each header is left when an upstream's are added to ours.
func TestReconcileHeaders(t *testing.T) {
	t.Parallel()
	custom := CustomHeaders(func(h http.Header, _ Verdict) {
		h.Add("X-Ours", "one")
		h.Add("X-Ours", "two") // several are right
		h.Set("X-Single", "1")
	}, "x-ours", "X-Single")
	const x = "X-Ratelimit-Limit: %\nX-Ratelimit-Remaining: %\nX-Ratelimit-Reset: %\n"
	fill := func(values ...string) string {
		text := x
		for _, v := range values {
			text = strings.Replace(text, "%", v, 1)
		}
		return text
	}
	for _, c := range []struct {
		name   string
		set    HeaderSet // a limit of 10/min that was hit once
		added  []string  // "Name: value"
		status int
		want   string
	}{
		{"nothing added", XRateLimitHeaders, nil, 200, fill("10", "9", "60")},
		{"the other is tighter", XRateLimitHeaders, []string{"X-RateLimit-Limit: 5", "X-RateLimit-Remaining: 3", "X-RateLimit-Reset: 7"}, 200, fill("5", "3", "7")},
		{"ours is tighter", XRateLimitHeaders, []string{"X-RateLimit-Limit: 500", "X-RateLimit-Remaining: 300", "X-RateLimit-Reset: 7"}, 200, fill("10", "9", "60")},
		{"as tight", XRateLimitHeaders, []string{"X-RateLimit-Limit: 50", "X-RateLimit-Remaining: 9", "X-RateLimit-Reset: 7"}, 200, fill("50", "9", "7")},
		{"it denies", XRateLimitHeaders, []string{"X-RateLimit-Limit: 500", "X-RateLimit-Remaining: 300", "X-RateLimit-Reset: 7"}, 429, fill("500", "300", "7")},
		{
			"it asks to wait", XRateLimitHeaders,
			[]string{"X-RateLimit-Limit: 500", "X-RateLimit-Remaining: 300", "X-RateLimit-Reset: 7", "Retry-After: 7"},
			503,
			"Retry-After: 7\n" + fill("500", "300", "7"),
		},
		{"two layers behind", XRateLimitHeaders, []string{"X-RateLimit-Remaining: 3", "X-RateLimit-Limit: 5", "X-RateLimit-Reset: 7", "X-RateLimit-Remaining: 2"}, 200, fill("5", "3", "7")},
		{"it shows less", XRateLimitHeaders, []string{"X-RateLimit-Limit: 5"}, 200, fill("10", "9", "60")},
		{"a whole set is shown", XRateLimitHeaders, []string{"X-RateLimit-Remaining: 3"}, 200, "X-Ratelimit-Remaining: 3\n"},
		{"it is no number", XRateLimitHeaders, []string{"X-RateLimit-Remaining: many", "X-RateLimit-Limit: 5"}, 200, fill("10", "9", "60")},
		{"other names", NamedHeaders("L", "R", ""), []string{"L: 5", "R: 3"}, 200, "L: 5\nR: 3\n"},
		{"without remaining", NamedHeaders("L", "", "T"), []string{"L: 5", "T: 3"}, 200, "L: 10\nT: 60\n"},
		{
			"draft", DraftHeaders11,
			[]string{`RateLimit-Policy: "up";q=5;w=7`, `RateLimit: "up";r=3;t=7`},
			200,
			`Ratelimit: "one";r=9;t=60, "up";r=3;t=7` + "\n" + `Ratelimit-Policy: "one";q=10;w=60, "up";q=5;w=7` + "\n",
		},
		{
			"draft, an empty line", DraftHeaders10,
			[]string{`RateLimit: `},
			200,
			`Ratelimit: "one";r=9;t=60` + "\n" + `Ratelimit-Policy: "one";q=10;w=60` + "\n",
		},
		{
			"draft, it denies", DraftHeaders10,
			[]string{`RateLimit-Policy: "up";q=5;w=7`, `RateLimit: "up";r=0;t=7`},
			429,
			`Ratelimit: "up";r=0;t=7` + "\n" + `Ratelimit-Policy: "up";q=5;w=7` + "\n",
		},
		{"draft, it denies with one", DraftHeaders10, []string{`RateLimit: "up";r=0;t=7`}, 429, `Ratelimit: "up";r=0;t=7` + "\n"},
		{"custom, untouched", custom, nil, 200, "X-Ours: one | two\nX-Single: 1\n"},
		{"custom", custom, []string{"X-Ours: three", "X-Single: 2"}, 200, "X-Ours: one | two\nX-Single: 1\n"},
		{"custom, it denies", custom, []string{"X-Ours: three", "X-Single: 2"}, 429, "X-Ours: three\nX-Single: 2\n"},
		{"on denials only", XRateLimitHeaders.WhenDenied(), []string{"X-RateLimit-Limit: 5", "X-RateLimit-Limit: 6"}, 200, "X-Ratelimit-Limit: 5 | 6\n"},
		{"none", NoHeaders, []string{"X-RateLimit-Limit: 5", "X-RateLimit-Limit: 6"}, 200, "X-Ratelimit-Limit: 5 | 6\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m, clock := newTestMemory(t)
			clock.now = testEpoch - testEpoch%60_000_000
			rec := httptest.NewRecorder()
			r := &Request{RemoteAddr: "192.0.2.1:1", Writer: rec}
			v, err := MustNew("one", "10/min", WithBackend(m), WithHeaders(c.set)).Admit(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			r.WriteHeaders()
			h := rec.Header()
			for _, line := range c.added {
				name, value, _ := strings.Cut(line, ": ")
				h.Add(name, value)
			}
			for range 2 { // by an inner and an outer use
				v.ReconcileHeaders(h, c.status)
				if got := lines(h); got != c.want {
					t.Errorf("got\n%swant\n%s", got, c.want)
				}
			}
		})
	}
}

func TestReconcileHeadersAllocations(t *testing.T) {
	m, _ := newTestMemory(t)
	rec := httptest.NewRecorder()
	r := &Request{RemoteAddr: "192.0.2.1:1", Writer: rec}
	v, err := All(MustNew("a", "10/min", WithBackend(m)), MustNew("b", "20/min", WithBackend(m))).Admit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.WriteHeaders()
	if n := testing.AllocsPerRun(100, func() { v.ReconcileHeaders(rec.Header(), 200) }); n != 0 {
		t.Errorf("%v allocations where there is nothing to do", n)
	}
}
