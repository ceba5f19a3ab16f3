package webtest

import (
	"errors"
	"io"
	"net/http"

	gingzip "github.com/gin-contrib/gzip"
	"github.com/gin-gonic/gin"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"
)

// plugin is one kind of middleware for each framework.
type plugin struct {
	name string
	http func(http.Handler) http.Handler // for net/http and chi
	gin  gin.HandlerFunc
	echo echo.MiddlewareFunc
}

// plug wraps h in plugins, the first outermost.
func plug(plugins []plugin, h http.Handler) http.Handler {
	for i := len(plugins) - 1; i >= 0; i-- {
		h = plugins[i].http(h)
	}
	return h
}

// compression is that of chi, also for net/http, of gin and of echo. Chi's compresses the
// listed types.
var compression = plugin{
	name: "compression",
	http: chimiddleware.Compress(5, "text/plain", "text/event-stream", "application/problem+json"),
	gin:  gingzip.Gzip(gingzip.DefaultCompression),
	echo: echomiddleware.Gzip(),
}

// recovery answers a panic with 500.
var recovery = plugin{
	name: "recovery",
	http: recoverHTTP,
	gin:  gin.RecoveryWithWriter(io.Discard),
	echo: echomiddleware.RecoverWithConfig(echomiddleware.RecoverConfig{
		LogErrorFunc: func(_ echo.Context, err error, _ []byte) error { return err },
	}),
}

func recoverHTTP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			err, _ := p.(error)
			switch {
			case p == nil:
			case errors.Is(err, http.ErrAbortHandler):
				panic(p)
			default:
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
