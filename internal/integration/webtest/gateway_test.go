package webtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// gateways put limits before a reverse proxy: below each framework, and by echo's own
// proxy.
func gateways() []gateway {
	list := []gateway{{"echo's Proxy", func(_ app, limit traffik.Limiter, upstream *url.URL) http.Handler {
		e := echo.New()
		e.Use(traffikecho.New(limit), echomiddleware.Proxy(echomiddleware.NewRandomBalancer([]*echomiddleware.ProxyTarget{{URL: upstream}})))
		return e
	}}}
	for _, f := range frameworks {
		list = append(list, gateway{f.name, func(a app, limit traffik.Limiter, upstream *url.URL) http.Handler {
			proxy := httputil.NewSingleHostReverseProxy(upstream)
			proxy.FlushInterval = -1
			a.engine, a.handler = limit, proxy.ServeHTTP
			return f.build(a)
		}})
	}
	return list
}

type gateway struct {
	name  string
	build func(a app, limit traffik.Limiter, upstream *url.URL) http.Handler
}

// serve starts the gateway before a service, and returns its client.
func (g gateway) serve(t *testing.T, a app, limit traffik.Limiter, service http.Handler) *client {
	t.Helper()
	upstream := httptest.NewServer(service)
	t.Cleanup(upstream.Close)
	transport := http.DefaultTransport.(*http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g.build(a, limit, target))
	t.Cleanup(server.Close)
	return &client{t: t, server: server}
}

func eachGateway(t *testing.T, run func(t *testing.T, g gateway)) {
	t.Helper()
	for _, g := range gateways() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			run(t, g)
		})
	}
}

// limitLines are the headers of limits of a response, each value on a line.
func limitLines(h http.Header) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if strings.Contains(strings.ToLower(name), "ratelimit") || strings.HasPrefix(name, "X-My") || name == "Retry-After" {
			for _, value := range h[name] {
				all = append(all, name+": "+value)
			}
		}
	}
	return all
}

// A gateway and the service behind it both limit: the client gets one value of each header,
// that of the tighter limit, or that of the service if the service denies.
func TestGatewayHeaders(t *testing.T) {
	t.Parallel()
	custom := traffik.CustomHeaders(func(h http.Header, v traffik.Verdict) {
		h.Set("X-My-Limit", v.Tightest().UID())
	}, "X-My-Limit")
	for _, c := range []struct {
		name           string
		set            traffik.HeaderSet
		outer, service string // rates
		first, denied  []string
	}{
		{
			"tighter service", traffik.XRateLimitHeaders, "100/10s", "2/10s",
			[]string{"X-Ratelimit-Limit: 2", "X-Ratelimit-Remaining: 1", "X-Ratelimit-Reset: 10"},
			[]string{"Retry-After: 10", "X-Ratelimit-Limit: 2", "X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: 10"},
		},
		{
			"tighter gateway", traffik.XRateLimitHeaders, "2/10s", "100/10s",
			[]string{"X-Ratelimit-Limit: 2", "X-Ratelimit-Remaining: 1", "X-Ratelimit-Reset: 10"},
			[]string{"Retry-After: 10", "X-Ratelimit-Limit: 2", "X-Ratelimit-Remaining: 0", "X-Ratelimit-Reset: 10"},
		},
		{
			"draft 10", traffik.DraftHeaders10, "100/10s", "2/10s",
			[]string{`Ratelimit: "gateway";r=99;t=10, "service";r=1;t=10`, `Ratelimit-Policy: "gateway";q=100;w=10, "service";q=2;w=10`},
			[]string{`Ratelimit: "service";r=0;t=10`, `Ratelimit-Policy: "service";q=2;w=10`, "Retry-After: 10"},
		},
		{
			"draft 11", traffik.DraftHeaders11, "100/10s", "2/10s",
			[]string{`Ratelimit: "gateway";r=99;t=10, "service";r=1;t=10`, `Ratelimit-Policy: "gateway";q=100;w=10, "service";q=2;w=10`},
			[]string{`Ratelimit: "service";r=0;t=10`, `Ratelimit-Policy: "service";q=2;w=10`, "Retry-After: 10"},
		},
		{
			"names", traffik.NamedHeaders("X-My-Limit", "X-My-Left", ""), "100/10s", "2/10s",
			[]string{"X-My-Left: 1", "X-My-Limit: 2"},
			[]string{"Retry-After: 10", "X-My-Left: 0", "X-My-Limit: 2"},
		},
		{"custom", custom, "100/10s", "2/10s", []string{"X-My-Limit: gateway"}, []string{"Retry-After: 10", "X-My-Limit: service"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			eachGateway(t, func(t *testing.T, g gateway) {
				backend, _ := store(t)
				opts := []traffik.Option{traffik.WithBackend(backend), traffik.WithHeaders(c.set), traffik.WithIdentifier(traffik.Shared())}
				service := httptraffik.New(limit(t, "service", c.service, opts...))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.WriteString(w, "hello")
				}))
				cl := g.serve(t, app{}, limit(t, "gateway", c.outer, opts...), service)
				if got := limitLines(cl.wantStatus(http.StatusOK).header); !slices.Equal(got, c.first) {
					t.Errorf("admitted by both: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.first, "\n"))
				}
				cl.wantStatus(http.StatusOK)
				got := cl.wantStatus(http.StatusTooManyRequests)
				if got := limitLines(got.header); !slices.Equal(got, c.denied) {
					t.Errorf("denied: got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.denied, "\n"))
				}
				want := "service"
				if c.name == "tighter gateway" {
					want = "gateway"
				}
				if p := got.problem(t); !slices.Equal(p.Violated, []string{want}) {
					t.Errorf("the body names %v, the headers are those of %s", p.Violated, want)
				}
			})
		})
	}
}

