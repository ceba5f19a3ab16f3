package benchmarks

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/didip/tollbooth/v7"
	"github.com/didip/tollbooth/v7/limiter"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/httprate"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/sethvargo/go-limiter/httplimit"
	golimiter "github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	ululegin "github.com/ulule/limiter/v3/drivers/middleware/gin"
	ululestd "github.com/ulule/limiter/v3/drivers/middleware/stdlib"
	ululememory "github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/time/rate"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
)

// Middleware is a limiter in front of a handler that sends an empty answer.
type Middleware struct {
	Name string
	Ours bool
	// New makes the whole server, without a limiter if Bare is set.
	Bare bool
	New  func(l Limit) http.Handler
}

// Frameworks are the routers whose middlewares are measured.
var Frameworks = []string{"gin", "echo", "chi"}

// Middlewares returns the middlewares for a framework, the bare handler first. All count
// client addresses.
func Middlewares(framework string) []Middleware {
	switch framework {
	case "gin":
		return ginMiddlewares()
	case "echo":
		return echoMiddlewares()
	default:
		return chiMiddlewares()
	}
}

func throttle(l Limit) *traffik.Throttle {
	return must(traffik.New("bench", traffik.Per(int64(l.Units), l.Period), traffik.WithBackend(must(traffik.NewMemory()))))
}

func perSecond(l Limit) float64 { return float64(l.Units) / l.Period.Seconds() }

func ginMiddlewares() []Middleware {
	gin.SetMode(gin.ReleaseMode)
	with := func(limit func(Limit) gin.HandlerFunc) func(Limit) http.Handler {
		return func(l Limit) http.Handler {
			e := gin.New()
			if limit != nil {
				e.Use(limit(l))
			}
			e.GET("/", func(c *gin.Context) { c.Status(http.StatusOK) })
			return e
		}
	}
	return []Middleware{
		{Name: "bare", Bare: true, New: with(nil)},
		{Name: "FixedWindow", Ours: true, New: with(func(l Limit) gin.HandlerFunc { return traffikgin.New(throttle(l)) })},
		{Name: "ulule", New: with(func(l Limit) gin.HandlerFunc { return ululegin.NewMiddleware(newUluleLimiter(l)) })},
	}
}

func newUluleLimiter(l Limit) *ulule.Limiter {
	return ulule.New(ululememory.NewStore(), ulule.Rate{Period: l.Period, Limit: int64(l.Units)})
}

func echoMiddlewares() []Middleware {
	with := func(limit func(Limit) echo.MiddlewareFunc) func(Limit) http.Handler {
		return func(l Limit) http.Handler {
			e := echo.New()
			if limit != nil {
				e.Use(limit(l))
			}
			e.GET("/", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
			return e
		}
	}
	return []Middleware{
		{Name: "bare", Bare: true, New: with(nil)},
		{Name: "FixedWindow", Ours: true, New: with(func(l Limit) echo.MiddlewareFunc { return traffikecho.New(throttle(l)) })},
		{Name: "echo", New: with(func(l Limit) echo.MiddlewareFunc {
			return middleware.RateLimiter(middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
				Rate: rate.Limit(perSecond(l)), Burst: l.Units,
			}))
		})},
	}
}

func chiMiddlewares() []Middleware {
	with := func(limit func(Limit) func(http.Handler) http.Handler) func(Limit) http.Handler {
		return func(l Limit) http.Handler {
			r := chi.NewRouter()
			if limit != nil {
				r.Use(limit(l))
			}
			r.Get("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
			return r
		}
	}
	type wrap = func(http.Handler) http.Handler
	return []Middleware{
		{Name: "bare", Bare: true, New: with(nil)},
		{Name: "FixedWindow", Ours: true, New: with(func(l Limit) wrap { return traffikchi.New(throttle(l)) })},
		{Name: "httprate", New: with(func(l Limit) wrap { return httprate.LimitBy(l.Units, l.Period, peer) })},
		{Name: "ulule", New: with(func(l Limit) wrap { return ululestd.NewMiddleware(newUluleLimiter(l)).Handler })},
		{Name: "sethvargo/go-limiter", New: with(func(l Limit) wrap {
			store := must(golimiter.New(&golimiter.Config{Tokens: uint64(l.Units), Interval: l.Period}))
			return must(httplimit.NewMiddleware(store, httplimit.IPKeyFunc())).Handle
		})},
		{Name: "tollbooth", New: with(func(l Limit) wrap {
			lmt := tollbooth.NewLimiter(perSecond(l), &limiter.ExpirableOptions{DefaultExpirationTTL: time.Hour})
			lmt.SetBurst(l.Units).SetIPLookups([]string{"RemoteAddr"})
			return func(next http.Handler) http.Handler { return tollbooth.LimitHandler(lmt, next) }
		})},
		{Name: "throttled", New: with(func(l Limit) wrap {
			lmt := must(throttled.NewGCRARateLimiterCtx(must(memstore.NewCtx(65_536)), throttled.RateQuota{
				MaxRate: throttled.PerDuration(l.Units, l.Period), MaxBurst: l.Units - 1,
			}))
			h := throttled.HTTPRateLimiterCtx{RateLimiter: lmt, VaryBy: &throttled.VaryBy{RemoteAddr: true}}
			return h.RateLimit
		})},
	}
}

// peer is the key of httprate for a server without a proxy in front.
func peer(r *http.Request) (string, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return httprate.CanonicalizeIP(host), err
}

// Check reports a middleware that doesn't limit, and a bare handler that does: five
// requests of one client have to pass.
func (m Middleware) Check() error {
	want := 5
	if m.Bare {
		want = 20
	}
	served := Serve(m, Limit{Units: 5, Period: time.Hour})
	if got := admitted(func() bool { return served.Status() == http.StatusOK }); got != want {
		return fmt.Errorf("%s: %d of 20 were admitted, want %d", m.Name, got, want)
	}
	return nil
}

// Served is a server under measurement, asked by one client again and again.
type Served struct {
	handler http.Handler
	request *http.Request
	writer  discard
}

// Serve makes m ready.
func Serve(m Middleware, l Limit) *Served {
	s := &Served{handler: m.New(l), request: httptest.NewRequest(http.MethodGet, "/", nil)} //nolint:noctx // served in process
	s.request.RemoteAddr = "192.0.2.1:1234"
	s.writer.header = http.Header{}
	return s
}

// Status serves a request and returns the status of the answer.
func (s *Served) Status() int {
	clear(s.writer.header)
	s.writer.status = http.StatusOK
	s.handler.ServeHTTP(&s.writer, s.request)
	return s.writer.status
}

// Round serves n requests and returns the nanoseconds per request.
func (s *Served) Round(n int) float64 {
	start := time.Now()
	for range n {
		s.Status()
	}
	return float64(time.Since(start)) / float64(n)
}

// discard is a ResponseWriter that keeps only the status.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
