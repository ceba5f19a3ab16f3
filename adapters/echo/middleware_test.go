package traffikecho_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func newLimit(t *testing.T, rate string, opts ...traffik.Option) (*traffik.Throttle, *traffiktest.Faulty) {
	t.Helper()
	memory, err := traffik.NewMemory(traffik.WithClock(traffiktest.NewClock(time.Unix(1_700_000_000, 0))))
	if err != nil {
		t.Fatal(err)
	}
	backend := traffiktest.Break(memory)
	limit, err := traffik.New(t.Name(), rate, append([]traffik.Option{traffik.WithBackend(backend)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return limit, backend
}

func serve(handler http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/users/42", nil))
	return rec
}

// A denial keeps its problem+json body whatever the error handler does.
func TestDenialKeepsItsBody(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/h")
	e := echo.New()
	e.HTTPErrorHandler = func(error, echo.Context) { t.Error("the error handler was asked") }
	e.GET("/users/:id", func(echo.Context) error { return nil }, traffikecho.New(limit))
	serve(e)
	rec := serve(e)
	if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, headers %v", rec.Code, rec.Header())
	}
}

// An error under Propagate reaches echo's error handler, which can recognize it.
func TestPropagatedError(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	limit, backend := newLimit(t, "1/h", traffik.WithErrorPolicy(traffik.Propagate))
	backend.Fail(down)
	for want, opts := range map[int][]traffikecho.Option{
		http.StatusServiceUnavailable: nil,
		http.StatusTeapot: {traffikecho.OnError(func(c echo.Context, err error) error {
			return echo.NewHTTPError(http.StatusTeapot).SetInternal(err)
		})},
	} {
		var seen error
		e := echo.New()
		e.HTTPErrorHandler = func(err error, c echo.Context) {
			seen = err
			e.DefaultHTTPErrorHandler(err, c)
		}
		e.GET("/users/:id", func(echo.Context) error {
			t.Error("the handler ran")
			return nil
		}, traffikecho.New(limit, opts...))
		if rec := serve(e); rec.Code != want || !errors.Is(seen, down) {
			t.Errorf("status %d, error %v; want %d and the store's", rec.Code, seen, want)
		}
	}
}

// Identities come from echo's parameters, route and keys.
func TestSource(t *testing.T) {
	t.Parallel()
	for want, id := range map[string]*traffik.Identifier{
		"42": traffik.ByParam("id"), "/users/:id": traffik.ByRoute(), "alice": traffik.ByValue("user"),
	} {
		var got string
		who := traffik.Identify("seen", func(r *traffik.Request) (string, error) {
			name, err := id.Identity(r)
			got = name
			return name, err
		})
		limit, _ := newLimit(t, "1/h", traffik.WithIdentifier(who))
		e := echo.New()
		e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				c.Set("user", "alice")
				return next(c)
			}
		})
		e.GET("/users/:id", func(echo.Context) error { return nil }, traffikecho.New(limit))
		serve(e)
		if len(got) < len(want) || got[len(got)-len(want):] != want {
			t.Errorf("the identity is %q, want one of %q", got, want)
		}
	}
}

// Each header has one value, also if a handler adds to it and writes nothing.
func TestOneValueWithoutAResponse(t *testing.T) {
	t.Parallel()
	for name, options := range map[string][]traffikecho.Option{"plain": nil, "count only": {traffikecho.CountOnly(func(int) bool { return true })}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory, err := traffik.NewMemory()
			if err != nil {
				t.Fatal(err)
			}
			e := echo.New()
			e.GET("/", func(c echo.Context) error {
				c.Response().Header().Add("X-RateLimit-Limit", "5")
				c.Response().Header().Add("X-RateLimit-Remaining", "4")
				return nil
			}, traffikecho.New(traffik.MustNew("outer", "10/s", traffik.WithBackend(memory)), options...))
			rec := httptest.NewRecorder()
			e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
			for _, header := range []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining"} {
				if values := rec.Header()[header]; len(values) != 1 {
					t.Errorf("%s: %q, want one value", header, values)
				}
			}
		})
	}
}
