package webtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/labstack/echo/v4"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request.
func ask(t *testing.T, server *httptest.Server, req *http.Request) answer {
	t.Helper()
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func newRequest(t *testing.T, server *httptest.Server, method, path string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// isOneProblem reports whether text is one problem+json body and nothing else.
func isOneProblem(text string) bool {
	d := json.NewDecoder(strings.NewReader(text))
	var p struct {
		Type string `json:"type"`
	}
	return d.Decode(&p) == nil && p.Type != "" && errors.Is(d.Decode(new(any)), io.EOF)
}

// In every combination of modes and nested uses, a handler runs at most once and there is one
// body.
func TestOneRunAndOneBody(t *testing.T) {
	t.Parallel()
	for name, framework := range limited {
		for i := range 1 << 4 {
			o := outcomes{levels: 1 + i&1*2, passOn: i&2 != 0}
			if i&4 != 0 {
				o.counts = failed
			}
			if i&8 != 0 {
				o.denied = "denied"
			}
			t.Run(fmt.Sprintf("%s/%d levels, pass on %v, outcomes %v, own answer %v", name, o.levels, o.passOn, o.counts != nil, o.denied != ""), func(t *testing.T) {
				t.Parallel()
				backend, _ := store(t)
				store := traffiktest.Break(backend)
				items := limit(t, "items", "1/h", traffik.WithBackend(store), traffik.WithErrorPolicy(traffik.Propagate))
				var runs atomic.Int32
				server := newServer(t, framework.build(items, o, func(w http.ResponseWriter, r *http.Request) {
					runs.Add(1)
					if r.URL.Path == "/deny" && framework.deny(w, r) {
						return
					}
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = io.WriteString(w, "handler")
				}))
				for _, c := range []struct {
					path   string
					passed bool // the handler runs
					status int
				}{
					{"/", true, 401},
					{"/", o.passOn, map[bool]int{true: 401, false: 0}[o.passOn]},
					{"/deny", o.passOn, 0},
					{"/down", false, 503},
				} {
					if c.path == "/down" {
						store.Fail(errors.New("down"))
					}
					if c.status == 0 {
						c.status = map[bool]int{true: 418, false: 429}[o.denied != ""]
					}
					before := runs.Load()
					got := ask(t, server, newRequest(t, server, http.MethodGet, c.path, nil))
					if n := runs.Load() - before; n > 1 || (n == 1) != c.passed {
						t.Errorf("%s: the handler ran %d times", c.path, n)
					}
					want := map[int]bool{401: got.body == "handler", 418: got.body == "denied", 429: isOneProblem(got.body), 503: true}
					if got.status != c.status || !want[got.status] || strings.Count(got.body, "{") > 1 {
						t.Errorf("%s: status %d, body %q; want %d with one body", c.path, got.status, got.body, c.status)
					}
				}
			})
		}
	}
}

// stalling is a store whose refunds hang.
type stalling struct {
	traffik.Backend
	release chan struct{}
	given   chan error // how each call to refund ended
}

func newStalling(t *testing.T) *stalling {
	t.Helper()
	backend, _ := store(t)
	return &stalling{Backend: backend, release: make(chan struct{}), given: make(chan error, 10)}
}

func (s *stalling) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if ops[0].Draw.Cost > 0 {
		return s.Backend.Take(ctx, ops, out)
	}
	var err error
	select {
	case <-s.release:
		err = s.Backend.Take(ctx, ops, out)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.given <- err
	return err
}

// The answer comes before the store has taken the refund, and the store gets the refund later,
// in one call for both limits.
func TestASlowStoreHoldsNoResponseUp(t *testing.T) {
	t.Parallel()
	for name, framework := range limited {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stalled := newStalling(t)
			first, second := limit(t, "first", "5/min", traffik.WithBackend(stalled)), limit(t, "second", "5/h", traffik.WithBackend(stalled))
			server := newServer(t, framework.build(traffik.All(first, second), outcomes{counts: failed}, login))
			if got := statusOf(t, server, "/?password=right"); got != 200 {
				t.Errorf("status %d", got)
			}
			select {
			case err := <-stalled.given:
				t.Errorf("the answer waited for the store: %v", err)
			default:
			}
			close(stalled.release)
			if err := <-stalled.given; err != nil {
				t.Errorf("the refund ended with %v", err)
			}
			if a, b := usedUp(t, first), usedUp(t, second); a != 0 || b != 0 || len(stalled.given) != 0 {
				t.Errorf("%d and %d stay charged after one call, %d more were made", a, b, len(stalled.given))
			}
		})
	}
}

