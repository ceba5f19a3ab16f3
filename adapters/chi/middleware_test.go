package traffikchi_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// seen is an identifier that notes what another one found.
func seen(id *traffik.Identifier, into *string) *traffik.Identifier {
	return traffik.Identify("seen", func(r *traffik.Request) (string, error) {
		name, err := id.Identity(r)
		*into = name
		return name, err
	})
}

// newLimit is a limit on a new store.
func newLimit(t *testing.T, opts ...traffik.Option) *traffik.Throttle {
	t.Helper()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	limit, err := traffik.New(t.Name(), "5/h", append([]traffik.Option{traffik.WithBackend(memory)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

// The route is known at every level of use: at the root, which runs before chi has routed, it
// is looked up.
func TestRoute(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"root", "mounted", "route"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			var got string
			limit := newLimit(t, traffik.WithIdentifier(seen(traffik.ByRoute(), &got)))
			use := func(at string, r chi.Router) {
				if at == level {
					r.Use(traffikchi.New(limit))
				}
			}
			r := chi.NewRouter()
			use("root", r)
			r.Route("/api", func(api chi.Router) {
				use("mounted", api)
				api.Group(func(route chi.Router) {
					use("route", route)
					route.Get("/users/{id}", func(http.ResponseWriter, *http.Request) {})
				})
			})
			r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/users/42", nil))
			if want := "route:/api/users/%7Bid%7D"; got != want {
				t.Errorf("the identity is %q, want %q", got, want)
			}
		})
	}
}

// The path or method that earlier middleware wants routed is looked up at every level of use:
// no spelling of a path leaves the bucket of its route.
func TestRouteOfAnotherPathOrMethod(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before       func(http.Handler) http.Handler
		method, path string
		want         string
	}{
		"as it is":                {nil, http.MethodGet, "/api/login", "/api/login"},
		"double slash":            {middleware.CleanPath, http.MethodGet, "/api//login", "/api/login"},
		"leading slashes":         {middleware.CleanPath, http.MethodGet, "//api/login", "/api/login"},
		"cleaned slash":           {middleware.CleanPath, http.MethodGet, "/api/login/", "/api/login"},
		"dots":                    {middleware.CleanPath, http.MethodGet, "/api/x/../login", "/api/login"},
		"stripped slash":          {middleware.StripSlashes, http.MethodGet, "/api/login/", "/api/login"},
		"HEAD as GET":             {middleware.GetHead, http.MethodHead, "/api/login", "/api/login"},
		"escaped":                 {nil, http.MethodGet, "/api/files/4%2F2", "/api/files/{id}"},
		"escaped, cleaned":        {middleware.CleanPath, http.MethodGet, "/api//files/4%2F2/", "/api/files/{id}"},
		"no path":                 {nil, http.MethodGet, "", "/"},
		"mount":                   {nil, http.MethodGet, "/api", "/api"},
		"mount with a slash":      {nil, http.MethodGet, "/api/", "/api"},
		"mount, cleaned":          {middleware.CleanPath, http.MethodGet, "//api//", "/api"},
		"two down":                {nil, http.MethodGet, "/api/42/in/7", "/api/{part:[0-9]{1,3}}/in/{id}"},
		"two down, cleaned":       {middleware.CleanPath, http.MethodGet, "/api//42/in//7/", "/api/{part:[0-9]{1,3}}/in/{id}"},
		"two down, the same name": {middleware.CleanPath, http.MethodGet, "/api/7//in/in", "/api/{part:[0-9]{1,3}}/in/{id}"},
		"two down, stripped":      {middleware.StripSlashes, http.MethodGet, "/api/7/in/7/", "/api/{part:[0-9]{1,3}}/in/{id}"},
		"wildcard":                {nil, http.MethodGet, "/api/static/a/b", "/api/static/*"},
		"wildcard of nothing":     {nil, http.MethodGet, "/api/static/", "/api/static/*"},
		"wildcard, cleaned":       {middleware.CleanPath, http.MethodGet, "/api/static//api/static", "/api/static/*"},
		"mount in its own name":   {nil, http.MethodGet, "/api/api/", "/api/api"},
		"inline before a mount":   {nil, http.MethodGet, "/inline/deep/7", "/inline/deep/{id}"},
		"inline, cleaned":         {middleware.CleanPath, http.MethodGet, "/inline//deep/7/", "/inline/deep/{id}"},
		"inline of nothing":       {nil, http.MethodGet, "/inline/", "/inline"},
	} {
		for _, level := range []string{"root", "mounted", "route"} {
			t.Run(name+"/"+level, func(t *testing.T) {
				t.Parallel()
				var got string
				limit := newLimit(t, traffik.WithIdentifier(seen(traffik.ByRoute(), &got)))
				rec := httptest.NewRecorder()
				r := httptest.NewRequest(c.method, "/", nil)
				u, err := url.Parse(c.path)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(c.path, "//") {
					u = &url.URL{Path: c.path}
				}
				r.URL = u
				newSpelled(limit, level, c.before).ServeHTTP(rec, r)
				if want := escapedRoute(c.want); got != want || rec.Code != http.StatusOK {
					t.Errorf("the identity is %q, status %d; want %q and 200", got, rec.Code, want)
				}
			})
		}
	}
}