// Three layers, and several uses in the first, still leave one value.
func TestGatewayOfGateways(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		backend, _ := store(t)
		opts := []traffik.Option{traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared())}
		service := httptest.NewServer(httptraffik.New(limit(t, "service", "5/h", opts...))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		defer service.Close()
		defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		target, err := url.Parse(service.URL)
		if err != nil {
			t.Fatal(err)
		}
		middle := httptest.NewServer(httptraffik.New(limit(t, "middle", "50/h", opts...))(httputil.NewSingleHostReverseProxy(target)))
		defer middle.Close()
		if target, err = url.Parse(middle.URL); err != nil {
			t.Fatal(err)
		}
		c := f.serve(t, app{
			engine: limit(t, "engine", "500/h", opts...), group: limit(t, "group", "60/h", opts...), route: limit(t, "route", "70/h", opts...),
			counts:  func(int) bool { return true },
			handler: httputil.NewSingleHostReverseProxy(target).ServeHTTP,
		})
		got := limitLines(c.wantStatus(http.StatusOK).header)
		if want := []string{"X-Ratelimit-Limit: 5", "X-Ratelimit-Remaining: 4"}; len(got) != 3 || !slices.Equal(got[:2], want) {
			t.Errorf("got\n%s\nwant those of the service", strings.Join(got, "\n"))
		}
	})
}

// ways are how a service may answer besides a status and a body.
var ways = map[string]http.HandlerFunc{
	"without a body": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	"nothing at all": func(http.ResponseWriter, *http.Request) {},
	"stream": func(w http.ResponseWriter, _ *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "event\n")
			_ = http.NewResponseController(w).Flush()
		}
	},
	"early hints": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
	},
	"large": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) },
	"error": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) },
}

