package websockets

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/labstack/echo/v4"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffik "github.com/traffik-go/traffik/core"
)

// echoFor echoes what the limit admits for from, after release: by then the
// framework has used its context for another request.
func echoFor(ws *websocket.Conn, from *traffik.Request, limit traffik.Limiter, release <-chan struct{}) {
	defer func() { _ = ws.CloseNow() }()
	<-release
	conn := traffikws.Wrap(ws, from, limit)
	for {
		kind, data, err := conn.Read(from.Context)
		if err != nil {
			return
		}
		if conn.Write(from.Context, kind, data) != nil {
			return
		}
	}
}

func ginRooms(limit traffik.Limiter, release <-chan struct{}) http.Handler {
	router := gin.New()
	router.Use(func(c *gin.Context) { c.Set("user", c.Query("user")) })
	router.GET("/rooms/:room", func(c *gin.Context) {
		ws, err := websocket.Accept(c.Writer, c.Request, nil)
		if err != nil {
			return
		}
		go echoFor(ws, traffikgin.Detach(c), limit, release)
	})
	return router
}

func echoRooms(limit traffik.Limiter, release <-chan struct{}) http.Handler {
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			c.Set("user", c.QueryParam("user"))
			return next(c)
		}
	})
	e.GET("/rooms/:room", func(c echo.Context) error {
		ws, err := websocket.Accept(c.Response(), c.Request(), nil)
		if err != nil {
			return err
		}
		go echoFor(ws, traffikecho.Detach(c, "user"), limit, release)
		return nil
	})
	return e
}

// The messages of a connection find the path parameters, the keys and the route
// of the framework's context, also when that serves others already.
func TestIdentityFromTheFramework(t *testing.T) {
	t.Parallel()
	for name, rooms := range map[string]func(traffik.Limiter, <-chan struct{}) http.Handler{"gin": ginRooms, "echo": echoRooms} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit, _ := newLimit(t, "1/d", traffik.WithIdentifier(traffik.Combine(traffik.ByParam("room"), traffik.ByValue("user"), traffik.ByRoute())))
			release := make(chan struct{})
			open := sync.OnceFunc(func() { close(release) })
			server := serve(t, rooms(limit, release))
			t.Cleanup(open)
			var clients []*client
			for _, path := range []string{"/rooms/red?user=alice", "/rooms/red?user=bob", "/rooms/blue?user=alice"} {
				clients = append(clients, dialPath(t, server, path))
			}
			for range 10 {
				res, err := server.client.Get(server.url + "/rooms/other?user=eve") // refused, but routed
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
			}
			open()
			for i, c := range clients {
				c.say("1", "2")
				if got := c.hear(); got != "1" {
					t.Errorf("client %d heard %q, want its first message", i, got)
				}
				if got := c.hear(); !strings.Contains(got, "rate_limit") {
					t.Errorf("client %d heard %q, want a notice for the second", i, got)
				}
			}
		})
	}
}

// A key that echo's Detach was not told to keep stops messages instead of
// counting everybody as nobody.
func TestKeyNotNamed(t *testing.T) {
	t.Parallel()
	verdicts := make(chan traffik.Verdict, 1)
	limit, _ := newLimit(t, "1/d", traffik.WithIdentifier(traffik.ByValue("user")))
	e := echo.New()
	e.GET("/", func(c echo.Context) error {
		c.Set("user", "alice")
		v, err := traffikws.NewMeter(traffikecho.Detach(c, "tenant"), limit).Allow(c.Request().Context(), traffikws.Message{Type: 1})
		verdicts <- v
		return err
	})
	server := serve(t, e)
	res, err := server.client.Get(server.url)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if v := <-verdicts; !v.Failed() || !strings.Contains(v.Err().Error(), "keyNotNamedInDetach") {
		t.Errorf("the verdict %+v, error %v; want a failure that names the mistake", v, v.Err())
	}
}
