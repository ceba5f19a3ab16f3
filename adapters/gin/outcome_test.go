package traffikgin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	traffikgin "github.com/traffik-go/traffik/adapters/gin"
)

// After an informational status, the status that the client gets counts.
func TestCountOnlyAfterEarlyHints(t *testing.T) {
	t.Parallel()
	hint := func(c *gin.Context) {
		c.Writer.WriteHeader(http.StatusEarlyHints)
		c.Writer.WriteHeaderNow()
	}
	for name, c := range map[string]struct {
		handler gin.HandlerFunc
		want    int
	}{
		"alone":           {hint, 200},
		"set, not sent":   {func(c *gin.Context) { c.Status(http.StatusEarlyHints) }, 200},
		"ignored status":  {func(c *gin.Context) { hint(c); c.String(401, "no") }, 200},
		"flushed":         {func(c *gin.Context) { hint(c); c.Writer.Flush() }, 200},
		"replaced status": {func(c *gin.Context) { c.Status(http.StatusEarlyHints); c.String(401, "no") }, 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "5/h")
			counted := make(chan int, 1)
			router := gin.New()
			router.GET("/", traffikgin.New(limit, traffikgin.CountOnly(func(status int) bool { counted <- status; return true })), c.handler)
			server := httptest.NewServer(router)
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
