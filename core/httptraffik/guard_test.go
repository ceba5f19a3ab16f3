package httptraffik_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }

// slow asks every admitted draw to hold back for three seconds.
type slow struct{ traffik.FixedWindow }

func (slow) ID() string { return "slow.1" }

func (s slow) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	next, dec := s.FixedWindow.Decide(dst, state, d)
	dec.Delay = 3 * time.Second
	return next, dec
}

// A request that passes several levels is held once, and never by a throttle that only
// reports.
func TestHeldOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []traffik.Option
		hold time.Duration
	}{
		"enforced": {nil, 3 * time.Second},
		"reported": {[]traffik.Option{traffik.WithReportOnly()}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				backend, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				limit, err := traffik.New("held", "9/h", append(c.opts, traffik.WithBackend(backend), traffik.WithStrategy(slow{}))...)
				if err != nil {
					t.Fatal(err)
				}
				level := httptraffik.New(limit)
				start := time.Now()
				serve(level(level(http.NotFoundHandler())))
				if took := time.Since(start); took != c.hold {
					t.Errorf("held for %v, want %v", took, c.hold)
				}
			})
		})
	}
}

// An admitted request is held for as long as its strategy asks, up to the bound and the end of
// its context.
func TestHold(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []httptraffik.Option
		hold time.Duration
	}{
		"as asked": {nil, 3 * time.Second},
		"bounded":  {[]httptraffik.Option{httptraffik.MaxHold(time.Second)}, time.Second},
		"off":      {[]httptraffik.Option{httptraffik.MaxHold(0)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				backend, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				limit, err := traffik.New("held", "1/h", traffik.WithBackend(backend), traffik.WithStrategy(slow{}))
				if err != nil {
					t.Fatal(err)
				}
				served := 0
				handler := httptraffik.New(limit, c.opts...)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
				start := time.Now()
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
				if took := time.Since(start); took != c.hold || served != 1 {
					t.Errorf("served %d times after %v, want once after %v", served, took, c.hold)
				}
				// A denied request is answered at once.
				start = time.Now()
				rec := httptest.NewRecorder()
				handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
				if took := time.Since(start); took != 0 || rec.Code != http.StatusTooManyRequests {
					t.Errorf("denied with %d after %v, want 429 at once", rec.Code, took)
				}
			})
		})
	}
}

func TestHoldEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		limit, err := traffik.New("held", "1/h", traffik.WithBackend(backend), traffik.WithStrategy(slow{}))
		if err != nil {
			t.Fatal(err)
		}
		handler := httptraffik.New(limit, httptraffik.OnError(func(_ http.ResponseWriter, _ *http.Request, err error) {
			t.Errorf("OnError was asked about a client that had left: %v", err)
		}))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler ran for a client that had left") }))
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(time.Second, cancel).Stop()
		rec, start := httptest.NewRecorder(), time.Now()
		handler.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		if took := time.Since(start); rec.Code != httptraffik.StatusClientGone || took != time.Second {
			t.Errorf("status %d after %v, want %d after a second", rec.Code, took, httptraffik.StatusClientGone)
		}
	})
}

// Without a middleware there is nothing to find.
func TestNothingAttached(t *testing.T) {
	t.Parallel()
	if httptraffik.RequestFrom(t.Context()) != nil || len(httptraffik.VerdictFrom(t.Context()).Results()) != 0 {
		t.Error("a bare context carries a request or a verdict")
	}
}

// A request with a body is charged, even if it claims to be a preflight: a handler that takes
// any method would act on it.
func TestPreflightWithABodyIsCharged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body   io.Reader
		length int64 // as the server found it, -1 if unknown
		want   int64
	}{
		"none":           {nil, 0, 0},
		"empty":          {http.NoBody, 0, 0},
		"of a length":    {strings.NewReader("password=x"), 10, 1},
		"of no length":   {strings.NewReader("password=x"), -1, 1},
		"length claimed": {nil, 10, 1},
	} {
		limit := newLimit(t, "5/d")
		r := httptest.NewRequest(http.MethodOptions, "/login", c.body)
		r.ContentLength = c.length
		r.Header.Set("Origin", "https://a.example")
		r.Header.Set("Access-Control-Request-Method", "POST")
		httptraffik.New(limit)(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
		if got := used(t, limit); got != c.want {
			t.Errorf("%s: %d units charged, want %d", name, got, c.want)
		}
	}
}
