package httptraffik_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// newQueue is a queue in which the second request waits for 100 seconds.
func newQueue(t *testing.T, uid string, opts ...traffik.Option) *traffik.Throttle {
	t.Helper()
	backend, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	queue, err := traffik.New(uid, "36/h", append([]traffik.Option{
		traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared()), traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: 9}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return queue
}

// remaining returns how many units a queue has left.
func remaining(t *testing.T, queue *traffik.Throttle) int64 {
	t.Helper()
	stat, err := queue.Key("shared:").Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stat.Remaining
}

// A request that can't wait for its turn is denied at once and refunded, and its
// Retry-After is when it could wait.
func TestHoldRefusedAtOnce(t *testing.T) {
	t.Parallel()
	upload := func(size int) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size)))
		return r
	}
	get := func() *http.Request { return httptest.NewRequest(http.MethodGet, "/", nil) }
	within := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	}
	for name, c := range map[string]struct {
		server   *http.Server // by its timeouts
		deadline func(context.Context) (context.Context, context.CancelFunc)
		maxHold  time.Duration
		request  func() *http.Request
		held     time.Duration
		wait     string // Retry-After, "" if the request is served
	}{
		"no timeouts":                     {maxHold: time.Hour, held: 100 * time.Second},
		"write timeout":                   {server: &http.Server{WriteTimeout: 50 * time.Second}, maxHold: time.Hour, wait: "55"},
		"the bound is beyond it":          {server: &http.Server{WriteTimeout: 30 * time.Second}, maxHold: 30 * time.Second, wait: "73"},
		"the bound is within it":          {server: &http.Server{WriteTimeout: 50 * time.Second}, maxHold: 30 * time.Second, held: 30 * time.Second},
		"a tenth is kept":                 {server: &http.Server{WriteTimeout: 110 * time.Second}, maxHold: time.Hour, wait: "1"},
		"nine tenths are enough":          {server: &http.Server{WriteTimeout: 112 * time.Second}, maxHold: time.Hour, held: 100 * time.Second},
		"nothing is held":                 {server: &http.Server{WriteTimeout: time.Second}, maxHold: 0},
		"read timeout without a body":     {server: &http.Server{ReadTimeout: 50 * time.Second}, maxHold: time.Hour, held: 100 * time.Second},
		"read timeout and a small body":   {server: &http.Server{ReadTimeout: 50 * time.Second}, request: func() *http.Request { return upload(16 << 10) }, maxHold: time.Hour, held: 100 * time.Second},
		"read timeout and a large body":   {server: &http.Server{ReadTimeout: 50 * time.Second}, request: func() *http.Request { return upload(16<<10 + 1) }, maxHold: time.Hour, wait: "55"},
		"read timeout and a waiting body": {server: &http.Server{ReadTimeout: 50 * time.Second}, request: func() *http.Request { r := upload(9); r.Header.Set("Expect", "100-continue"); return r }, maxHold: time.Hour, wait: "55"},
		"deadline":                        {deadline: within(60 * time.Second), maxHold: time.Hour, wait: "41"},
		"a later deadline":                {deadline: within(101 * time.Second), maxHold: time.Hour, held: 100 * time.Second},
		"the deadline is the turn":        {deadline: within(100 * time.Second), maxHold: time.Hour, wait: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				queue, served := newQueue(t, "queue"), 0
				handler := httptraffik.New(queue, httptraffik.MaxHold(c.maxHold))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					served++
					if b, err := io.ReadAll(r.Body); int64(len(b)) != r.ContentLength || err != nil {
						t.Errorf("a body of %d bytes, error %v; want %d", len(b), err, r.ContentLength)
					}
				}))
				send := func() *httptest.ResponseRecorder {
					r := get()
					if c.request != nil {
						r = c.request()
					}
					ctx := context.WithValue(t.Context(), http.ServerContextKey, c.server)
					if c.deadline != nil {
						var cancel context.CancelFunc
						ctx, cancel = c.deadline(ctx)
						defer cancel()
					}
					rec := httptest.NewRecorder()
					handler.ServeHTTP(rec, r.WithContext(ctx))
					return rec
				}
				send() // its turn is now
				start := time.Now()
				rec := send()
				if took := time.Since(start); took != c.held {
					t.Errorf("answered after %v, want %v", took, c.held)
				}
				if got := rec.Header().Get("Retry-After"); got != c.wait {
					t.Errorf("Retry-After %q, want %q", got, c.wait)
				}
				if c.wait == "" {
					if rec.Code != http.StatusOK || served != 2 {
						t.Errorf("status %d, served %d; want both", rec.Code, served)
					}
					return
				}
				if rec.Code != http.StatusTooManyRequests || served != 1 || !strings.Contains(rec.Body.String(), `"violated-policies":["queue"]`) {
					t.Errorf("status %d, body %s, served %d; want 429 and the first alone", rec.Code, rec.Body, served)
				}
				if got := rec.Header().Get("X-RateLimit-Remaining"); got != "0" {
					t.Errorf("X-RateLimit-Remaining %s beside a denial, want 0", got)
				}
				if got := remaining(t, queue); got != 8 {
					t.Errorf("%d of 9 units are left, want 8: the refused one is refunded", got)
				}
				// Retry-After is enough.
				var wait int
				_, _ = fmt.Sscan(c.wait, &wait)
				<-time.After(time.Duration(wait) * time.Second)
				if rec := send(); rec.Code != http.StatusOK {
					t.Errorf("after %d s: %d, Retry-After %s; want to be held and served", wait, rec.Code, rec.Header().Get("Retry-After"))
				}
			})
		})
	}
}

