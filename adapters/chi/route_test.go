package traffikchi_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffik "github.com/traffik-go/traffik/core"
)

// levels are where a limit is used: at the root, around each mount, in each mount, at each
// route.
var levels = []string{"root", "around mounts", "in mounts", "route"}

// places makes routers with a limit at one level.
type places struct {
	t     *testing.T
	level string
	limit *traffik.Throttle
}

func (p places) at(level string, r chi.Router) chi.Router {
	if p.level == level {
		return r.With(traffikchi.New(p.limit))
	}
	return r
}

func (p places) get(r chi.Router, pattern string) {
	p.handle(r, http.MethodGet, pattern)
}

// handle serves chi's own pattern in a header.
func (p places) handle(r chi.Router, method, pattern string) {
	p.at("route", r).MethodFunc(method, pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pattern", chi.RouteContext(r.Context()).RoutePattern())
	})
}

func (p places) mount(r chi.Router, pattern string, fill func(chi.Router), first ...func(http.Handler) http.Handler) {
	p.at("around mounts", r).Route(pattern, func(r chi.Router) {
		r.Use(first...)
		if p.level == "in mounts" {
			r.Use(traffikchi.New(p.limit))
		}
		fill(r)
	})
}

// router has mounts within mounts, wildcards next to mounts and mounts with slashes.
func (p places) router(first ...func(http.Handler) http.Handler) chi.Router {
	root := chi.NewRouter()
	root.Use(first...)
	if p.level == "root" {
		root.Use(traffikchi.New(p.limit))
	}
	p.get(root, "/files/*")
	p.get(root, "/plain")
	p.mount(root, "/api", func(r chi.Router) {
		p.get(r, "/")
		p.handle(r, http.MethodPost, "/things")
		p.mount(r, "/wild", func(r chi.Router) { p.get(r, "/*") })
		p.mount(r, "/empty", func(r chi.Router) { p.get(r, "/users/{id}") })
	})
	p.mount(root, "/wild", func(r chi.Router) { p.get(r, "/*") })
	p.mount(root, "/slash/", func(r chi.Router) { p.get(r, "/"); p.get(r, "/slash/"); p.get(r, "/{id}") })
	p.mount(root, "/strip", func(r chi.Router) { p.get(r, "/{id}") }, middleware.StripSlashes)
	p.mount(root, "/{tenant}", func(r chi.Router) {
		p.mount(r, "/", func(r chi.Router) { p.get(r, "/"); p.get(r, "/users/{id}") })
	})
	return root
}

// spellings are middleware that has another path or method routed.
var spellings = map[string]func(http.Handler) http.Handler{
	"as it is": func(next http.Handler) http.Handler { return next },
	"clean":    middleware.CleanPath,
	"strip":    middleware.StripSlashes,
	"get head": middleware.GetHead,
}

// The route is chi's own pattern at every level, and none if no route serves the request.
func TestRouteIsThatOfChi(t *testing.T) {
	t.Parallel()
	paths := []string{
		"/files", "/files/", "/files/x/y", "/plain", "/plain/", "/api", "/api/", "/api/x", "/api/x/y", "/api/things", "/api/things/",
		"/api/wild", "/api/wild/", "/api/wild/x", "/api/empty/users/7", "/api/empty/users", "/api/a%2Fb", "/wild/a%2Fb",
		"/wild", "/wild/", "/wild/x", "/wild/x/", "/wild//", "/slash", "/slash/", "/slash/7", "/slash/slash/", "/slash/slash/slash/",
		"/strip/7", "/strip/7/8", "/acme", "/acme/", "/acme/users/7", "/acme/users/", "/acme/users", "/{tenant}", "/*", "/api/*",
		"/acme/*", "/", "//", "/api//wild", "//api", "/api/../wild",
	}
	for spelling, first := range spellings {
		for _, level := range levels {
			t.Run(spelling+"/"+level, func(t *testing.T) {
				t.Parallel()
				var got string
				p := newPlaces(t, level, &got)
				router := p.router(first)
				for _, path := range paths {
					for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
						got = "no limit"
						rec := httptest.NewRecorder()
						r := httptest.NewRequest(method, "http://host"+path, http.NoBody)
						router.ServeHTTP(rec, r)
						want := rec.Header().Get("X-Pattern")
						if ownPath[got] && (want == got+"/*" || want == got+"//*" || rec.Code == http.StatusMethodNotAllowed) {
							continue // TestOwnPathOfAMount
						}
						if rec.Code == http.StatusMethodNotAllowed && method == http.MethodHead {
							continue // TestHeadBeforeGetHead
						}
						if got != want && got != "no limit" {
							t.Errorf("%s %s: %d, route %q, chi says %q", method, path, rec.Code, got, want)
						}
					}
				}
			})
		}
	}
}

// ownPath holds the patterns of mounts.
var ownPath = map[string]bool{"/api": true, "/wild": true, "/api/wild": true, "/{tenant}": true}

