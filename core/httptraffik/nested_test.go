package httptraffik_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

func newLimit(t *testing.T, rate string) *traffik.Throttle {
	t.Helper()
	return newNamed(t, t.Name(), rate)
}

func newNamed(t *testing.T, uid, rate string) *traffik.Throttle {
	t.Helper()
	backend, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	limit, err := traffik.New(uid, rate, traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared()))
	if err != nil {
		t.Fatal(err)
	}
	return limit
}

func serve(handler http.Handler) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/api/batch", nil))
	return rec
}

// A limit charges a request once, however often it is used in a chain, also if middleware
// copies the request and rewrites its URL or its address.
func TestNestedUseIsChargedOnce(t *testing.T) {
	t.Parallel()
	limit := httptraffik.New(newLimit(t, "5/d"))
	handler := limit(http.StripPrefix("/api", limit(http.MaxBytesHandler(rewritten(limit(http.NotFoundHandler())), 1))))
	if got := serve(handler).Header().Get("X-RateLimit-Remaining"); got != "4" {
		t.Errorf("%s remaining after one request, want 4", got)
	}
}

// rewritten does what middleware for proxies and for trailing slashes does.
func rewritten(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr, r.RequestURI = "203.0.113.7", "/api/batch/"
		next.ServeHTTP(w, r)
	})
}

// A handler dispatches the parts of a batch with the context of the request that brought
// them: each is a request by itself.
func TestRequestsMadeByAHandlerAreCounted(t *testing.T) {
	t.Parallel()
	limit := httptraffik.New(newLimit(t, "3/d"))
	var statuses []int
	item := limit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	batch := limit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		part, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "/item", nil)
		if err != nil {
			t.Error(err)
			return
		}
		part.Header = r.Header
		for _, r := range []*http.Request{part, r.Clone(r.Context()), httptest.NewRequestWithContext(r.Context(), http.MethodPost, "/item", strings.NewReader("x"))} {
			rec := httptest.NewRecorder()
			item.ServeHTTP(rec, r)
			statuses = append(statuses, rec.Code)
		}
	}))
	if got := serve(batch).Header().Get("X-RateLimit-Remaining"); got != "2" {
		t.Errorf("%s remaining for the batch itself, want 2", got)
	}
	if want := []int{204, 204, 429}; len(statuses) != 3 || statuses[0] != want[0] || statuses[1] != want[1] || statuses[2] != want[2] {
		t.Errorf("statuses %v, want %v", statuses, want)
	}
}

// A handler finds its request and the verdict in the context.
func TestVerdictInsideAHandler(t *testing.T) {
	t.Parallel()
	limit := httptraffik.New(newLimit(t, "3/d"))
	serve(limit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got := httptraffik.VerdictFrom(r.Context()).Tightest().Remaining; got != 2 {
			t.Errorf("%d remaining in the verdict of the context, want 2", got)
		}
		if httptraffik.RequestFrom(r.Context()).Path != "/api/batch" {
			t.Error("the request of the context is another one")
		}
	})))
}

// A request that goes on has no Retry-After, whichever of two nested limits would have denied
// it; [httptraffik.Deny] writes it.
func TestNestedPassOnTellsNoWait(t *testing.T) {
	t.Parallel()
	scarce := httptraffik.New(newLimit(t, "1/d"), httptraffik.PassOn())
	inner := newNamed(t, t.Name()+"/inner", "9/d")
	for name, plenty := range map[string]func(http.Handler) http.Handler{
		"plain": httptraffik.New(inner), "passing on": httptraffik.New(inner, httptraffik.PassOn()),
	} {
		handler := scarce(plenty(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && !httptraffik.Deny(w, r) {
				t.Errorf("%s: Deny found nothing to deny", name)
			}
		})))
		serve(handler)
		if got := serve(handler); got.Code != http.StatusOK || got.Header().Get("Retry-After") != "" {
			t.Errorf("%s: %d with Retry-After %q, want 200 without", name, got.Code, got.Header().Get("Retry-After"))
		}
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/api/batch", nil))
		if rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") == "" {
			t.Errorf("%s: denied by the handler: %d with Retry-After %q", name, rec.Code, rec.Header().Get("Retry-After"))
		}
	}
}

// A second try of the same request is charged again once the first was refunded.
func TestCountOnlyOnASecondTry(t *testing.T) {
	t.Parallel()
	limit := newLimit(t, "5/d")
	status := http.StatusInternalServerError
	login := httptraffik.New(limit, httptraffik.CountOnly(func(status int) bool { return status == http.StatusUnauthorized }))(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	outer := httptraffik.New(newNamed(t, t.Name()+"/outer", "9/d"))
	serve(outer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		login.ServeHTTP(httptest.NewRecorder(), r)
		status = http.StatusUnauthorized
		login.ServeHTTP(httptest.NewRecorder(), r)
	})))
	if stat, err := limit.Key("shared:").Stat(t.Context()); err != nil || stat.Remaining != 4 {
		t.Errorf("%+v, %v; want the second try counted, and it alone", stat, err)
	}
}
