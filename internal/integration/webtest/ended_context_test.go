package webtest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// journal is what an access log around a limit, a failure handler and a handler see of
// one request.
type journal struct {
	status         int
	failed, served bool
	ginErrors      int
}

// logged are stacks of the framework's access log, a limit and a handler. With answers, an
// error handler answers with 500.
var logged = map[string]func(limit traffik.Limiter, answers bool, j *journal) http.Handler{
	"net/http": func(limit traffik.Limiter, answers bool, j *journal) http.Handler {
		return chimiddleware.RequestLogger(chiLog{j})(httptraffik.New(limit, httpErrors(answers, j)...)(j.handler()))
	},
	"chi": func(limit traffik.Limiter, answers bool, j *journal) http.Handler {
		r := chi.NewRouter()
		r.Use(chimiddleware.RequestLogger(chiLog{j}), traffikchi.New(limit, httpErrors(answers, j)...))
		r.Get("/", j.handler())
		return r
	},
	"gin": func(limit traffik.Limiter, answers bool, j *journal) http.Handler {
		var opts []traffikgin.Option
		if answers {
			opts = append(opts, traffikgin.OnError(func(c *gin.Context, _ error) { j.failed = true; c.Status(http.StatusInternalServerError) }))
		}
		r := gin.New()
		r.Use(gin.LoggerWithFormatter(func(p gin.LogFormatterParams) string { j.status = p.StatusCode; return "" }))
		r.Use(func(c *gin.Context) { c.Next(); j.ginErrors = len(c.Errors) })
		r.Use(traffikgin.New(limit, opts...))
		r.GET("/", gin.WrapH(j.handler()))
		return r
	},
	"echo": func(limit traffik.Limiter, answers bool, j *journal) http.Handler {
		var opts []traffikecho.Option
		if answers {
			opts = append(opts, traffikecho.OnError(func(c echo.Context, _ error) error {
				j.failed = true
				return c.NoContent(http.StatusInternalServerError)
			}))
		}
		e := echo.New()
		e.Use(echomiddleware.RequestLoggerWithConfig(echomiddleware.RequestLoggerConfig{
			LogStatus: true, HandleError: true,
			LogValuesFunc: func(_ echo.Context, v echomiddleware.RequestLoggerValues) error { j.status = v.Status; return nil },
		}), traffikecho.New(limit, opts...))
		e.GET("/", echo.WrapHandler(j.handler()))
		return e
	},
}

func (j *journal) handler() http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		j.served = true
		w.WriteHeader(http.StatusNoContent)
	}
}

func httpErrors(answers bool, j *journal) []httptraffik.Option {
	if !answers {
		return nil
	}
	return []httptraffik.Option{httptraffik.OnError(func(w http.ResponseWriter, _ *http.Request, _ error) {
		j.failed = true
		w.WriteHeader(http.StatusInternalServerError)
	})}
}

// chiLog is the access log of chi.
type chiLog struct{ j *journal }

func (l chiLog) NewLogEntry(*http.Request) chimiddleware.LogEntry { return l }
func (l chiLog) Write(status, _ int, _ http.Header, _ time.Duration, _ any) {
	l.j.status = status
}
func (l chiLog) Panic(any, []byte) {}

// held asks every admitted request to hold back for three seconds.
type held struct{ traffik.FixedWindow }

func (held) ID() string { return "held.1" }

func (s held) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	next, dec := s.FixedWindow.Decide(dst, state, d)
	dec.Delay = 3 * time.Second
	return next, dec
}

// A client that leaves is no error of the server, wherever its request is then. A
// deadline that passes while the store is asked is the store's failure, and one that had
// passed before keeps its answer, since the client still waits.
func TestEndedContextsInAccessLogs(t *testing.T) {
	t.Parallel()
	gone := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(time.Second, cancel)
		return ctx, cancel
	}
	goneBefore := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx, cancel
	}
	late := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Second)
	}
	lateBefore := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, -time.Second)
	}
	policy := traffik.WithErrorPolicy
	for name, c := range map[string]struct {
		end    func(context.Context) (context.Context, context.CancelFunc)
		opts   []traffik.Option
		hangs  bool // the store
		status int
		served bool
		failed bool // the handler of errors is asked
	}{
		"gone before":                        {goneBefore, nil, false, 499, false, false},
		"gone while held":                    {gone, []traffik.Option{traffik.WithStrategy(held{})}, false, 499, false, false},
		"gone while the store is asked":      {gone, []traffik.Option{policy(traffik.FailOpen)}, true, 499, false, false},
		"gone, closed":                       {gone, []traffik.Option{policy(traffik.FailClosed)}, true, 499, false, false},
		"gone, propagate":                    {gone, []traffik.Option{policy(traffik.Propagate)}, true, 499, false, false},
		"gone, report only":                  {gone, []traffik.Option{traffik.WithReportOnly()}, true, 499, false, false},
		"deadline at the store, default":     {late, nil, true, 204, true, false},
		"deadline at the store, report only": {late, []traffik.Option{policy(traffik.FailClosed), traffik.WithReportOnly()}, true, 204, true, false},
		"deadline at the store, closed":      {late, []traffik.Option{policy(traffik.FailClosed)}, true, 503, false, false},
		"deadline at the store, propagate":   {late, []traffik.Option{policy(traffik.Propagate)}, true, 503, false, true},
		"deadline before":                    {lateBefore, nil, false, 503, false, true},
	} {
		for framework, stack := range logged {
			for _, answers := range []bool{false, true} {
				t.Run(name+"/"+framework, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						memory, err := traffik.NewMemory()
						if err != nil {
							t.Fatal(err)
						}
						store := traffiktest.Break(memory)
						if c.hangs {
							store.Slow(time.Hour)
						}
						limit, err := traffik.New("ended", "5/d", append(c.opts, traffik.WithBackend(store))...)
						if err != nil {
							t.Fatal(err)
						}
						ctx, cancel := c.end(t.Context())
						defer cancel()
						var j journal
						rec := httptest.NewRecorder()
						stack(limit, answers, &j).ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
						status := c.status
						if answers && c.failed {
							status = http.StatusInternalServerError
						}
						if j.status != status || j.served != c.served || j.failed != (c.failed && answers) {
							t.Errorf("%+v, want status %d, served %v, failed %v", j, status, c.served, c.failed && answers)
						}
						if status == 499 && (rec.Body.Len() > 0 || j.ginErrors > 0) {
							t.Errorf("%d bytes of body and %d errors for a client that is gone", rec.Body.Len(), j.ginErrors)
						}
					})
				})
			}
		}
	}
}