func newPlaces(t *testing.T, level string, got *string) places {
	t.Helper()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	limit, err := traffik.New(t.Name(), "1000000/s", traffik.WithBackend(memory), traffik.WithIdentifier(
		traffik.Identify("seen", func(r *traffik.Request) (string, error) {
			*got = r.Pattern()
			return "anybody", nil
		})))
	if err != nil {
		t.Fatal(err)
	}
	return places{t, level, limit}
}

// A limit by route in a mount: requests without a route, by path or by method, leave the
// buckets of its routes alone.
func TestNoRouteInAMount(t *testing.T) {
	t.Parallel()
	send := newMount(t)
	for range 3 {
		send(http.MethodGet, "/api/x")
		send(http.MethodGet, "/api/things")
		send(http.MethodDelete, "/api/things")
	}
	for range 5 {
		if got := send(http.MethodGet, "/api"); got != http.StatusOK {
			t.Errorf("GET /api is answered with %d", got)
		}
	}
}

// A mount's own path is one route, whatever route in the mount serves it or doesn't.
func TestOwnPathOfAMount(t *testing.T) {
	t.Parallel()
	send := newMount(t)
	for _, c := range []struct {
		method, path string
		want         int
	}{{"DELETE", "/api", 405}, {"DELETE", "/api/", 405}, {"GET", "/api", 200}, {"GET", "/api/", 200}, {"GET", "/api", 200}, {"GET", "/api", 429}} {
		if got := send(c.method, c.path); got != c.want {
			t.Errorf("%s %s is answered with %d, want %d", c.method, c.path, got, c.want)
		}
	}
}

// newMount sends requests to a mount with a limit by route in it.
func newMount(t *testing.T) (send func(method, path string) int) {
	t.Helper()
	router := chi.NewRouter()
	router.Route("/api", func(r chi.Router) {
		r.Use(traffikchi.New(newLimit(t, traffik.WithIdentifier(traffik.ByRoute()))))
		r.Get("/", func(http.ResponseWriter, *http.Request) {})
		r.Post("/things", func(http.ResponseWriter, *http.Request) {})
	})
	return func(method, path string) int {
		rec := httptest.NewRecorder()
		router.ServeHTTP(rec, httptest.NewRequest(method, path, http.NoBody))
		return rec.Code
	}
}

// A HEAD before GetHead is charged as the GET that is going to serve it.
func TestHeadBeforeGetHead(t *testing.T) {
	t.Parallel()
	var got string
	router := newPlaces(t, "root", &got).router()
	router.(*chi.Mux).Head("/plain/head", func(http.ResponseWriter, *http.Request) {})
	for path, want := range map[string]string{"/plain": "/plain", "/api/empty/users/7": "/api/empty/users/{id}", "/plain/head": "/plain/head", "/api/x/y": ""} {
		router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodHead, path, http.NoBody))
		if got != want {
			t.Errorf("HEAD %s: route %q, want %q", path, got, want)
		}
	}
}

// A mount's own path may have a route outside of the mount. Chi doesn't distinguish the two,
// and the route keeps its name.
func TestRouteOutsideOfItsMount(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"root", "route"} {
		var got string
		p := newPlaces(t, level, &got)
		router := p.router()
		p.get(router, "/strip")
		rec := httptest.NewRecorder()
		router.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/strip", http.NoBody))
		if got != "/strip" || rec.Code != http.StatusOK {
			t.Errorf("%s: %d, route %q", level, rec.Code, got)
		}
	}
}

// Routes and mounts that are made after the first requests are found.
func TestLaterMount(t *testing.T) {
	t.Parallel()
	var got string
	p := newPlaces(t, "in mounts", &got)
	router := p.router()
	for _, path := range []string{"/later/7", "/later/more/7", "/api/empty/users/7"} {
		router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, http.NoBody))
	}
	p.mount(router, "/later", func(r chi.Router) { p.get(r, "/{id}") })
	router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/later/7", http.NoBody))
	if want := "/later/{id}"; got != want {
		t.Errorf("route %q, want %q", got, want)
	}
}

// Below a mount whose pattern holds a regular expression, a path that middleware outside of
// the mount rewrote has no route, and the limit still counts it.
func TestRewrittenPathBelowARegularExpression(t *testing.T) {
	t.Parallel()
	var got string
	p := newPlaces(t, "in mounts", &got)
	router := chi.NewRouter()
	router.Use(middleware.CleanPath)
	p.mount(router, "/{part:[0-9]{1,3}}", func(r chi.Router) { p.get(r, "/{id}") })
	for path, want := range map[string]string{"/42/7": "/{part:[0-9]{1,3}}/{id}", "/42//7": ""} {
		rec := httptest.NewRecorder()
		got = "not counted"
		router.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if got != want || rec.Code != http.StatusOK {
			t.Errorf("%s: %d, route %q; want 200, %q", path, rec.Code, got, want)
		}
	}
}
