package webtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// A hold that the server's timeouts would cut off is denied before the handler runs, in the
// framework's own way.
func TestHoldBeyondTheServersTimeouts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		write, read time.Duration
		size        int
		want        int
	}{
		"write timeout":               {time.Hour, 0, 0, http.StatusTooManyRequests},
		"write timeout, with a body":  {time.Hour, 0, 10, http.StatusTooManyRequests},
		"read timeout, large body":    {0, time.Hour, 50_000, http.StatusTooManyRequests},
		"timeouts that are no matter": {3 * time.Hour, 3 * time.Hour, 10, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, f framework) {
				backend, _ := store(t)
				bound := 2 * time.Hour
				if c.want == http.StatusOK {
					bound = time.Millisecond
				}
				held := limit(t, "queue", "5/h", traffik.WithBackend(backend), traffik.WithStrategy(queue{}))
				a := app{group: held, maxHold: &bound, handler: func(http.ResponseWriter, *http.Request) {
					if c.want != http.StatusOK {
						t.Error("the handler ran for a request whose answer would be lost")
					}
				}}
				for _, teapot := range []bool{false, true} {
					a.teapot = teapot
					server := httptest.NewUnstartedServer(f.build(a))
					server.Config.WriteTimeout, server.Config.ReadTimeout = c.write, c.read
					server.Start()
					t.Cleanup(server.Close)
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/api/users/1", zeros(c.size))
					if err != nil {
						t.Fatal(err)
					}
					req.ContentLength = int64(c.size)
					res, err := server.Client().Do(req)
					if err != nil {
						t.Fatal(err)
					}
					_ = res.Body.Close()
					want := c.want
					if want != http.StatusOK && teapot {
						want = http.StatusTeapot
					}
					if res.StatusCode != want {
						t.Errorf("teapot %t: %d, want %d", teapot, res.StatusCode, want)
					}
					if retry := res.Header.Get("Retry-After"); want != http.StatusOK && retry != "360" {
						t.Errorf("Retry-After %q, want the six minutes by which an hour is beyond nine tenths of one", retry)
					}
				}
				stat, err := held.Key("ip:127.0.0.1").Stat(t.Context())
				used := int64(0)
				if c.want == http.StatusOK {
					used = 2
				}
				if err != nil || stat.Limit-stat.Remaining != used {
					t.Errorf("%d units are in use, error %v; want %d", stat.Limit-stat.Remaining, err, used)
				}
			})
		})
	}
}

func zeros(n int) io.Reader {
	if n == 0 {
		return http.NoBody
	}
	return io.LimitReader(endless{}, int64(n))
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A client that hangs up while its request is held, with its body unread, is refunded and not
// served.
func TestHeldClientHangsUp(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		for _, body := range []string{"", "ten bytes."} {
			t.Run(fmt.Sprintf("%d bytes", len(body)), func(t *testing.T) {
				backend, _ := store(t)
				bound := time.Minute
				held := limit(t, "queue", "5/h", traffik.WithBackend(backend), traffik.WithStrategy(queue{}))
				handler := f.build(app{group: held, maxHold: &bound, handler: func(http.ResponseWriter, *http.Request) {
					t.Error("the handler ran for a client that had left")
				}})
				ended := make(chan struct{})
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer close(ended)
					handler.ServeHTTP(w, r)
				}))
				defer server.Close()
				used := func() int64 {
					stat, err := held.Key("ip:127.0.0.1").Stat(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return stat.Limit - stat.Remaining
				}
				var dialer net.Dialer
				conn, err := dialer.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				_, _ = fmt.Fprintf(conn, "POST /api/users/1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				for deadline := time.Now().Add(patience); used() == 0; <-time.After(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("the request was never counted")
					}
				}
				_ = conn.Close()
				select {
				case <-ended:
				case <-time.After(patience):
					t.Fatalf("body %q: still held for a client that has left", body)
				}
				if got := used(); got != 0 {
					t.Errorf("body %q: %d units are in use, want none", body, got)
				}
			})
		}
	})
}
