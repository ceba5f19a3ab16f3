package webtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// Five in ten seconds at each level of use: the sixth gets a Retry-After, and waiting that
// long is enough.
func TestDenial(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"engine", "group", "route"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, f framework) {
				backend, clock := store(t)
				items := limit(t, "api:items", "5/10s", traffik.WithBackend(backend))
				var a app
				switch level {
				case "engine":
					a.engine = items
				case "group":
					a.group = items
				case "route":
					a.route = items
				}
				c := f.serve(t, a)
				for left := 4; left >= 0; left-- {
					got := c.wantStatus(http.StatusOK)
					got.want(t, "X-RateLimit-Limit", "5")
					got.want(t, "X-RateLimit-Remaining", fmt.Sprint(left))
					got.want(t, "X-RateLimit-Reset", "10")
					got.want(t, "Retry-After", "")
					if got.body != "hello" {
						t.Errorf("body %q", got.body)
					}
				}
				got := c.wantStatus(http.StatusTooManyRequests)
				got.want(t, "X-RateLimit-Limit", "5")
				got.want(t, "X-RateLimit-Remaining", "0")
				got.want(t, "Retry-After", "10") // 9.5 s, rounded up
				p := got.problem(t)
				if p.Status != 429 || p.Type != "https://iana.org/assignments/http-problem-types#quota-exceeded" || !slices.Equal(p.Violated, []string{"api:items"}) {
					t.Errorf("problem %+v", p)
				}
				clock.Advance(10 * time.Second)
				c.wantStatus(http.StatusOK)
			})
		})
	}
}

// A request denied by the burst limit is not charged to the minute.
func TestGate(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		second := limit(t, "second", "3/s", traffik.WithBackend(backend))
		minute := limit(t, "minute", "20/min", traffik.WithBackend(backend))
		c := f.serve(t, app{route: traffik.All(second, minute)})
		for range 3 {
			c.wantStatus(http.StatusOK)
		}
		for range 2 {
			if p := c.wantStatus(http.StatusTooManyRequests).problem(t); !slices.Equal(p.Violated, []string{"second"}) {
				t.Errorf("violated %v, want the limit of the second", p.Violated)
			}
		}
		stat, err := minute.Key("ip:127.0.0.1").Stat(t.Context())
		if err != nil || stat.Remaining != 17 {
			t.Errorf("%d of the minute remaining, error %v; want 17", stat.Remaining, err)
		}
	})
}

// Uses on engine, group and route: identities once, one set of headers, and no
// throttle charged twice.
func TestNested(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		var calls atomic.Int64
		who := traffik.Identify("user", func(*traffik.Request) (string, error) {
			calls.Add(1)
			return "alice", nil
		})
		opts := []traffik.Option{traffik.WithBackend(backend), traffik.WithIdentifier(who)}
		whole := limit(t, "whole", "10/h", opts...)
		inner := limit(t, "inner", "4/h", opts...)
		var seen []string
		c := f.serve(t, app{
			engine: whole, group: traffik.All(whole, inner), route: inner,
			handler: func(_ http.ResponseWriter, r *http.Request) {
				for _, res := range httptraffik.VerdictFrom(r.Context()).Results() {
					seen = append(seen, fmt.Sprintf("%s %d", res.UID(), res.Remaining))
				}
			},
		})
		got := c.wantStatus(http.StatusOK)
		got.want(t, "X-RateLimit-Limit", "4")
		got.want(t, "X-RateLimit-Remaining", "3")
		if !slices.Equal(seen, []string{"whole 9", "inner 3"}) {
			t.Errorf("the handler saw %v, want each throttle once, charged once", seen)
		}
		if calls.Load() != 1 {
			t.Errorf("the identifier was called %d times for one request", calls.Load())
		}
	})
}

func TestForgedHeaders(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		c := f.serve(t, app{engine: limit(t, "ip", "2/h", traffik.WithBackend(backend))})
		for i := range 2 {
			c.wantStatus(http.StatusOK, fmt.Sprintf("X-Forwarded-For: 198.51.100.%d", i), fmt.Sprintf("X-Real-IP: 198.51.100.%d", i))
		}
		for _, forged := range []string{"X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP"} {
			c.wantStatus(http.StatusTooManyRequests, forged+": 198.51.100.77")
		}
		c.wantStatus(http.StatusTooManyRequests, "Forwarded: for=198.51.100.77")
	})
}

