package traffikecho_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/labstack/echo/v4"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// A detached request stays that of its sender, also when echo reuses the context for others. Keys that nobody named are refused and not taken from others.
func TestDetach(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		detach func(echo.Context) *traffik.Request
		plan   string
	}{
		"adapter's": {func(c echo.Context) *traffik.Request { return traffikecho.Detach(c, "plan") }, "value.plan:alice"},
		"request's": {func(c echo.Context) *traffik.Request { return httptraffik.RequestFrom(c.Request().Context()).Detach() }, ""},
	} {
		limit, _ := newLimit(t, "5/h", traffik.WithIdentifier(traffik.Shared()))
		var kept *traffik.Request
		e := echo.New()
		e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				c.Set("plan", c.Param("id"))
				return next(c)
			}
		}, traffikecho.New(limit))
		e.GET("/users/:id", func(ctx echo.Context) error {
			if kept == nil {
				kept = c.detach(ctx)
			}
			return nil
		})
		for _, user := range []string{"alice", "mallory"} {
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/users/"+user, nil))
		}
		for id, want := range map[*traffik.Identifier]string{
			traffik.ByParam("id"):   "param.id:alice",
			traffik.ByRoute():       "route:/users/:id",
			traffik.ByValue("plan"): c.plan,
		} {
			if got, err := id.Identity(kept); got != want || (err == nil) != (want != "") {
				t.Errorf("%s: it counts for %q, %v; want %q", name, got, err, want)
			}
		}
	}
}