// Streams and hijacked connections are decided at once, whatever the handler does later.
func TestCountOnlyOfLongResponses(t *testing.T) {
	t.Parallel()
	hijack := func(w http.ResponseWriter) error {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	for name, framework := range limited {
		for does, c := range map[string]struct {
			do   func(w http.ResponseWriter) error
			want int
		}{
			"flush":      {func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil }, 200},
			"controller": {func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }, 200},
			"hijack":     {hijack, 101},
			"asserted": {func(w http.ResponseWriter) error {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil {
					err = conn.Close()
				}
				return err
			}, 101},
		} {
			t.Run(name+"/"+does, func(t *testing.T) {
				t.Parallel()
				backend, _ := store(t)
				items := limit(t, "items", "5/min", traffik.WithBackend(backend))
				asked, ended := []int(nil), make(chan struct{})
				server := newServer(t, framework.build(items, outcomes{counts: func(status int) bool {
					asked = append(asked, status)
					return false
				}}, func(w http.ResponseWriter, _ *http.Request) {
					defer close(ended)
					if before := usedUp(t, items); before != 1 {
						t.Errorf("%d charged at first", before)
					}
					if err := c.do(w); err != nil {
						t.Error(err)
					}
					if after := usedUp(t, items); after != 0 {
						t.Errorf("%d stay charged while the handler goes on", after)
					}
				}))
				res, err := server.Client().Do(newRequest(t, server, http.MethodGet, "/", nil))
				if err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				<-ended
				server.Close()
				if len(asked) != 1 || asked[0] != c.want {
					t.Errorf("asked about %v, want %d once", asked, c.want)
				}
			})
		}
	}
}

// The application's own Retry-After stays on requests that pass.
func TestPassOnKeepsRetryAfter(t *testing.T) {
	t.Parallel()
	everywhereLimited := func(name string, denies bool, want string) {
		t.Run(fmt.Sprintf("%s/denies %v", name, denies), func(t *testing.T) {
			t.Parallel()
			backend, _ := store(t)
			items := limit(t, "items", "1/h", traffik.WithBackend(backend))
			inner := limited[name].build(items, outcomes{passOn: true, levels: 2}, func(w http.ResponseWriter, r *http.Request) {
				if denies {
					limited[name].deny(w, r)
				}
			})
			server := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "17")
				inner.ServeHTTP(w, r)
			}))
			statusOf(t, server, "/")
			if got := ask(t, server, newRequest(t, server, http.MethodGet, "/", nil)); got.header.Get("Retry-After") != want {
				t.Errorf("Retry-After %q, want %q", got.header.Get("Retry-After"), want)
			}
		})
	}
	for name := range limited {
		everywhereLimited(name, false, "17")
		everywhereLimited(name, true, "2800")
	}
}

// A request that claims to be a preflight and brings a body is charged; a preflight
// is not.
func TestPreflightsWithABody(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		items := limit(t, "items", "5/h", traffik.WithBackend(backend))
		c := f.serve(t, app{engine: items})
		for i, body := range []io.Reader{nil, strings.NewReader("password=x"), io.MultiReader(strings.NewReader("password=x"))} {
			req := newRequest(t, c.server, http.MethodOptions, "/api/users/1", body)
			req.Header.Set("Origin", "https://a.example")
			req.Header.Set("Access-Control-Request-Method", "POST")
			ask(t, c.server, req)
			if got := usedUp(t, items); got != int64(i) {
				t.Errorf("after body %d: %d charged, want %d", i, got, i)
			}
		}
	})
}

// A response that is written past echo's counts with its status.
func TestEchoWrittenPastTheResponse(t *testing.T) {
	t.Parallel()
	backend, _ := store(t)
	for i, write := range []func(c echo.Context) error{
		func(c echo.Context) error { c.Response().Writer.WriteHeader(http.StatusUnauthorized); return nil },
		func(c echo.Context) error { c.Response().Unwrap().WriteHeader(http.StatusUnauthorized); return nil },
		func(c echo.Context) error {
			c.Response().Writer.WriteHeader(http.StatusUnauthorized)
			return errors.New("later")
		},
		func(c echo.Context) error {
			c.Response().Writer.WriteHeader(http.StatusUnauthorized)
			return c.NoContent(http.StatusOK) // superfluous
		},
	} {
		seen := 0
		e := echo.New()
		e.Use(traffikecho.New(limit(t, fmt.Sprint("past", i), "5/h", traffik.WithBackend(backend)),
			traffikecho.CountOnly(func(status int) bool { seen = status; return true })))
		e.GET("/", write)
		server := httptest.NewUnstartedServer(e)
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Start()
		t.Cleanup(server.Close)
		if sent := statusOf(t, server, "/"); sent != http.StatusUnauthorized || seen != sent {
			t.Errorf("case %d is answered with %d and counts as %d, want 401", i, sent, seen)
		}
	}
}

