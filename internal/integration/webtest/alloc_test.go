//go:build !race

package webtest

import (
	"net/http"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
)

// The middleware adds at most four allocations besides the values of headers.
func TestMiddlewareAllocations(t *testing.T) {
	for _, f := range frameworks {
		limits := limit(t, f.name, "1000000000/s", traffik.WithHeaders(traffik.NoHeaders))
		measure := func(a app) float64 {
			a.handler = func(http.ResponseWriter, *http.Request) {}
			handler := f.build(a)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/api/users/42", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.RemoteAddr = "192.0.2.1:1234"
			w := &sink{header: http.Header{}}
			return testing.AllocsPerRun(500, func() { handler.ServeHTTP(w, r) })
		}
		if bare, limited := measure(app{}), measure(app{route: limits}); limited-bare > 4 {
			t.Errorf("%s: %v allocations with a limit, %v without; want at most 4 more", f.name, limited, bare)
		}
	}
}

// Headers cost two allocations, for their values: the writer that looks after them costs none
// below net/http's own writers.
func TestHeaderAllocations(t *testing.T) {
	for _, f := range frameworks {
		for _, p := range []*protocol{http1, http2} {
			s := open(t, p, newObservation(), func(*site) http.Handler {
				measure := func(w http.ResponseWriter, r *http.Request, set traffik.HeaderSet) float64 {
					handler := f.build(app{
						route:   limit(t, f.name+p.name, "1000000000/s", traffik.WithHeaders(set)),
						handler: func(http.ResponseWriter, *http.Request) {},
					})
					return testing.AllocsPerRun(500, func() { handler.ServeHTTP(w, r) })
				}
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					without, with := measure(w, r, traffik.NoHeaders), measure(w, r, traffik.XRateLimitHeaders)
					if with-without > 2 {
						t.Errorf("%s over %s: %v allocations with headers, %v without; want at most 2 more", f.name, p.name, with, without)
					}
				})
			})
			s.visit(http.MethodGet, nil)
			s.close()
		}
	}
}
