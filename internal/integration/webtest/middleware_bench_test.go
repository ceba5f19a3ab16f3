package webtest

import (
	"net/http"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
)

// BenchmarkMiddleware compares a bare handler of each framework with one behind
// a limit by client address, without and with the default headers.
func BenchmarkMiddleware(b *testing.B) {
	for _, f := range frameworks {
		for _, c := range []struct {
			name    string
			limited bool
			headers traffik.HeaderSet
		}{
			{"bare", false, traffik.NoHeaders},
			{"limited", true, traffik.NoHeaders},
			{"limited-with-headers", true, traffik.XRateLimitHeaders},
		} {
			b.Run(f.name+"/"+c.name, func(b *testing.B) {
				a := app{handler: func(http.ResponseWriter, *http.Request) {}}
				if c.limited {
					a.route = limit(b, f.name, "1000000000/s", traffik.WithHeaders(c.headers))
				}
				handler := f.build(a)
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "/api/users/42", nil)
				if err != nil {
					b.Fatal(err)
				}
				r.RemoteAddr = "192.0.2.1:1234"
				w := &sink{header: http.Header{}}
				b.ReportAllocs()
				for b.Loop() {
					handler.ServeHTTP(w, r)
				}
			})
		}
	}
}