// Echo: several uses hand an error to the error handler once, and echo does so once more. A
// handler that looks at Committed answers once.
func TestEchoByErrorHandlerNested(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		looks bool
		asked int
		body  string
	}{"looks": {true, 2, "answer"}, "does not look": {false, 2, "answeranswer"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, _ := store(t)
			var asked, seen int
			e := echo.New()
			e.HTTPErrorHandler = func(_ error, ctx echo.Context) {
				asked++
				if !c.looks || !ctx.Response().Committed {
					_ = ctx.String(http.StatusTeapot, "answer")
				}
			}
			for _, uid := range []string{"a", "b", "c"} {
				e.Use(traffikecho.New(limit(t, uid, "5/h", traffik.WithBackend(backend)), traffikecho.ByErrorHandler(),
					traffikecho.CountOnly(func(status int) bool { seen = status; return true })))
			}
			e.GET("/", func(echo.Context) error { return errors.New("database") })
			server := newServer(t, e)
			if got := ask(t, server, newRequest(t, server, http.MethodGet, "/", nil)); got.body != c.body || asked != c.asked || seen != 418 {
				t.Errorf("body %q, the handler was asked %d times, counted as %d", got.body, asked, seen)
			}
		})
	}
}

// Deny of each framework's own answers as its middleware would have.
func TestDenyInTheFrameworksWay(t *testing.T) {
	t.Parallel()
	ginRouter := gin.New()
	ginRouter.GET("/", traffikgin.New(ones(t), traffikgin.PassOn(), traffikgin.OnDenied(func(c *gin.Context, v traffik.Verdict) {
		c.String(http.StatusTeapot, v.Tightest().UID())
	})), func(c *gin.Context) {
		if traffikgin.Deny(c) != c.IsAborted() {
			t.Error("gin: Deny did not abort the chain, or did for nothing")
		}
	})
	echoRouter := func(opts ...traffikecho.Option) http.Handler {
		e := echo.New()
		e.HTTPErrorHandler = func(err error, c echo.Context) {
			if c.Response().Committed {
				return
			}
			var denied *traffikecho.DeniedError
			if errors.As(err, &denied) {
				_ = c.String(http.StatusTeapot, denied.Verdict.Tightest().UID())
			}
		}
		e.GET("/", func(c echo.Context) error {
			traffikecho.Deny(c)
			return nil
		}, traffikecho.New(ones(t), append(opts, traffikecho.PassOn(), traffikecho.CountOnly(func(int) bool { return true }))...))
		return e
	}
	for name, handler := range map[string]http.Handler{
		"gin":              ginRouter,
		"echo, by handler": echoRouter(traffikecho.ByErrorHandler()),
		"echo, own answer": echoRouter(traffikecho.OnDenied(func(c echo.Context, v traffik.Verdict) error {
			return c.String(http.StatusTeapot, v.Tightest().UID())
		})),
		"echo, own error": echoRouter(traffikecho.OnDenied(func(_ echo.Context, v traffik.Verdict) error {
			return &traffikecho.DeniedError{Verdict: v}
		})),
		"echo, by handler, through net/http": func() http.Handler {
			e := echo.New()
			e.HTTPErrorHandler = func(_ error, c echo.Context) { _ = c.String(http.StatusTeapot, "ones") }
			e.GET("/", func(c echo.Context) error {
				httptraffik.Deny(c.Response(), c.Request())
				return nil
			}, traffikecho.New(ones(t), traffikecho.PassOn(), traffikecho.ByErrorHandler()))
			return e
		}(),
	} {
		server := newServer(t, handler)
		statusOf(t, server, "/")
		got := ask(t, server, newRequest(t, server, http.MethodGet, "/", nil))
		if got.status != http.StatusTeapot || got.body != "ones" || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: status %d, body %q, headers %v", name, got.status, got.body, got.header)
		}
	}
}

// ones is a limit of one an hour.
func ones(t *testing.T) *traffik.Throttle {
	t.Helper()
	backend, _ := store(t)
	return limit(t, "ones", "1/h", traffik.WithBackend(backend))
}
