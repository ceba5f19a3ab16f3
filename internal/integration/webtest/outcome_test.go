package webtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// outcomes are the options that each framework has.
type outcomes struct {
	counts func(status int) bool
	passOn bool
	denied string // what OnDenied writes with status 418, unless ""
	levels int    // of use, beneath each other; 0 is 1
}

func (o outcomes) teapot(w http.ResponseWriter) {
	w.WriteHeader(http.StatusTeapot)
	_, _ = io.WriteString(w, o.denied)
}

// limited are servers of one handler behind a limit; deny answers a request that
// was passed on.
var limited = map[string]struct {
	build func(limit traffik.Limiter, o outcomes, handler http.HandlerFunc) http.Handler
	deny  func(w http.ResponseWriter, r *http.Request) bool
}{
	"net/http": {func(limit traffik.Limiter, o outcomes, handler http.HandlerFunc) http.Handler {
		opts := []httptraffik.Option{httptraffik.CountOnly(o.counts)}
		if o.passOn {
			opts = append(opts, httptraffik.PassOn())
		}
		if o.denied != "" {
			opts = append(opts, httptraffik.OnDenied(func(w http.ResponseWriter, _ *http.Request, _ traffik.Verdict) { o.teapot(w) }))
		}
		wrapped := http.Handler(handler)
		for range max(o.levels, 1) {
			wrapped = httptraffik.New(limit, opts...)(wrapped)
		}
		return wrapped
	}, httptraffik.Deny},
	"chi": {func(limit traffik.Limiter, o outcomes, handler http.HandlerFunc) http.Handler {
		opts := []traffikchi.Option{traffikchi.CountOnly(o.counts)}
		if o.passOn {
			opts = append(opts, traffikchi.PassOn())
		}
		if o.denied != "" {
			opts = append(opts, traffikchi.OnDenied(func(w http.ResponseWriter, _ *http.Request, _ traffik.Verdict) { o.teapot(w) }))
		}
		r := chi.NewRouter()
		r.With(slices.Repeat([]func(http.Handler) http.Handler{traffikchi.New(limit, opts...)}, max(o.levels, 1))...).Handle("/*", handler)
		return r
	}, traffikchi.Deny},
	"gin": {func(limit traffik.Limiter, o outcomes, handler http.HandlerFunc) http.Handler {
		opts := []traffikgin.Option{traffikgin.CountOnly(o.counts)}
		if o.passOn {
			opts = append(opts, traffikgin.PassOn())
		}
		if o.denied != "" {
			opts = append(opts, traffikgin.OnDenied(func(c *gin.Context, _ traffik.Verdict) { o.teapot(c.Writer) }))
		}
		e := gin.New()
		e.Any("/*path", append(slices.Repeat([]gin.HandlerFunc{traffikgin.New(limit, opts...)}, max(o.levels, 1)), gin.WrapF(handler))...)
		return e
	}, httptraffik.Deny},
	"echo": {func(limit traffik.Limiter, o outcomes, handler http.HandlerFunc) http.Handler {
		opts := []traffikecho.Option{traffikecho.CountOnly(o.counts)}
		if o.passOn {
			opts = append(opts, traffikecho.PassOn())
		}
		if o.denied != "" {
			opts = append(opts, traffikecho.OnDenied(func(c echo.Context, _ traffik.Verdict) error {
				o.teapot(c.Response())
				return nil
			}))
		}
		e := echo.New()
		e.Any("/*", func(c echo.Context) error {
			handler(c.Response(), c.Request())
			return nil
		}, slices.Repeat([]echo.MiddlewareFunc{traffikecho.New(limit, opts...)}, max(o.levels, 1))...)
		return e
	}, httptraffik.Deny},
}

func failed(status int) bool { return status == http.StatusUnauthorized }

// login answers 200 to the right password and 401 to any other.
func login(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("password") != "right" {
		w.WriteHeader(http.StatusUnauthorized)
	}
	_, _ = io.WriteString(w, "done")
}