// Behind a trusted proxy the rightmost untrusted hop counts, over several header lines.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		who := traffik.ClientIP(traffik.WithTrustedProxies(traffik.Loopback, "10.0.0.0/8"))
		ip := limit(t, "ip", "2/h", traffik.WithBackend(backend), traffik.WithIdentifier(who))
		c := f.serve(t, app{engine: ip})
		// The client claims to be somebody else each time, to the left.
		c.wantStatus(http.StatusOK, "X-Forwarded-For: 192.0.2.9, 198.51.100.1", "X-Forwarded-For: 10.1.2.3")
		c.wantStatus(http.StatusOK, "X-Forwarded-For: 192.0.2.8", "X-Forwarded-For: 198.51.100.1, 10.1.2.3")
		c.wantStatus(http.StatusTooManyRequests, "X-Forwarded-For: 192.0.2.7", "X-Forwarded-For: 198.51.100.1")
		c.wantStatus(http.StatusOK, "X-Forwarded-For: 198.51.100.1, 198.51.100.2")
		// Another convention is not read.
		c.wantStatus(http.StatusTooManyRequests, "X-Forwarded-For: 198.51.100.1", "Forwarded: for=203.0.113.5")
	})
}

// Identities that only the framework knows.
func TestNativeIdentities(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		with := func(uid string, id *traffik.Identifier) traffik.Limiter {
			return limit(t, uid, "9/h", traffik.WithBackend(backend), traffik.WithIdentifier(id))
		}
		c := f.serve(t, app{route: traffik.All(
			with("param", traffik.ByParam("id")), with("route", traffik.ByRoute()),
			with("query", traffik.ByQuery("verbose")), with("cookie", traffik.ByCookie("session")), with("header", traffik.ByHeader("X-API-Key")),
		)})
		got := c.wantStatus(http.StatusOK, "Cookie: session=abc", "X-API-Key: secret")
		got.want(t, "X-RateLimit-Remaining", "8")
		for uid, identity := range map[string]string{"param": "42", "route": f.route, "query": "1"} {
			// Core's tests check the identities; here they have to come from the
			// native context.
			found := false
			for _, scheme := range []string{uid + ".id", uid, uid + ".verbose"} {
				stat, err := limit(t, uid, "9/h", traffik.WithBackend(backend)).Key(traffik.IdentityOf(scheme, identity)).Stat(t.Context())
				found = found || err == nil && stat.Remaining == 8
			}
			if !found {
				t.Errorf("%s: nothing was counted for %q", uid, identity)
			}
		}
	})
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		preflight := []string{"Origin: https://a.example", "Access-Control-Request-Method: GET"}
		c := f.serve(t, app{group: limit(t, "ip", "1/h", traffik.WithBackend(backend))})
		for range 3 {
			if got := c.send(http.MethodOptions, preflight...); got.status != http.StatusOK || got.header.Get("X-RateLimit-Limit") != "" {
				t.Errorf("a preflight got %d, headers %v", got.status, got.header)
			}
		}
		c.wantStatus(http.StatusOK)
		counting := f.serve(t, app{group: limit(t, "counted", "1/h", traffik.WithBackend(backend)), preflights: true})
		counting.send(http.MethodOptions, preflight...)
		counting.wantStatus(http.StatusTooManyRequests)
	})
}

func TestExempted(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		who := traffik.Identify("probe", func(*traffik.Request) (string, error) { return "", traffik.Exempted })
		c := f.serve(t, app{engine: limit(t, "exempt", "1/h", traffik.WithIdentifier(who))})
		for range 3 {
			got := c.wantStatus(http.StatusOK)
			got.want(t, "X-RateLimit-Limit", "")
		}
	})
}

// What was set before a denial stays, and the native handler may answer.
func TestDenialKeepsHeaders(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		before := func(h http.Header) { h.Set("Access-Control-Allow-Origin", "*") }
		ip := limit(t, "ip", "1/h", traffik.WithBackend(backend), traffik.WithHeaders(traffik.XRateLimitHeaders.Exposed()))
		c := f.serve(t, app{group: ip, before: before})
		c.wantStatus(http.StatusOK)
		got := c.wantStatus(http.StatusTooManyRequests)
		got.want(t, "Access-Control-Allow-Origin", "*")
		got.want(t, "Access-Control-Expose-Headers", "Retry-After, X-Ratelimit-Limit, X-Ratelimit-Remaining, X-Ratelimit-Reset")
		teapot := f.serve(t, app{group: ip, before: before, teapot: true})
		got = teapot.wantStatus(http.StatusTeapot)
		got.want(t, "Access-Control-Allow-Origin", "*")
		if got.header.Get("Retry-After") == "" {
			t.Error("the handler's answer has no Retry-After")
		}
	})
}

func TestHead(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		c := f.serve(t, app{group: limit(t, "ip", "1/h", traffik.WithBackend(backend))})
		c.send(http.MethodHead)
		got := c.send(http.MethodHead)
		if got.status != http.StatusTooManyRequests || got.body != "" || got.header.Get("Retry-After") == "" {
			t.Errorf("HEAD over the limit: %+v", got)
		}
	})
}

