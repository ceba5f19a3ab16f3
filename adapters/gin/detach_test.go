package traffikgin_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// A detached request stays that of its sender, also when gin reuses the context for others.
func TestDetach(t *testing.T) {
	t.Parallel()
	for name, detach := range map[string]func(*gin.Context) *traffik.Request{
		"adapter's": traffikgin.Detach,
		"request's": func(c *gin.Context) *traffik.Request { return httptraffik.RequestFrom(c.Request.Context()).Detach() },
	} {
		limit, _ := newLimit(t, "5/h", traffik.WithIdentifier(traffik.Shared()))
		var kept *traffik.Request
		router := gin.New()
		router.Use(func(c *gin.Context) { c.Set("plan", c.Param("id")) }, traffikgin.New(limit))
		router.GET("/users/:id", func(c *gin.Context) {
			if kept == nil {
				kept = detach(c)
			}
		})
		for _, user := range []string{"alice", "mallory"} {
			router.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/users/"+user, nil))
		}
		for want, id := range map[string]*traffik.Identifier{
			"param.id:alice":   traffik.ByParam("id"),
			"value.plan:alice": traffik.ByValue("plan"),
			"route:/users/:id": traffik.ByRoute(),
		} {
			if got, err := id.Identity(kept); got != want || err != nil {
				t.Errorf("%s: it counts for %q, %v; want %q", name, got, err, want)
			}
		}
	}
}