// newSpelled is a router with the limit at one level of use: of the root, of each
// mounted router, or of each route.
func newSpelled(limit *traffik.Throttle, level string, before func(http.Handler) http.Handler) http.Handler {
	use := func(at string, r chi.Router) chi.Router {
		if at == level {
			r.Use(traffikchi.New(limit))
		}
		return r
	}
	route := func(r chi.Router, pattern string) {
		r.Group(func(r chi.Router) { use("route", r).Get(pattern, func(http.ResponseWriter, *http.Request) {}) })
	}
	root := chi.NewRouter()
	if before != nil {
		root.Use(before)
	}
	use("root", root)
	root.Group(func(r chi.Router) { route(use("mounted", r), "/") })
	root.Route("/api", func(r chi.Router) {
		use("mounted", r)
		for _, pattern := range []string{"/", "/login", "/files/{id}", "/static/*", "/api/"} {
			route(r, pattern)
		}
		r.Route("/{part:[0-9]{1,3}}/in", func(r chi.Router) { route(use("mounted", r), "/{id}") })
	})
	deep := chi.NewRouter()
	route(deep, "/")
	deep.Route("/deep", func(r chi.Router) { route(r, "/{id}") })
	root.Group(func(r chi.Router) { use("mounted", r).Mount("/inline", deep) })
	return root
}

// escapedRoute is the identity of a route.
func escapedRoute(pattern string) string {
	who, err := traffik.ByRoute().Identity(&traffik.Request{Route: pattern})
	if err != nil {
		return err.Error()
	}
	return who
}

func TestParam(t *testing.T) {
	t.Parallel()
	var got string
	limit := newLimit(t, traffik.WithIdentifier(seen(traffik.ByParam("id"), &got)))
	r := chi.NewRouter()
	r.With(traffikchi.New(limit)).Get("/users/{id}", func(http.ResponseWriter, *http.Request) {})
	r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/users/42", nil))
	if want := "param.id:42"; got != want {
		t.Errorf("the identity is %q, want %q", got, want)
	}
}

func TestPropagatedError(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	backend := traffiktest.Break(memory)
	backend.Fail(errors.New("down"))
	limit, err := traffik.New("down", "5/h", traffik.WithBackend(backend), traffik.WithErrorPolicy(traffik.Propagate))
	if err != nil {
		t.Fatal(err)
	}
	for want, opts := range map[int][]traffikchi.Option{
		http.StatusServiceUnavailable: nil,
		http.StatusTeapot: {traffikchi.OnError(func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusTeapot)
		})},
	} {
		rec := httptest.NewRecorder()
		next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran") })
		traffikchi.New(limit, opts...)(next).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		if rec.Code != want {
			t.Errorf("status %d, want %d", rec.Code, want)
		}
	}
}

// In a mount, the route is known also if earlier middleware rewrote the path.
func TestRouteOfARewrittenPath(t *testing.T) {
	t.Parallel()
	var got string
	limit := newLimit(t, traffik.WithIdentifier(seen(traffik.ByRoute(), &got)))
	r := chi.NewRouter()
	r.Use(middleware.StripSlashes)
	r.Route("/deep/{part}", func(r chi.Router) {
		r.Route("/in", func(r chi.Router) {
			r.Use(traffikchi.New(limit))
			r.Get("/{id}", func(http.ResponseWriter, *http.Request) {})
		})
	})
	for _, path := range []string{"/deep/x/in/7", "/deep/x/in/7/", "/deep/7/in/7/"} {
		rec := httptest.NewRecorder()
		r.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if want := "route:/deep/%7Bpart%7D/in/%7Bid%7D"; rec.Code != http.StatusOK || got != want {
			t.Errorf("%s: %d, route %q; want %q", path, rec.Code, got, want)
		}
	}
}