// A store that is down: open by default, 503 under FailClosed, the framework's
// error handling under Propagate.
func TestStoreDown(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		memory, _ := store(t)
		backend := traffiktest.Break(memory)
		backend.Fail(errors.New("down"))
		for policy, want := range map[traffik.ErrorPolicy]int{traffik.DefaultPolicy: 200, traffik.FailClosed: 503, traffik.Propagate: 503} {
			c := f.serve(t, app{group: limit(t, "ip", "1/h", traffik.WithBackend(backend), traffik.WithErrorPolicy(policy))})
			got := c.wantStatus(want)
			got.want(t, "Retry-After", "")
			got.want(t, "X-RateLimit-Limit", "")
		}
	})
}

// A panic of the handler reaches whoever recovers, here the server, which drops
// the connection.
func TestPanicPassesThrough(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		c := f.serve(t, app{
			group:   limit(t, "ip", "5/h", traffik.WithBackend(backend)),
			handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.server.URL+"/api/users/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.server.Client().Do(req)
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("status %d, want an aborted connection", res.StatusCode)
		}
	})
}

// Flushing and hijacking reach the connection through the middleware.
func TestStreamingAndHijacking(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		ip := limit(t, "ip", "50/h", traffik.WithBackend(backend))
		release := make(chan struct{})
		stream := f.serve(t, app{engine: ip, handler: func(w http.ResponseWriter, _ *http.Request) {
			if _, ok := w.(http.Hijacker); !ok {
				t.Errorf("%T is no http.Hijacker, which WebSocket libraries ask for", w)
			}
			if _, ok := w.(http.Flusher); !ok {
				t.Errorf("%T is no http.Flusher", w)
			}
			_, _ = io.WriteString(w, "first\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("Flush: %v", err)
			}
			<-release
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, stream.server.URL+"/api/users/1", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := stream.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		line, err := bufio.NewReader(res.Body).ReadString('\n')
		if err != nil || line != "first\n" {
			t.Errorf("read %q, %v while the handler was still at work", line, err)
		}
		close(release)

		hijack := f.serve(t, app{engine: ip, handler: func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Errorf("Hijack: %v", err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 299 Mine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = conn.Close()
		}})
		if got := hijack.get(); got.status != 299 {
			t.Errorf("status %d from a hijacked connection, want 299", got.status)
		}
	})
}

// queue asks every admitted draw to hold back for an hour.
type queue struct{ traffik.FixedWindow }

func (queue) ID() string { return "queue.1" }

func (q queue) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	next, dec := q.FixedWindow.Decide(dst, state, d)
	dec.Delay = time.Hour
	return next, dec
}

// A queueing strategy holds requests, up to a bound or not at all; the handler
// finds the delay either way.
func TestHold(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]time.Duration{"bounded": 30 * time.Millisecond, "off": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			everywhere(t, func(t *testing.T, f framework) {
				backend, _ := store(t)
				var delay time.Duration
				c := f.serve(t, app{
					group:   limit(t, "queue", "5/h", traffik.WithBackend(backend), traffik.WithStrategy(queue{})),
					maxHold: &bound,
					handler: func(_ http.ResponseWriter, r *http.Request) { delay = httptraffik.VerdictFrom(r.Context()).Delay() },
				})
				start := time.Now()
				c.wantStatus(http.StatusOK)
				if took := time.Since(start); took < bound || took > time.Minute || delay != time.Hour {
					t.Errorf("served after %v with a delay of %v in the verdict, want %v and an hour", took, delay, bound)
				}
			})
		})
	}
}

// A nil limiter panics when the server is wired.
func TestNilLimiter(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		var none *traffik.Throttle
		defer func() {
			if text, ok := recover().(string); !ok || !strings.Contains(text, "nil limiter") {
				t.Errorf("panic %q, want one that speaks of a nil limiter", text)
			}
		}()
		f.build(app{engine: none, handler: func(http.ResponseWriter, *http.Request) {}})
	})
}

func TestDraftHeaders(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		opts := []traffik.Option{traffik.WithBackend(backend), traffik.WithHeaders(traffik.DraftHeaders10)}
		c := f.serve(t, app{group: traffik.All(limit(t, "burst", "2/10s", opts...), limit(t, "daily", "100/d", opts...))})
		got := c.wantStatus(http.StatusOK)
		got.want(t, "RateLimit-Policy", `"burst";q=2;w=10, "daily";q=100;w=86400`)
		got.want(t, "RateLimit", `"burst";r=1;t=10, "daily";r=99;t=6400`)
	})
}