func newServer(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func statusOf(t *testing.T, server *httptest.Server, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Error(err)
		return 0
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

// usedUp returns how many units this machine's address has used.
func usedUp(t *testing.T, limit *traffik.Throttle) int64 {
	t.Helper()
	stat, err := limit.Key("ip:127.0.0.1").Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stat.Limit - stat.Remaining
}

// Only failed logins count: 3 wrong, 1 right and 2 wrong ones use up five a minute, and then
// the right password is refused too.
func TestLogin(t *testing.T) {
	t.Parallel()
	for name, framework := range limited {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, clock := store(t)
			attempts := limit(t, "login", "5/min", traffik.WithBackend(backend))
			server := newServer(t, framework.build(attempts, outcomes{counts: failed}, login))
			for i, want := range []struct {
				password string
				status   int
			}{
				{"wrong", 401},
				{"wrong", 401},
				{"wrong", 401},
				{"right", 200},
				{"wrong", 401},
				{"wrong", 401},
				{"right", 429},
				{"wrong", 429},
			} {
				if got := statusOf(t, server, "/?password="+want.password); got != want.status {
					t.Errorf("attempt %d, %s: status %d, want %d", i+1, want.password, got, want.status)
				}
			}
			clock.Advance(time.Minute)
			for range 10 {
				if got := statusOf(t, server, "/?password=right"); got != 200 {
					t.Errorf("status %d in the next minute, want 200 however often", got)
				}
			}
		})
	}
}

// atOnce sends n requests together and counts their statuses.
func atOnce(t *testing.T, n int, server *httptest.Server, path func(i int) string) map[int]int {
	t.Helper()
	var (
		start    = make(chan struct{})
		mu       sync.Mutex
		statuses = map[int]int{}
		ended    sync.WaitGroup
	)
	for i := range n {
		ended.Go(func() {
			<-start
			status := statusOf(t, server, path(i))
			mu.Lock()
			statuses[status]++
			mu.Unlock()
		})
	}
	close(start)
	ended.Wait()
	return statuses
}

// Of 50 attempts at once at most five wrong ones are tried, right ones in between cost nothing,
// and the fifth failure reaches the limit.
func TestLoginAtOnce(t *testing.T) {
	t.Parallel()
	for name, framework := range limited {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, clock := store(t)
			attempts := limit(t, "login", "5/min", traffik.WithBackend(backend))
			var inside, most, wrong atomic.Int64
			server := newServer(t, framework.build(attempts, outcomes{counts: failed}, func(w http.ResponseWriter, r *http.Request) {
				now := inside.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
				}
				if r.URL.Query().Get("password") != "right" {
					wrong.Add(1)
				}
				login(w, r)
				inside.Add(-1)
			}))
			if got := atOnce(t, 50, server, func(int) string { return "/?password=wrong" }); got[401] != 5 || got[429] != 45 || wrong.Load() != 5 {
				t.Errorf("50 wrong passwords: %v, %d tried; want five", got, wrong.Load())
			}
			clock.Advance(time.Minute)
			got := atOnce(t, 50, server, func(i int) string {
				return "/?password=" + []string{"wrong", "right", "right", "right", "right", "right", "right", "right", "right", "right"}[i%10]
			})
			if used := usedUp(t, attempts); used != int64(got[401]) || got[401] > 5 || got[200]+got[401]+got[429] != 50 {
				t.Errorf("five wrong among 50: %v, and %d are charged; want as many as were answered 401", got, used)
			}
			for left := 5 - got[401]; left > 0; left-- {
				if status := statusOf(t, server, "/?password=right"); status != 200 {
					t.Errorf("status %d with %d failures left, want 200", status, left)
				}
				if status := statusOf(t, server, "/?password=wrong"); status != 401 {
					t.Errorf("status %d with %d failures left, want 401", status, left)
				}
			}
			if status := statusOf(t, server, "/?password=right"); status != 429 {
				t.Errorf("status %d after five failures, want 429", status)
			}
			if most.Load() > 5 {
				t.Errorf("%d attempts were under way at once, want at most five", most.Load())
			}
		})
	}
}

