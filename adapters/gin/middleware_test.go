package traffikgin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	traffikgin "github.com/traffik-go/traffik/adapters/gin"
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

// A denied request goes no further down the chain.
func TestDenialAborts(t *testing.T) {
	t.Parallel()
	limit, _ := newLimit(t, "1/h")
	served, aborted := 0, false
	router := gin.New()
	router.Use(func(c *gin.Context) {
		c.Next()
		aborted = c.IsAborted()
	})
	router.GET("/users/:id", traffikgin.New(limit), func(c *gin.Context) { served++ })
	serve(router)
	if rec := serve(router); rec.Code != http.StatusTooManyRequests || served != 1 || !aborted {
		t.Errorf("status %d, served %d times, aborted %v; want 429, once, true", rec.Code, served, aborted)
	}
}

// An error under Propagate is added to gin's, and the application may answer it.
func TestPropagatedError(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	limit, backend := newLimit(t, "1/h", traffik.WithErrorPolicy(traffik.Propagate))
	backend.Fail(down)
	for want, opts := range map[int][]traffikgin.Option{
		http.StatusServiceUnavailable: nil,
		http.StatusTeapot:             {traffikgin.OnError(func(c *gin.Context, err error) { c.Status(http.StatusTeapot) })},
	} {
		var seen error
		router := gin.New()
		router.Use(func(c *gin.Context) {
			c.Next()
			seen = c.Errors.Last()
		})
		router.GET("/users/:id", traffikgin.New(limit, opts...), func(*gin.Context) { t.Error("the handler ran") })
		if rec := serve(router); rec.Code != want || !errors.Is(seen, down) {
			t.Errorf("status %d, gin's error %v; want %d and the store's", rec.Code, seen, want)
		}
	}
}

// Identities come from gin's parameters, route and keys.
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
		router := gin.New()
		router.Use(func(c *gin.Context) { c.Set("user", "alice") })
		router.GET("/users/:id", traffikgin.New(limit), func(*gin.Context) {})
		serve(router)
		if len(got) < len(want) || got[len(got)-len(want):] != want {
			t.Errorf("the identity is %q, want one of %q", got, want)
		}
	}
}
