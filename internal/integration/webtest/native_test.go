package webtest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

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
)

// native is a server made of a framework's own types, with a plugin at every level.
type native struct {
	name  string
	build func(s *site, plugged plugin) http.Handler
	paths []string
}

var natives = []native{
	{"net/http", nativeHTTP, []string{"/users/42?a=1", "/dir", "/form?a=1", "/none"}},
	{"chi", nativeChi, []string{"/users/42", "/users/42/", "/mounted/7", "/panic", "/post", "/none"}},
	{"gin", nativeGin, []string{
		"/api/error/1", "/api/denied/1", "/api/bind/1", "/api/stream/1", "/api/redirect/1", "/api/again/1", "/api/panic/1", "/api/copy/1", "/none",
	}},
	{"echo", nativeEcho, []string{"/api/http/1", "/api/plain/1", "/api/late/1", "/api/hooks/1", "/api/stream/1", "/api/panic/1", "/api/none", "/none"}},
}

// watch visits all paths.
func (n native) watch(t *testing.T, o *observation, limit plugin) *observation {
	t.Helper()
	s := open(t, http1, o, func(s *site) http.Handler { return s.seeEnd(n.build(s, limit)) })
	defer s.close()
	for _, path := range n.paths {
		s.note("client", "%s", path)
		s.note("outside", "%s", path)
		s.path(path)
	}
	s.close()
	return o
}

var (
	none = plugin{
		http: func(next http.Handler) http.Handler { return next },
		gin:  func(*gin.Context) {},
		echo: func(next echo.HandlerFunc) echo.HandlerFunc { return next },
	}
	// rude swallows errors and what is noted in the request.
	rude = plugin{
		http: detached.wrap,
		gin: func(c *gin.Context) {
			c.Next()
			c.Errors = nil
		},
		echo: func(next echo.HandlerFunc) echo.HandlerFunc {
			return func(c echo.Context) error {
				_ = next(c)
				return nil
			}
		},
	}
)

// limits are two throttles, which charge a request once however often they are used.
func (n native) limits(t *testing.T) plugin {
	t.Helper()
	limit := traffik.All(plenty(t, "a"), plenty(t, "b"))
	p := plugin{http: httptraffik.New(limit), gin: traffikgin.New(limit), echo: traffikecho.New(limit)}
	if n.name == "chi" {
		p.http = traffikchi.New(limit)
	}
	return p
}

// TestNativeTransparency compares what only a framework's own types show, with
// limits and without: what middleware before the limits sees afterwards, and
// what errors, aborts and hooks do.
func TestNativeTransparency(t *testing.T) {
	t.Parallel()
	for _, n := range natives {
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			bare := n.watch(t, newObservation(), none)
			wantSame(t, bare, n.watch(t, newObservation(documented...), n.limits(t)))
			bad := rude
			if n.name == "chi" {
				bad.http = hasty.wrap // its requests are copies as it is
			}
			if broken := n.watch(t, newObservation(), bad); broken.String() == bare.String() {
				t.Errorf("a rude middleware is not noticed; seen:\n%s", bare)
			}
		})
	}
}

// path visits another path of the site.
func (s *site) path(path string) {
	req := s.request(http.MethodGet, nil)
	req.URL.Path, req.URL.RawQuery, _ = strings.Cut(path, "?")
	s.finish(s.send(req)) //nolint:bodyclose // finish closes it
}

func nativeHTTP(s *site, plugged plugin) http.Handler {
	limit := plugged.http
	mux := http.NewServeMux()
	mux.Handle("GET /users/{id}", limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s of %s", r.PathValue("id"), r.Pattern)
	})))
	mux.HandleFunc("/dir/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /none", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/form", func(_ http.ResponseWriter, r *http.Request) { _ = r.ParseForm() })
	inner := limit(limit(mux))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		s.note("outside", "pattern %q, form %v, ended %v", r.Pattern, r.Form, r.Context().Err())
	})
}

