package traffikgin_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gin-gonic/gin"

	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
)

// get sends a request to a handler and prints the status.
func get(handler http.Handler, path string) {
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	fmt.Println(rec.Code, rec.Header().Get("X-RateLimit-Remaining"))
}

func ExampleNew() {
	items := traffik.MustNew("example:gin:items", "1/d")
	router := gin.New()
	router.Use(traffikgin.New(items))
	router.GET("/items", func(c *gin.Context) { c.String(http.StatusOK, "three") })
	get(router, "/items")
	get(router, "/items")
	// Output:
	// 200 0
	// 429 0
}

// The application answers denied requests with gin's types.
func ExampleOnDenied() {
	search := traffik.MustNew("example:gin:search", "1/d")
	router := gin.New()
	router.GET("/search", traffikgin.New(search, traffikgin.OnDenied(func(c *gin.Context, v traffik.Verdict) {
		c.JSON(http.StatusTeapot, gin.H{"limit": v.Tightest().Limit})
	})), func(c *gin.Context) { c.String(http.StatusOK, "found") })
	get(router, "/search")
	get(router, "/search")
	// Output:
	// 200 0
	// 418 0
}

// A handler sees the verdict of its request.
func ExampleVerdictFrom() {
	items := traffik.MustNew("example:gin:verdict", "5/d")
	router := gin.New()
	router.GET("/items", traffikgin.New(items), func(c *gin.Context) {
		fmt.Println(traffikgin.VerdictFrom(c).Tightest().Remaining)
	})
	get(router, "/items")
	// Output:
	// 4
	// 200 4
}