// Several uses that hold one request share what its server allows.
func TestHoldsAddUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outer, inner := newQueue(t, "outer"), newQueue(t, "inner")
		for _, queue := range []*traffik.Throttle{outer, inner} {
			if _, err := queue.Key("shared:").Hit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		hold := httptraffik.MaxHold(60 * time.Second)
		handler := httptraffik.New(outer, hold)(httptraffik.New(inner, hold)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error("served after two holds of 60 s under a timeout of 100 s")
		})))
		ctx := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{WriteTimeout: 100 * time.Second})
		rec, start := httptest.NewRecorder(), time.Now()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
		if took := time.Since(start); took != 60*time.Second || rec.Code != http.StatusTooManyRequests {
			t.Errorf("%d after %v, want 429 when the second hold would begin", rec.Code, took)
		}
	})
}

// A queue that is longer than requests can be held serves at its rate under overload: a
// refused request takes no turn from one that can wait.
func TestOverloadOfALongQueue(t *testing.T) {
	t.Parallel()
	const seconds = 5
	within := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	}
	timeout := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithValue(ctx, http.ServerContextKey, &http.Server{WriteTimeout: time.Second}), func() {}
	}
	for name, c := range map[string]struct {
		rate     int64
		clients  int
		store    time.Duration
		maxHold  time.Duration
		ends     func(context.Context) (context.Context, context.CancelFunc)
		capacity int64
	}{
		"write timeout":               {10, 20, 2 * time.Millisecond, time.Minute, timeout, 100},
		"deadline":                    {10, 20, 2 * time.Millisecond, time.Minute, within(time.Second), 100},
		"deadline and a slow store":   {100, 300, 20 * time.Millisecond, time.Minute, within(time.Second), 1000},
		"deadline just after MaxHold": {100, 300, 20 * time.Millisecond, time.Second, within(1010 * time.Millisecond), 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				slow := traffiktest.Break(memory)
				slow.Slow(c.store)
				queue := traffik.MustNew("queue", traffik.Per(c.rate, time.Second), traffik.WithBackend(slow), traffik.WithIdentifier(traffik.Shared()),
					traffik.WithStrategy(&traffik.LeakyBucketWithQueue{Capacity: c.capacity})) // a pointer to it is the same
				var served atomic.Int64
				handler := httptraffik.New(queue, httptraffik.MaxHold(c.maxHold))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if r.Context().Err() == nil {
						served.Add(1)
					}
				}))
				var clients sync.WaitGroup
				start := time.Now()
				for i := range c.clients {
					clients.Go(func() {
						<-time.After(time.Duration(i) * 777 * time.Microsecond)
						for time.Since(start) < seconds*time.Second {
							ctx, cancel := c.ends(t.Context())
							rec := httptest.NewRecorder()
							handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
							cancel()
							if rec.Code == http.StatusTooManyRequests {
								<-time.After(10 * time.Millisecond)
							}
						}
					})
				}
				clients.Wait()
				// The last ones are still held when the time is over.
				if got := served.Load(); got < c.rate*seconds || got > c.rate*(seconds+1) {
					t.Errorf("%d requests were served in %d s and what was held then, want %d a second", got, seconds, c.rate)
				}
			})
		})
	}
}

