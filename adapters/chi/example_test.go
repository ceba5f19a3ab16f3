package traffikchi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/go-chi/chi/v5"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffik "github.com/traffik-go/traffik/core"
)

// get sends a request to a handler and prints the status.
func get(handler http.Handler, path string) {
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	fmt.Println(rec.Code, rec.Header().Get("X-RateLimit-Remaining"))
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }

func ExampleNew() {
	burst := traffik.MustNew("example:chi:burst", "1/d")
	daily := traffik.MustNew("example:chi:daily", "100/d")
	r := chi.NewRouter()
	r.With(traffikchi.New(traffik.All(burst, daily))).Get("/search", hello)
	r.Get("/free", hello)
	get(r, "/search")
	get(r, "/search")
	get(r, "/free")
	// Output:
	// 200 0
	// 429 0
	// 200
}

// The application answers denied requests itself.
func ExampleOnDenied() {
	search := traffik.MustNew("example:chi:search", "1/d")
	r := chi.NewRouter()
	r.Use(traffikchi.New(search, traffikchi.OnDenied(func(w http.ResponseWriter, _ *http.Request, v traffik.Verdict) {
		http.Error(w, fmt.Sprint("limit ", v.Tightest().Limit), http.StatusTeapot)
	})))
	r.Get("/search", hello)
	get(r, "/search")
	get(r, "/search")
	// Output:
	// 200 0
	// 418 0
}

// A handler sees the verdict of its request.
func ExampleVerdictFrom() {
	items := traffik.MustNew("example:chi:verdict", "5/d")
	r := chi.NewRouter()
	r.Use(traffikchi.New(items))
	r.Get("/items", func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(traffikchi.VerdictFrom(r.Context()).Tightest().Remaining)
	})
	get(r, "/items")
	// Output:
	// 4
	// 200 4
}
