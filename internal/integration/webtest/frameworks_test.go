// Package webtest drives the middleware of every framework over a real listener
// with a real client: one suite for all of them.
package webtest

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"
	"go.uber.org/goleak"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

// app is a server with one route below a group, and limits at any level. Nil
// limits are left out.
type app struct {
	engine, group, route traffik.Limiter
	before               func(http.Header) // sets response headers before any limit
	handler              http.HandlerFunc
	// teapot makes denials 418 through the framework's own types.
	teapot bool
	// preflights charges CORS preflights.
	preflights bool
	// maxHold bounds how long a request is held, unless nil.
	maxHold *time.Duration
	// counts says which statuses count, unless nil.
	counts func(status int) bool
	// outside and inside are other middleware, of the framework's own kind: before
	// all limits, and between them and the handler.
	outside, inside []plugin
}

// framework serves an app: GET, HEAD, POST and OPTIONS of /api/users/{id}.
type framework struct {
	name  string
	build func(a app) http.Handler
	route string // the pattern as the framework writes it
}

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions}

var frameworks = []framework{
	{name: "net/http", build: buildHTTP, route: "/api/users/{id}"},
	{name: "chi", build: buildChi, route: "/api/users/{id}"},
	{name: "gin", build: buildGin, route: "/api/users/:id"},
	{name: "echo", build: buildEcho, route: "/api/users/:id"},
}

func (a app) setBefore(h http.Header) {
	if a.before != nil {
		a.before(h)
	}
}

func buildHTTP(a app) http.Handler {
	opts := []httptraffik.Option{}
	if a.teapot {
		opts = append(opts, httptraffik.OnDenied(func(w http.ResponseWriter, _ *http.Request, _ traffik.Verdict) {
			w.WriteHeader(http.StatusTeapot)
		}))
	}
	if a.preflights {
		opts = append(opts, httptraffik.CountPreflight())
	}
	if a.maxHold != nil {
		opts = append(opts, httptraffik.MaxHold(*a.maxHold))
	}
	if a.counts != nil {
		opts = append(opts, httptraffik.CountOnly(a.counts))
	}
	wrap := func(limit traffik.Limiter, next http.Handler) http.Handler {
		if limit == nil {
			return next
		}
		return httptraffik.New(limit, opts...)(next)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/users/{id}", wrap(a.group, wrap(a.route, plug(a.inside, a.handler))))
	outer := plug(a.outside, wrap(a.engine, mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.setBefore(w.Header())
		outer.ServeHTTP(w, r)
	})
}

func buildChi(a app) http.Handler {
	opts := []traffikchi.Option{}
	if a.teapot {
		opts = append(opts, traffikchi.OnDenied(func(w http.ResponseWriter, _ *http.Request, _ traffik.Verdict) {
			w.WriteHeader(http.StatusTeapot)
		}))
	}
	if a.preflights {
		opts = append(opts, traffikchi.CountPreflight())
	}
	if a.maxHold != nil {
		opts = append(opts, traffikchi.MaxHold(*a.maxHold))
	}
	if a.counts != nil {
		opts = append(opts, traffikchi.CountOnly(a.counts))
	}
	use := func(r chi.Router, limit traffik.Limiter) {
		if limit != nil {
			r.Use(traffikchi.New(limit, opts...))
		}
	}
	root := chi.NewRouter()
	root.Use(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a.setBefore(w.Header())
			next.ServeHTTP(w, r)
		})
	})
	for _, p := range a.outside {
		root.Use(p.http)
	}
	use(root, a.engine)
	root.Route("/api", func(api chi.Router) {
		use(api, a.group)
		api.Group(func(route chi.Router) {
			use(route, a.route)
			for _, method := range methods {
				route.Method(method, "/users/{id}", plug(a.inside, a.handler))
			}
		})
	})
	return root
}

func buildGin(a app) http.Handler {
	opts := []traffikgin.Option{}
	if a.teapot {
		opts = append(opts, traffikgin.OnDenied(func(c *gin.Context, _ traffik.Verdict) { c.String(http.StatusTeapot, "") }))
	}
	if a.preflights {
		opts = append(opts, traffikgin.CountPreflight())
	}
	if a.maxHold != nil {
		opts = append(opts, traffikgin.MaxHold(*a.maxHold))
	}
	if a.counts != nil {
		opts = append(opts, traffikgin.CountOnly(a.counts))
	}
	use := func(r gin.IRoutes, limit traffik.Limiter) {
		if limit != nil {
			r.Use(traffikgin.New(limit, opts...))
		}
	}
	engine := gin.New()
	engine.Use(func(c *gin.Context) { a.setBefore(c.Writer.Header()) })
	for _, p := range a.outside {
		engine.Use(p.gin)
	}
	use(engine, a.engine)
	api := engine.Group("/api")
	use(api, a.group)
	route := api.Group("")
	use(route, a.route)
	for _, p := range a.inside {
		route.Use(p.gin)
	}
	for _, method := range methods {
		route.Handle(method, "/users/:id", func(c *gin.Context) { a.handler(c.Writer, c.Request) })
	}
	return engine
}

func buildEcho(a app) http.Handler {
	opts := []traffikecho.Option{}
	if a.teapot {
		opts = append(opts, traffikecho.OnDenied(func(c echo.Context, _ traffik.Verdict) error { return c.NoContent(http.StatusTeapot) }))
	}
	if a.preflights {
		opts = append(opts, traffikecho.CountPreflight())
	}
	if a.maxHold != nil {
		opts = append(opts, traffikecho.MaxHold(*a.maxHold))
	}
	if a.counts != nil {
		opts = append(opts, traffikecho.CountOnly(a.counts))
	}
	var at []echo.MiddlewareFunc
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			a.setBefore(c.Response().Header())
			return next(c)
		}
	})
	for _, p := range a.outside {
		e.Use(p.echo)
	}
	if a.engine != nil {
		e.Use(traffikecho.New(a.engine, opts...))
	}
	api := e.Group("/api")
	if a.group != nil {
		api.Use(traffikecho.New(a.group, opts...))
	} else {
		// Any middleware makes echo answer 404 for the group itself, also where
		// another method would be allowed.
		api.Use(func(next echo.HandlerFunc) echo.HandlerFunc { return next })
	}
	if a.route != nil {
		at = append(at, traffikecho.New(a.route, opts...))
	}
	for _, p := range a.inside {
		at = append(at, p.echo)
	}
	api.Match(methods, "/users/:id", func(c echo.Context) error {
		a.handler(c.Response(), c.Request())
		return nil
	}, at...)
	return e
}

// everywhere runs a test with every framework.
func everywhere(t *testing.T, run func(t *testing.T, f framework)) {
	t.Helper()
	for _, f := range frameworks {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			run(t, f)
		})
	}
}

// serve starts a on a real listener.
func (f framework) serve(t *testing.T, a app) *client {
	t.Helper()
	if a.handler == nil {
		a.handler = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }
	}
	server := httptest.NewServer(f.build(a))
	t.Cleanup(server.Close)
	return &client{t: t, server: server}
}