// All throttles of a gate refund the request when one of them would hold it too long; only
// that one denies, and a handler under PassOn sees that.
func TestHoldRefusedInAGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		queue, window := newQueue(t, "queue"), newLimit(t, "5/h")
		gate := traffik.All(window, queue)
		var outcomes []traffik.Outcome
		handler := httptraffik.New(gate, httptraffik.PassOn())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			v := httptraffik.VerdictFrom(r.Context())
			if v.Delay() != 0 && !v.Allowed() {
				t.Errorf("a denial asks for a delay of %v", v.Delay())
			}
			outcomes = nil
			for _, res := range v.Results() {
				outcomes = append(outcomes, res.Outcome)
			}
			httptraffik.Deny(w, r)
		}))
		send := func() *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			ctx := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{WriteTimeout: 10 * time.Second})
			handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
			return rec
		}
		send()
		rec := send()
		if want := []traffik.Outcome{traffik.Uncharged, traffik.Denied}; !slices.Equal(outcomes, want) || rec.Code != http.StatusTooManyRequests {
			t.Errorf("status %d, outcomes %v; want 429 and %v", rec.Code, outcomes, want)
		}
		if got := rec.Header().Get("Retry-After"); got != "91" {
			t.Errorf("Retry-After %q, want 91", got)
		}
		if got := remaining(t, window); got != 4 {
			t.Errorf("%d of 5 are left in the window, want 4", got)
		}
		if got := remaining(t, queue); got != 8 {
			t.Errorf("%d of 9 are left in the queue, want 8", got)
		}
	})
}

// requests are what a client may have sent when it leaves.
var requests = map[string]string{
	"without a body": "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"unread body":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nten bytes.",
	"half a body":    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nten b",
	"body of 16 KiB": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16384\r\n\r\n" + strings.Repeat("x", 16384),
	"empty body":     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
}

// A client that leaves while its request is held is refunded, and its handler does not run,
// also if it sent a body that nobody read.
func TestHeldClientLeaves(t *testing.T) {
	t.Parallel()
	for name, text := range requests {
		for _, withTLS := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %t", name, withTLS), func(t *testing.T) {
				t.Parallel()
				queue := newQueue(t, "queue")
				if _, err := queue.Key("shared:").Hit(t.Context()); err != nil {
					t.Fatal(err)
				}
				held, ended := make(chan struct{}), make(chan struct{})
				giveUp, end := context.WithCancel(t.Context())
				limited := httptraffik.New(queue, httptraffik.MaxHold(time.Hour))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					t.Error("the handler ran for a client that had left")
				}))
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ctx, end := context.WithCancel(r.Context())
					defer end()
					defer context.AfterFunc(giveUp, end)()
					close(held)
					limited.ServeHTTP(w, r.WithContext(ctx))
					close(ended)
				}))
				if withTLS {
					server.StartTLS()
				} else {
					server.Start()
				}
				defer server.Close()
				defer end()
				conn := dial(t, server)
				if _, err := io.WriteString(conn, text); err != nil {
					t.Fatal(err)
				}
				<-held
				waitFor(t, "the request to be counted", func() bool { return remaining(t, queue) == 7 })
				_ = conn.Close()
				select {
				case <-ended:
				case <-time.After(20 * time.Second):
					t.Fatal("the request is still held for a client that has left")
				}
				if got := remaining(t, queue); got != 8 {
					t.Errorf("%d of 9 places are left, want 8", got)
				}
			})
		}
	}
}

func dial(t *testing.T, server *httptest.Server) net.Conn {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server.TLS != nil {
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a server of this test
	}
	return conn
}

