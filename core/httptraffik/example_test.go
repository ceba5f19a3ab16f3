package httptraffik_test

import (
	"fmt"
	"io"
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

// handlerFunc is the handler of another framework, which returns an error.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// limited is an adapter for that framework.
func limited(guard *httptraffik.Guard, next handlerFunc) handlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		e := new(struct {
			httptraffik.Exchange
			recorder httptraffik.Recorder
		})
		r = e.Begin(w, r)
		defer e.End()
		v, err := guard.Check(r.Context(), &e.Request)
		switch {
		case err != nil:
			return err
		case !guard.Passes(v):
			e.Request.WriteDenied(v)
			return nil
		}
		ending := httptraffik.Ending{}
		defer func() { e.recorder.End(ending) }() // also when the handler panics
		err = next(e.recorder.Begin(r.Context(), guard, v, w), r)
		ending.Returned = true
		return err
	}
}

// An adapter for another framework checks each request and looks after its response.
func ExampleGuard() {
	items := traffik.MustNew("example:adapter", "1/d")
	handler := limited(&httptraffik.Guard{Limit: items}, func(w http.ResponseWriter, _ *http.Request) error {
		_, err := io.WriteString(w, "hello")
		return err
	})
	for range 2 {
		w := httptest.NewRecorder()
		err := handler(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code, w.Header().Get("X-RateLimit-Remaining"), err)
	}
	// Output:
	// 200 0 <nil>
	// 429 0 <nil>
}
