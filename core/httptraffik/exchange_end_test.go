package httptraffik_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/traffik-go/traffik/core/httptraffik"
)

// Outer middleware sees what routers and handlers noted in the request, also after a panic,
// but not the context of the limits.
func TestOuterMiddlewareSeesTheRoute(t *testing.T) {
	t.Parallel()
	limit := newLimit(t, "1000/s")
	mux := http.NewServeMux()
	mux.HandleFunc("/users/{id}", func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		panic("on purpose")
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/users/42?a=1", strings.NewReader("b=2"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	func() {
		defer func() { _ = recover() }()
		httptraffik.New(limit)(httptraffik.New(limit)(mux)).ServeHTTP(httptest.NewRecorder(), r)
	}()
	if r.Pattern != "/users/{id}" || r.Form.Get("a") != "1" || r.PostForm.Get("b") != "2" {
		t.Errorf("pattern %q, form %v, posted %v", r.Pattern, r.Form, r.PostForm)
	}
	if r.Context() != t.Context() || httptraffik.RequestFrom(r.Context()) != nil {
		t.Error("the context of the limits is left in the outer request")
	}
}

// Others may read the rest of the request meanwhile; the race detector checks that.
func TestOuterRequestMayBeRead(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(_ http.ResponseWriter, r *http.Request) { r.Host = "mine" })
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	read := make(chan bool)
	go func() { read <- r.Context() == t.Context() && r.Host == "example.com" }()
	httptraffik.New(newLimit(t, "1000/s"))(mux).ServeHTTP(httptest.NewRecorder(), r)
	if !<-read {
		t.Error("the request was written to")
	}
}
