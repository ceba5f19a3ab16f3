//go:build !race

package webtest

import (
	"net/http"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
)

// The middleware adds at most four allocations besides the values of headers:
// the request and its place in the context, and the client's address.
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