func waitFor(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !reached(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// A body arrives as it was sent, whether it is read while the request is held, comes
// later, is cut off, or is waited for with 100 Continue; and so does the next request.
func TestHeldBody(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		head, now, later string
		want             string
		fails            bool
	}{
		"at once":      {"Content-Length: 5", "hello", "", "hello", false},
		"later":        {"Content-Length: 5", "he", "llo", "hello", false},
		"all later":    {"Content-Length: 5", "", "hello", "hello", false},
		"chunked":      {"Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", "", "hello", false},
		"large":        {"Content-Length: 100000", strings.Repeat("x", 50_000), strings.Repeat("y", 50_000), strings.Repeat("x", 50_000) + strings.Repeat("y", 50_000), false},
		"none":         {"Content-Length: 0", "", "", "", false},
		"100 Continue": {"Expect: 100-continue\r\nContent-Length: 5", "", "hello", "hello", false},
		"then no more": {"Content-Length: 5", "he", "\x00", "he", true}, // the client closes its side
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue := newQueue(t, "queue")
			if _, err := queue.Key("shared:").Hit(t.Context()); err != nil {
				t.Fatal(err)
			}
			entered := make(chan struct{}, 2)
			type reading struct {
				text string
				err  error
			}
			read := make(chan reading, 2)
			hold := httptraffik.MaxHold(20 * time.Millisecond)
			server := httptest.NewServer(httptraffik.New(queue, hold)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				entered <- struct{}{}
				b, err := io.ReadAll(r.Body)
				read <- reading{string(b), err}
			})))
			defer server.Close()
			conn := dial(t, server)
			defer func() { _ = conn.Close() }()
			_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s", c.head, c.now)
			<-entered // the hold is over
			if c.fails {
				_ = conn.(*net.TCPConn).CloseWrite()
			} else if _, err := io.WriteString(conn, c.later); err != nil {
				t.Fatal(err)
			}
			got := <-read
			if got.text != c.want || (got.err != nil) != c.fails {
				t.Errorf("the handler read %d bytes %.20q, error %v; want %d", len(got.text), got.text, got.err, len(c.want))
			}
			if c.fails {
				return
			}
			// The connection serves the next request.
			from := bufio.NewReader(conn)
			for i := range 2 {
				res, err := http.ReadResponse(from, nil)
				if err == nil && res.StatusCode == http.StatusContinue {
					res, err = http.ReadResponse(from, nil)
				}
				if err != nil || res.StatusCode != http.StatusOK {
					t.Fatalf("answer %d: %v, error %v", i, res, err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				if i == 0 {
					_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				}
			}
		})
	}
}

// broken is a body of middleware further out that fails, or panics.
type broken struct{ panics bool }

func (b broken) Read(p []byte) (int, error) {
	if b.panics {
		panic("broken body")
	}
	return copy(p, "ab"), errors.New("broken body")
}
func (broken) Close() error { return nil }

// longer is a body with more in it than the header says, such as one that unpacks.
func longer() io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte("hello world"))) }

// The handler sees what a body does.
func TestHeldBodyOfOtherMiddleware(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body      io.ReadCloser
		text, end string
	}{
		"fails":  {broken{}, "ab", "broken body"},
		"panics": {broken{panics: true}, "", "panic: broken body"},
		"longer": {longer(), "hello world", "<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				queue := newQueue(t, "queue")
				if _, err := queue.Key("shared:").Hit(t.Context()); err != nil {
					t.Fatal(err)
				}
				handler := httptraffik.New(queue)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					var text []byte
					var err error
					func() {
						defer func() {
							if p := recover(); p != nil {
								err = fmt.Errorf("panic: %v", p)
							}
						}()
						text, err = io.ReadAll(r.Body)
					}()
					if string(text) != c.text || fmt.Sprint(err) != c.end {
						t.Errorf("read %q, %v; want %q, %s", text, err, c.text, c.end)
					}
					if err := r.Body.Close(); err != nil {
						t.Error(err)
					}
				}))
				r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("hello"))
				r.Body = c.body
				handler.ServeHTTP(httptest.NewRecorder(), r)
			})
		})
	}
}
