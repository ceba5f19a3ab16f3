package proxies

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// framework serves a limited route that answers with the headers it was sent.
type framework struct {
	name  string
	build func(limit traffik.Limiter) http.Handler
}

var netHTTP = framework{name: "net/http", build: func(limit traffik.Limiter) http.Handler {
	return httptraffik.New(limit)(http.HandlerFunc(answer))
}}

var frameworks = []framework{
	netHTTP,
	{name: "chi", build: func(limit traffik.Limiter) http.Handler {
		r := chi.NewRouter()
		r.Use(traffikchi.New(limit))
		r.Get("/", answer)
		return r
	}},
	{name: "gin", build: func(limit traffik.Limiter) http.Handler {
		e := gin.New()
		e.Use(traffikgin.New(limit))
		e.GET("/", func(c *gin.Context) { answer(c.Writer, c.Request) })
		return e
	}},
	{name: "echo", build: func(limit traffik.Limiter) http.Handler {
		e := echo.New()
		e.Use(traffikecho.New(limit))
		e.GET("/", func(c echo.Context) error {
			answer(c.Response(), c.Request())
			return nil
		})
		return e
	}},
}

func answer(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) }

// app is a running server.
type app struct {
	addr    string // or the path of its Unix socket
	limit   *traffik.Throttle
	backend *traffik.Memory
}

// limitOf is how many requests each client has. The bucket fills up by one in
// an hour, so nothing comes back while a test runs.
const limitOf = 14

// serve starts a server with a limit for each client that who identifies.
func (f framework) serve(t *testing.T, who *traffik.Identifier) app {
	t.Helper()
	return f.serveOn(t, who, "tcp", "127.0.0.1:0")
}

func (f framework) serveOnSocket(t *testing.T, who *traffik.Identifier) app {
	t.Helper()
	return f.serveOn(t, who, "unix", filepath.Join(t.TempDir(), "app"))
}

func (f framework) serveOn(t *testing.T, who *traffik.Identifier, network, addr string) app {
	t.Helper()
	backend, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	limit, err := traffik.New("behind", "1/h", traffik.WithStrategy(traffik.TokenBucket{Burst: limitOf}),
		traffik.WithIdentifier(who), traffik.WithBackend(backend))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: f.build(limit)}} //nolint:gosec // its clients are ours
	server.Start()
	t.Cleanup(server.Close)
	return app{addr: listener.Addr().String(), limit: limit, backend: backend}
}

// left returns how many requests the client at ip has left.
func (a app) left(t *testing.T, ip string) int64 {
	t.Helper()
	res, err := a.limit.Key("ip:" + ip).Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return res.Remaining
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
