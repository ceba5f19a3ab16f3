package webtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// answered serves one request without a connection, and returns the status.
func answered(h http.Handler, method, path string) int {
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, http.NoBody)
	h.ServeHTTP(rec, r)
	return rec.Code
}

// With a limit by route at any level, the router answers unknown paths and methods as without
// a limit.
func TestNoRouteIsTheRoutersAnswer(t *testing.T) {
	t.Parallel()
	unknown := []struct{ method, path string }{
		{"GET", "/"},
		{"GET", "/nope"},
		{"GET", "/api"},
		{"GET", "/api/"},
		{"GET", "/api/users"},
		{"GET", "/api/users/42/more"},
		{"HEAD", "/nope"},
		{"POST", "/nope"},
		{"DELETE", "/api/users/42"},
		{"PUT", "/api/users/42"},
		{"BREW", "/api/users/42"},
		{"BREW", "/nope"},
		{"OPTIONS", "/nope"},
	}
	for _, level := range []string{"engine", "group", "route"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, f framework) {
				if f.name == "net/http" && level == "engine" {
					return // around the mux no router knows the route: TestByRouteAroundAMux
				}
				backend, _ := store(t)
				byRoute := limit(t, "by route", "100/h", traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Combine(traffik.ClientIP(), traffik.ByRoute())))
				a := app{handler: func(http.ResponseWriter, *http.Request) {}}
				bare := f.build(a)
				switch level {
				case "engine":
					a.engine = byRoute
				case "group":
					a.group = byRoute
				case "route":
					a.route = byRoute
				}
				limited := f.build(a)
				for _, u := range unknown {
					want := answered(bare, u.method, u.path)
					if got := answered(limited, u.method, u.path); got != want {
						t.Errorf("%s %s: %d, without the limit %d", u.method, u.path, got, want)
					}
				}
				if got := answered(limited, "GET", "/api/users/42"); got != http.StatusOK {
					t.Errorf("the route is answered with %d after requests without one", got)
				}
			})
		})
	}
}

// Invented paths and methods share a bucket and never cause a server error.
func TestNoRouteIsLimited(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		if f.name == "net/http" {
			return // there the router answers before the limit is asked
		}
		for kind, request := range map[string]func(i int) (method, path string){
			"paths":   func(i int) (string, string) { return "GET", fmt.Sprintf("/made-up/%d", i) },
			"methods": func(i int) (string, string) { return fmt.Sprintf("BREW%d", i), "/made-up" },
		} {
			backend, _ := store(t)
			h := f.build(app{
				engine:  limit(t, kind, "3/h", traffik.WithBackend(backend), traffik.WithIdentifier(traffik.ByRoute())),
				handler: func(http.ResponseWriter, *http.Request) {},
			})
			statuses := map[int]int{}
			for i := range 20 {
				method, path := request(i)
				statuses[answered(h, method, path)]++
			}
			if statuses[http.StatusTooManyRequests] != 17 || statuses[http.StatusNotFound]+statuses[http.StatusMethodNotAllowed] != 3 {
				t.Errorf("20 made-up %s at 3/h: statuses %v, want 3 of the router and 17 denied", kind, statuses)
			}
			if got := answered(h, "GET", "/api/users/42"); got != http.StatusOK {
				t.Errorf("the route is answered with %d after a flood without one", got)
			}
		}
	})
}

// If no router will ever know the route, the first request shows it.
func TestByRouteAroundAMux(t *testing.T) {
	t.Parallel()
	backend, _ := store(t)
	byRoute := limit(t, "by route", "3/h", traffik.WithBackend(backend), traffik.WithIdentifier(traffik.ByRoute()))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /a", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("GET /in", httptraffik.New(byRoute)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	around := httptraffik.New(byRoute)(mux)
	for path, want := range map[string]int{"/a": http.StatusServiceUnavailable, "/nope": http.StatusServiceUnavailable} {
		if got := answered(around, "GET", path); got != want {
			t.Errorf("around the mux: %s is answered with %d, want %d", path, got, want)
		}
	}
	for path, want := range map[string]int{"/in": http.StatusOK, "/nope": http.StatusNotFound} {
		if got := answered(mux, "GET", path); got != want {
			t.Errorf("inside the mux: %s is answered with %d, want %d", path, got, want)
		}
	}
	// Before echo routes it looks as if no route matched.
	e := echo.New()
	e.Pre(traffikecho.New(limit(t, "before", "3/h", traffik.WithBackend(backend), traffik.WithIdentifier(traffik.ByRoute()))))
	e.GET("/a", func(echo.Context) error { return nil })
	for i, want := range []int{200, 200, 200, 429} {
		if got := answered(e, "GET", "/a"); got != want {
			t.Errorf("before echo routes: request %d is answered with %d, want %d", i+1, got, want)
		}
	}
}