// A request is refunded although the client is gone, and stays charged for a failure whose
// answer nobody waited for. The store refuses calls whose context ended.
func TestCountOnlyOfAClientThatIsGone(t *testing.T) {
	t.Parallel()
	for name, framework := range limited {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, _ := store(t)
			attempts := limit(t, "login", "5/min", traffik.WithBackend(backend))
			ended := make(chan struct{}, 1)
			entered := make(chan struct{}, 1)
			inner := framework.build(attempts, outcomes{counts: failed}, func(w http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				<-r.Context().Done()
				if r.URL.Path == "/wrong" {
					w.WriteHeader(http.StatusUnauthorized)
				}
				if r.URL.Path == "/panic" {
					panic(http.ErrAbortHandler)
				}
			})
			server := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { ended <- struct{}{} }()
				inner.ServeHTTP(w, r)
			}))
			for _, c := range []struct {
				path string
				want int64
			}{{"/nothing", 0}, {"/panic", 0}, {"/wrong", 1}} {
				leave(t, server.URL+c.path, entered)
				<-ended
				if got := usedUp(t, attempts); got != c.want {
					t.Errorf("%s: %d failures are charged, want %d", c.path, got, c.want)
				}
			}
		})
	}
}

// The charge of a handler that panics is refunded before the panic goes on.
func TestCountOnlyOfAPanic(t *testing.T) {
	t.Parallel()
	for name, framework := range limited {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, _ := store(t)
			attempts := limit(t, "login", "5/min", traffik.WithBackend(backend))
			handler := framework.build(attempts, outcomes{counts: failed}, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/late" {
					w.WriteHeader(http.StatusUnauthorized)
					_ = http.NewResponseController(w).Flush()
				}
				panic("handler")
			})
			for want, path := range []string{"/early", "/late"} {
				func() {
					defer func() {
						if got := recover(); got != "handler" {
							t.Errorf("%s: recovered %v, want the handler's panic", path, got)
						}
					}()
					r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
					r.RemoteAddr = "127.0.0.1:1"
					handler.ServeHTTP(httptest.NewRecorder(), r)
				}()
				if got := usedUp(t, attempts); got != int64(want) {
					t.Errorf("%s: %d failures are charged, want %d", path, got, want)
				}
			}
		})
	}
}

// A request over the limit is passed on to a handler that serves what it has in
// its cache, or denies after all.
func TestPassOn(t *testing.T) {
	t.Parallel()
	for name, framework := range limited {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, _ := store(t)
			items := limit(t, "items", "1/h", traffik.WithBackend(backend))
			server := newServer(t, framework.build(items, outcomes{passOn: true}, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case httptraffik.VerdictFrom(r.Context()).Allowed():
					_, _ = io.WriteString(w, "fresh")
				case r.URL.Path == "/cached":
					_, _ = io.WriteString(w, "cached")
				case !framework.deny(w, r):
					t.Error("Deny left a request over the limit alone")
				}
			}))
			for _, want := range []struct {
				path, body, retry string
				status            int
			}{{"/cached", "fresh", "", 200}, {"/cached", "cached", "", 200}, {"/denied", "", "2800", 429}} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+want.path, nil)
				if err != nil {
					t.Fatal(err)
				}
				res, err := server.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode != want.status || want.body != "" && string(body) != want.body || res.Header.Get("Retry-After") != want.retry {
					t.Errorf("%s: status %d, body %q, Retry-After %q; want %+v", want.path, res.StatusCode, body, res.Header.Get("Retry-After"), want)
				}
				if res.Header.Get("X-RateLimit-Remaining") != "0" {
					t.Errorf("%s: headers %v", want.path, res.Header)
				}
			}
		})
	}
}