func nativeChi(s *site, plugged plugin) http.Handler {
	limit := plugged.http
	root := chi.NewRouter()
	root.Use(chimiddleware.StripSlashes, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wrapped := chimiddleware.NewWrapResponseWriter(w, r.ProtoMajor)
			defer func() {
				routing := chi.RouteContext(r.Context())
				s.note("outside", "status %d, %d bytes, pattern %q, id %q, path %q", wrapped.Status(), wrapped.BytesWritten(), routing.RoutePattern(), routing.URLParam("id"), routing.RoutePath)
			}()
			next.ServeHTTP(wrapped, r)
		})
	}, limit, recoverHTTP)
	root.NotFound(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "mine", http.StatusNotFound) })
	root.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not so", http.StatusMethodNotAllowed) })
	users := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, chi.URLParam(r, "id")) }
	root.With(limit).Get("/users/{id}", users)
	root.Route("/mounted", func(r chi.Router) {
		r.Use(limit)
		r.Get("/{id}", users)
	})
	root.Get("/panic", func(http.ResponseWriter, *http.Request) { panic("on purpose") })
	root.Post("/post", users)
	return root
}

func nativeGin(s *site, plugged plugin) http.Handler {
	limit := plugged.gin
	engine := gin.New()
	engine.Use(func(c *gin.Context) {
		c.Next()
		s.note("outside", "status %d, size %d, written %t, aborted %t, errors %q, path %q, params %v, user %v, ended %v",
			c.Writer.Status(), c.Writer.Size(), c.Writer.Written(), c.IsAborted(), c.Errors.Errors(), c.FullPath(), c.Params, c.Keys["user"], c.Request.Context().Err())
	}, recovery.gin, limit)
	api := engine.Group("/api", limit, func(c *gin.Context) { c.Set("user", "alice") })
	handle := func(name string, handlers ...gin.HandlerFunc) {
		api.GET("/"+name+"/:id", append([]gin.HandlerFunc{limit}, handlers...)...)
	}
	fail := func(c *gin.Context) { _ = c.Error(errors.New("on purpose")) }
	handle("error", fail, fail, func(c *gin.Context) { c.Status(http.StatusBadGateway) })
	handle("denied", func(c *gin.Context) { c.AbortWithStatusJSON(http.StatusUnauthorized, gin.H{"who": c.Param("id")}) }, fail)
	handle("bind", func(c *gin.Context) { _ = c.BindJSON(new(int)) })
	handle("stream", func(c *gin.Context) {
		i := 0
		c.Stream(func(io.Writer) bool {
			i++
			c.SSEvent("tick", i)
			return i < 3
		})
	})
	handle("redirect", func(c *gin.Context) { c.Redirect(http.StatusSeeOther, "/else") })
	handle("again", func(c *gin.Context) {
		c.Request.URL.Path = "/api/error/2"
		engine.HandleContext(c)
	})
	handle("panic", func(*gin.Context) { panic("on purpose") })
	handle("copy", func(c *gin.Context) {
		later, answer := c.Copy(), make(chan string)
		go func() { answer <- fmt.Sprint(later.Param("id"), later.Keys["user"], later.Request.Context().Err()) }()
		c.String(http.StatusOK, <-answer)
	})
	return engine
}

func nativeEcho(s *site, plugged plugin) http.Handler {
	limit := plugged.echo
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) {
		s.note("error handler", "%v, committed %t", err, c.Response().Committed)
		e.DefaultHTTPErrorHandler(err, c)
	}
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			res := c.Response()
			s.note("outside", "error %v, status %d, size %d, committed %t, path %q, names %v, values %v, user %v, ended %v",
				err, res.Status, res.Size, res.Committed, c.Path(), c.ParamNames(), c.ParamValues(), c.Get("user"), c.Request().Context().Err())
			return err
		}
	}, recovery.echo, limit)
	api := e.Group("/api", limit, echomiddleware.RequestIDWithConfig(echomiddleware.RequestIDConfig{Generator: func() string { return "one" }}))
	handle := func(name string, h echo.HandlerFunc) { api.GET("/"+name+"/:id", h, limit) }
	handle("http", func(echo.Context) error { return echo.NewHTTPError(http.StatusTeapot, "short and stout") })
	handle("plain", func(echo.Context) error { return errors.New("on purpose") })
	handle("late", func(c echo.Context) error {
		c.Set("user", "alice")
		return errors.Join(c.String(http.StatusCreated, "written"), errors.New("too late"))
	})
	handle("hooks", func(c echo.Context) error {
		c.Response().Before(func() { c.Response().Header().Set("X-Before", "written") })
		c.Response().After(func() { s.note("hook", "after %d bytes", c.Response().Size) })
		return c.JSON(http.StatusOK, c.ParamValues())
	})
	handle("stream", func(c echo.Context) error {
		return c.Stream(http.StatusOK, "text/x-stream", strings.NewReader("streamed"))
	})
	handle("panic", func(echo.Context) error { panic("on purpose") })
	return e
}
