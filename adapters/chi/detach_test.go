package traffikchi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// A detached request stays that of its sender, also when chi reuses the context for others.
func TestDetach(t *testing.T) {
	t.Parallel()
	for name, detach := range map[string]func(*http.Request) *traffik.Request{
		"adapter's": traffikchi.Detach,
		"request's": func(r *http.Request) *traffik.Request { return httptraffik.RequestFrom(r.Context()).Detach() },
	} {
		for _, level := range []string{"root", "mounted", "route"} {
			limit := newLimit(t)
			var kept *traffik.Request
			use := func(at string, r chi.Router) chi.Router {
				if at == level {
					r.Use(traffikchi.New(limit))
				}
				return r
			}
			router := chi.NewRouter()
			use("root", router).Route("/api/{tenant}", func(r chi.Router) {
				use("mounted", r).Group(func(r chi.Router) {
					use("route", r).Get("/users/{id}", func(_ http.ResponseWriter, r *http.Request) {
						if kept == nil {
							kept = detach(r)
						}
					})
				})
			})
			router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/acme/users/alice", nil))
			router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/other/users/mallory", nil))
			for want, id := range map[string]*traffik.Identifier{
				"param.tenant:acme":                      traffik.ByParam("tenant"),
				"param.id:alice":                         traffik.ByParam("id"),
				escapedRoute("/api/{tenant}/users/{id}"): traffik.ByRoute(),
			} {
				if got, err := id.Identity(kept); got != want || err != nil {
					t.Errorf("%s, limit at %s: it counts for %q, %v; want %q", name, level, got, err, want)
				}
			}
		}
	}
}

// Path parameters of an http.ServeMux that is mounted in chi are known.
func TestParamOfAMountedMux(t *testing.T) {
	t.Parallel()
	var got string
	limit := newLimit(t, traffik.WithIdentifier(seen(traffik.ByParam("id"), &got)))
	mux := http.NewServeMux()
	mux.Handle("GET /x/users/{id}", traffikchi.New(limit)(http.NotFoundHandler()))
	router := chi.NewRouter()
	router.Mount("/x", mux)
	router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x/users/alice", nil))
	if got != "param.id:alice" {
		t.Errorf("the identity is %q", got)
	}
}
