package traffikecho_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/labstack/echo/v4"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffik "github.com/traffik-go/traffik/core"
)

// get sends a request to a handler and prints the status.
func get(handler http.Handler, path string) {
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	fmt.Println(rec.Code, rec.Header().Get("X-RateLimit-Remaining"))
}

func ExampleNew() {
	items := traffik.MustNew("example:echo:items", "1/d")
	e := echo.New()
	e.Use(traffikecho.New(items))
	e.GET("/items", func(c echo.Context) error { return c.String(http.StatusOK, "three") })
	get(e, "/items")
	get(e, "/items")
	// Output:
	// 200 0
	// 429 0
}

// The application answers denied requests with echo's types.
func ExampleOnDenied() {
	search := traffik.MustNew("example:echo:search", "1/d")
	e := echo.New()
	e.GET("/search", func(c echo.Context) error { return c.String(http.StatusOK, "found") },
		traffikecho.New(search, traffikecho.OnDenied(func(c echo.Context, v traffik.Verdict) error {
			return c.JSON(http.StatusTeapot, map[string]int64{"limit": v.Tightest().Limit})
		})))
	get(e, "/search")
	get(e, "/search")
	// Output:
	// 200 0
	// 418 0
}

// A handler sees the verdict of its request.
func ExampleVerdictFrom() {
	items := traffik.MustNew("example:echo:verdict", "5/d")
	e := echo.New()
	e.GET("/items", func(c echo.Context) error {
		fmt.Println(traffikecho.VerdictFrom(c).Tightest().Remaining)
		return nil
	}, traffikecho.New(items))
	get(e, "/items")
	// Output:
	// 4
	// 200 4
}