// Gin: the verdict in its context, a status without a body, errors and aborts.
func TestGinOutcomes(t *testing.T) {
	t.Parallel()
	backend, _ := store(t)
	attempts := limit(t, "login", "2/h", traffik.WithBackend(backend))
	e := gin.New()
	var errs []string
	e.Use(func(c *gin.Context) {
		c.Next()
		errs = append(errs, c.Errors.Errors()...)
	})
	e.Use(traffikgin.New(attempts, traffikgin.CountOnly(failed), traffikgin.PassOn()))
	e.GET("/:how", func(c *gin.Context) {
		switch {
		case !traffikgin.VerdictFrom(c).Allowed():
			if !traffikgin.Deny(c) || !c.IsAborted() {
				t.Error("Deny did not abort the chain")
			}
		case c.Param("how") == "status":
			c.Status(http.StatusUnauthorized)
		case c.Param("how") == "abort":
			_ = c.AbortWithError(http.StatusUnauthorized, errors.New("wrong password"))
		}
		if traffikgin.Deny(c) != (c.Writer.Status() == 429) {
			t.Error("Deny of a request within its limits")
		}
	})
	server := newServer(t, e)
	for i, want := range []struct {
		path   string
		status int
	}{{"/right", 200}, {"/status", 401}, {"/abort", 401}, {"/right", 429}} {
		if got := statusOf(t, server, want.path); got != want.status {
			t.Errorf("attempt %d, %s: status %d, want %d", i+1, want.path, got, want.status)
		}
	}
	if !slices.Equal(errs, []string{"wrong password"}) {
		t.Errorf("c.Errors held %q", errs)
	}
}

// Echo: the status of an error if nothing was sent.
func TestEchoOutcomes(t *testing.T) {
	t.Parallel()
	backend, _ := store(t)
	// With ByErrorHandler the status of the error handler counts, else that of the error.
	teapot := func(err error, c echo.Context) {
		if !c.Response().Committed {
			_ = c.String(http.StatusTeapot, err.Error())
		}
	}
	for i, c := range []struct {
		err     error
		options []traffikecho.Option
		handler echo.HTTPErrorHandler
		want    int
	}{
		{err: nil, want: 200},
		{err: echo.ErrUnauthorized, want: 401},
		{err: fmt.Errorf("login: %w", echo.ErrUnauthorized), want: 500},
		{err: echo.NewHTTPError(500).SetInternal(echo.ErrUnauthorized), want: 401},
		{err: errors.New("database"), want: 500},
		{err: echo.ErrUnauthorized, handler: teapot, want: 401},
		{err: echo.ErrUnauthorized, handler: teapot, options: []traffikecho.Option{traffikecho.ByErrorHandler()}, want: 418},
	} {
		seen, outer := 0, error(nil)
		e := echo.New()
		if c.handler != nil {
			e.HTTPErrorHandler = c.handler
		}
		e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(ctx echo.Context) error {
				outer = next(ctx)
				return outer
			}
		})
		e.Use(traffikecho.New(limit(t, fmt.Sprint("echo", i), "5/h", traffik.WithBackend(backend)),
			append(c.options, traffikecho.CountOnly(func(status int) bool { seen = status; return true }))...))
		e.GET("/", func(echo.Context) error { return c.err })
		if sent := statusOf(t, newServer(t, e), "/"); sent != seen && (c.handler == nil || c.options != nil) {
			t.Errorf("%v counts as %d and is answered with %d", c.err, seen, sent)
		}
		if seen != c.want || !errors.Is(outer, c.err) {
			t.Errorf("%v counts as %d, and reaches outer middleware as %v; want %d and the error itself", c.err, seen, outer, c.want)
		}
	}
}

// Echo: denials as errors for the application's error handler.
func TestEchoByErrorHandler(t *testing.T) {
	t.Parallel()
	backend, _ := store(t)
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		var denied *traffikecho.DeniedError
		var httpErr *echo.HTTPError
		if !errors.As(err, &denied) || !errors.As(err, &httpErr) {
			t.Errorf("the error handler got %v", err)
			return
		}
		_ = c.String(httpErr.Code, "slow down: "+denied.Verdict.Tightest().UID())
	}
	e.GET("/", func(c echo.Context) error { return c.NoContent(http.StatusOK) },
		traffikecho.New(limit(t, "items", "1/h", traffik.WithBackend(backend)), traffikecho.ByErrorHandler()))
	server := newServer(t, e)
	statusOf(t, server, "/")
	res, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 429 || string(body) != "slow down: items" || res.Header.Get("Retry-After") == "" {
		t.Errorf("status %d, body %q, headers %v; want the error handler's answer with our headers", res.StatusCode, body, res.Header)
	}
	if text := (&traffikecho.DeniedError{}).Error(); !strings.Contains(text, "over the limit") {
		t.Errorf("the error reads %q", text)
	}
}
