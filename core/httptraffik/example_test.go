package httptraffik_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

func ExampleNew() {
	items := traffik.MustNew("example:http:items", "1/d")
	mux := http.NewServeMux()
	mux.Handle("GET /items", httptraffik.New(items)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, httptraffik.VerdictFrom(r.Context()).Tightest().Remaining, " left")
	})))
	for range 2 {
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/items", nil))
		fmt.Println(rec.Code, rec.Header().Get("X-RateLimit-Remaining"))
	}
	// Output:
	// 200 0
	// 429 0
}

// Only failed logins count.
func ExampleCountOnly() {
	attempts := traffik.MustNew("example:http:login", "2/d")
	failed := func(status int) bool { return status == http.StatusUnauthorized }
	login := httptraffik.New(attempts, httptraffik.CountOnly(failed))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("password") != "right" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	for _, password := range []string{"wrong", "right", "right", "wrong", "right"} {
		rec := httptest.NewRecorder()
		login.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/login?password="+password, nil))
		fmt.Println(password, rec.Code)
	}
	// Output:
	// wrong 401
	// right 200
	// right 200
	// wrong 401
	// right 429
}