func TestGatewayKeepsHowTheServiceAnswers(t *testing.T) {
	t.Parallel()
	for name, answer := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachGateway(t, func(t *testing.T, g gateway) {
				backend, _ := store(t)
				opts := []traffik.Option{traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared())}
				service := limit(t, "service", "5/h", opts...)
				c := g.serve(t, app{}, limit(t, "gateway", "50/h", opts...), httptraffik.New(service)(answer))
				direct := httptest.NewRecorder()
				answer(direct, httptest.NewRequest(http.MethodGet, "/", nil))
				got := c.get()
				if name != "early hints" && (got.status != direct.Code || got.body != direct.Body.String()) {
					t.Errorf("got %d and %d bytes, want %d and %d", got.status, len(got.body), direct.Code, direct.Body.Len())
				}
				if got := limitLines(got.header); len(got) != 3 || got[0] != "X-Ratelimit-Limit: 5" {
					t.Errorf("got\n%s\nwant three headers, those of the service", strings.Join(got, "\n"))
				}
			})
		})
	}
}

// An upgraded connection has its header sent by the proxy itself.
func TestGatewayUpgrade(t *testing.T) {
	t.Parallel()
	eachGateway(t, func(t *testing.T, g gateway) {
		backend, _ := store(t)
		opts := []traffik.Option{traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared())}
		service := httptraffik.New(limit(t, "service", "5/h", opts...))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			left := w.Header().Get("X-RateLimit-Remaining")
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"+
				"X-RateLimit-Limit: 5\r\nX-RateLimit-Remaining: %s\r\nX-RateLimit-Reset: 9\r\n\r\nhello", left)
		}))
		for _, counts := range []func(int) bool{nil, func(int) bool { return true }} {
			c := g.serve(t, app{counts: counts}, limit(t, "gateway", "50/h", opts...), service)
			var dialer net.Dialer
			conn, err := dialer.DialContext(t.Context(), "tcp", c.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(conn, "GET /api/users/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if got := limitLines(res.Header); res.StatusCode != 101 || len(got) != 3 || got[0] != "X-Ratelimit-Limit: 5" {
				t.Errorf("status %d, headers\n%s\nwant 101 and the service's", res.StatusCode, strings.Join(got, "\n"))
			}
		}
	})
}

// An independent parser reads what both drafts write, whatever the uids.
func TestDraftHeadersAreStructuredFields(t *testing.T) {
	t.Parallel()
	uids := []string{"api:items", `quo"te`, `back\slash`, "tab\there", "日", "本", "%E6%97%A5", "a,b;c=1", "bad\xffutf8", strings.Repeat("x", 3000), strings.Repeat("x", 3001)}
	for name, set := range map[string]traffik.HeaderSet{"10": traffik.DraftHeaders10, "11": traffik.DraftHeaders11} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend, _ := store(t)
			var limits []traffik.Limiter
			for _, uid := range uids {
				for i, strategy := range []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}} {
					limits = append(limits, limit(t, fmt.Sprintf("%s/%d", uid, i), "5/1500ms", traffik.WithBackend(backend), traffik.WithHeaders(set), traffik.WithStrategy(strategy)))
				}
			}
			rec := httptest.NewRecorder()
			httptraffik.New(traffik.All(limits...))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).
				ServeHTTP(rec, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil))
			for _, field := range []string{"RateLimit-Policy", "RateLimit"} {
				list, err := httpsfv.UnmarshalList(rec.Header().Values(field))
				if err != nil || len(list) != len(limits) {
					t.Fatalf("%s: %d items, error %v; want %d", field, len(list), err, len(limits))
				}
				names := map[string]bool{}
				for _, member := range list {
					item, _ := member.(httpsfv.Item)
					name, ok := item.Value.(string)
					if !ok || names[name] {
						t.Errorf("%s: the item %v is no String, or has a name twice", field, item.Value)
					}
					names[name] = true
					for _, param := range item.Params.Names() {
						value, _ := item.Params.Get(param)
						if n, ok := value.(int64); !ok || n < 0 {
							t.Errorf("%s: %s=%v, want an Integer of 0 or more", field, param, value)
						}
					}
				}
			}
		})
	}
}
