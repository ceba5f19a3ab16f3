// Command paths prints the functions of the published modules that one request over Redis and
// one WebSocket message pass through. It counts them with coverage counters; the test of this
// package builds and runs it.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"runtime/coverage"
	"strings"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	gorilla "github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"

	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffikws "github.com/traffik-go/traffik/adapters/websocket"
	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: paths HOST:PORT of a Redis server; build it with -cover -covermode=atomic -coverpkg=github.com/traffik-go/traffik/...")
	}
	for name, path := range map[string]func() error{
		"request": func() error { return request(os.Args[1]) },
		"coder":   func() error { return message("coder", coder) },
		"gorilla": func() error { return message("gorilla", gorillaServer) },
	} {
		if err := path(); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
	}
}

// request follows a request from gin's middleware to Redis and back.
func request(addr string) error {
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer func() { _ = client.Close() }()
	backend, err := traffikredis.New(client, traffikredis.WithNamespace("paths"))
	if err != nil {
		return err
	}
	defer func() { _ = backend.Close() }()
	items, err := traffik.New("api:items", "100000/min", traffik.WithBackend(backend))
	if err != nil {
		return err
	}
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.GET("/items", traffikgin.New(items), func(c *gin.Context) { c.Status(http.StatusNoContent) })
	return follow("request", func() error {
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/items", http.NoBody))
		if w.Code != http.StatusNoContent || w.Header().Get("X-RateLimit-Remaining") == "" {
			return fmt.Errorf("status %d, headers %v", w.Code, w.Header())
		}
		return nil
	})
}

// message follows a message without Delay on the in-process store.
func message(name string, accept func(w http.ResponseWriter, r *http.Request, limit traffik.Limiter) (read func() error, err error)) error {
	limit, err := traffik.New("messages", "100000/min")
	if err != nil {
		return err
	}
	type accepted struct {
		read func() error
		err  error
	}
	conns, done := make(chan accepted, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read, err := accept(w, r, limit)
		conns <- accepted{read, err}
		<-done
	}))
	defer server.Close()
	defer close(done)
	client, answer, err := gorilla.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http"), nil)
	if err != nil {
		return err
	}
	defer func() { _, _ = client.Close(), answer.Body.Close() }()
	conn := <-conns
	if conn.err != nil {
		return conn.err
	}
	return follow(name, func() error {
		if err := client.WriteMessage(gorilla.TextMessage, []byte("hello")); err != nil {
			return err
		}
		return conn.read()
	})
}

func coder(w http.ResponseWriter, r *http.Request, limit traffik.Limiter) (func() error, error) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil, err
	}
	conn := traffikws.Wrap(ws, traffikws.From(r), limit)
	return func() error {
		_, _, err := conn.Read(context.Background())
		return err
	}, nil
}

func gorillaServer(w http.ResponseWriter, r *http.Request, limit traffik.Limiter) (func() error, error) {
	ws, err := new(gorilla.Upgrader).Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	conn := traffikws.WrapMessages(ws, traffikws.From(r), limit)
	return func() error {
		_, _, err := conn.ReadMessage()
		return err
	}, nil
}

var function = regexp.MustCompile(`^\s*github\.com/traffik-go/traffik/(\S+?\.go):\d+:\s+(\S+)\s+([\d.]+)%`)

// follow runs f three times and prints the functions that the third run passed through: the
// first two have made what is made once.
func follow(name string, f func() error) error {
	for range 2 {
		if err := f(); err != nil {
			return err
		}
	}
	if err := coverage.ClearCounters(); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "paths")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := coverage.WriteMetaDir(dir); err != nil {
		return err
	}
	if err := coverage.WriteCountersDir(dir); err != nil {
		return err
	}
	out, err := exec.CommandContext(context.Background(), "go", "tool", "covdata", "func", "-i", dir).CombinedOutput() //nolint:gosec // a directory of ours
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		match := function.FindStringSubmatch(line)
		if len(match) > 0 && match[3] != "0.0" && !strings.HasPrefix(match[1], "internal/integration/") {
			fmt.Println(name, match[1], match[2])
		}
	}
	return nil
}
