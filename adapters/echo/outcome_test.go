package traffikecho_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
)

// The status that the client gets counts, whatever an echo handler does.
func TestCountOnly(t *testing.T) {
	t.Parallel()
	late := func(c echo.Context) error { <-c.Request().Context().Done(); return c.Request().Context().Err() }
	timeout := middleware.ContextTimeout(time.Millisecond)
	for name, c := range map[string]struct {
		handler echo.HandlerFunc
		inner   []echo.MiddlewareFunc
		want    int
	}{
		"inner deadline": {late, []echo.MiddlewareFunc{timeout}, 503},
		"inner deadline, 504": {late, []echo.MiddlewareFunc{middleware.ContextTimeoutWithConfig(middleware.ContextTimeoutConfig{
			Timeout:      time.Millisecond,
			ErrorHandler: func(err error, _ echo.Context) error { return echo.NewHTTPError(504).SetInternal(err) },
		})}, 504},
		"inner deadline, 401": {func(c echo.Context) error { return echo.NewHTTPError(401).SetInternal(late(c)) }, []echo.MiddlewareFunc{
			middleware.ContextTimeoutWithConfig(middleware.ContextTimeoutConfig{
				Timeout: time.Millisecond, ErrorHandler: func(err error, _ echo.Context) error { return err },
			}),
		}, 401},
		"a context of the handler's own": {func(c echo.Context) error {
			ctx, cancel := context.WithCancel(c.Request().Context())
			cancel()
			c.SetRequest(c.Request().WithContext(ctx))
			return ctx.Err()
		}, nil, 500},
		"status set, nothing written": {func(c echo.Context) error { c.Response().Status = 401; return nil }, nil, 200},
		"early hints alone":           {func(c echo.Context) error { c.Response().WriteHeader(103); return nil }, nil, 200},
		"early hints, then a status":  {func(c echo.Context) error { c.Response().WriteHeader(103); return c.String(401, "no") }, nil, 200},
		"early hints, then an error":  {func(c echo.Context) error { c.Response().WriteHeader(103); return echo.ErrUnauthorized }, nil, 200},
		"a failing copy": {func(c echo.Context) error {
			if _, err := io.Copy(c.Response().Writer, failing{}); err != nil {
				return echo.NewHTTPError(401).SetInternal(err)
			}
			return nil
		}, nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "5/h")
			counted := make(chan int, 1)
			e := echo.New()
			e.Logger.SetOutput(io.Discard)
			e.GET("/", c.handler, append([]echo.MiddlewareFunc{
				traffikecho.New(limit, traffikecho.CountOnly(func(status int) bool { counted <- status; return true })),
			}, c.inner...)...)
			server := httptest.NewServer(e)
			defer server.Close()
			if got := visit(t, server); got != c.want {
				t.Errorf("the client got %d, want %d", got, c.want)
			}
			if got := <-counted; got != c.want {
				t.Errorf("counted as %d, want %d", got, c.want)
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("failing") }

// The answer of a handler counts also if the client is gone, so hanging up early gives no free
// try.
func TestCountOnlyOfAClientThatIsGone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(error) error
		want   int
	}{
		"the context's error":         {func(err error) error { return err }, 499},
		"401 for the context's error": {func(err error) error { return echo.NewHTTPError(401).SetInternal(err) }, 401},
		"another error":               {func(error) error { return errors.New("broken") }, 500},
		"nothing":                     {func(error) error { return nil }, 499},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "5/h")
			counted := 0
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			e := echo.New()
			e.GET("/", func(echo.Context) error {
				cancel()
				return c.answer(ctx.Err())
			}, traffikecho.New(limit, traffikecho.CountOnly(func(status int) bool { counted = status; return true })))
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
			if counted != c.want {
				t.Errorf("counted as %d, want %d", counted, c.want)
			}
		})
	}
}

// visit returns the status that a client gets.
func visit(t *testing.T, server *httptest.Server) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}
