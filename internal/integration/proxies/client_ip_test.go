package proxies

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
)

const (
	nginxAppend     = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
	nginxOverwrite  = "proxy_set_header X-Forwarded-For $remote_addr;"
	nginxRealIP     = "proxy_set_header X-Real-IP $remote_addr;"
	haproxyAppend   = "option forwardfor"
	haproxyDelete   = "http-request del-header X-Forwarded-For"
	haproxyRealIP   = "http-request set-header X-Real-IP %[src]"
	haproxyIfAbsent = "option forwardfor if-none"
)

// appends is the setting with which a proxy appends to X-Forwarded-For.
var appends = map[string]string{nginx.name: nginxAppend, haproxy.name: haproxyAppend}

// Each configuration that is recommended, with the options for it.
func TestTwoClientsHaveTwoBucketsWhateverTheySend(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name     string
		proxy    proxy
		settings []string
		opts     []traffik.ClientIPOption
	}{
		{name: "appending", proxy: nginx, settings: []string{nginxAppend}, opts: options(traffik.WithTrustedProxies(nginxAddr))},
		{name: "overwriting", proxy: nginx, settings: []string{nginxOverwrite}, opts: options(traffik.WithTrustedProxies(nginxAddr))},
		{
			name: "X-Real-IP", proxy: nginx, settings: []string{nginxRealIP},
			opts: options(traffik.WithTrustedProxies(nginxAddr), traffik.WithProxyHeader(traffik.XRealIP)),
		},
		{name: "one hop", proxy: nginx, settings: []string{nginxAppend}, opts: options(traffik.WithTrustedHops(1))},
		{name: "appending", proxy: haproxy, settings: []string{haproxyAppend}, opts: options(traffik.WithTrustedProxies(haproxyAddr))},
		{
			name: "overwriting", proxy: haproxy, settings: []string{haproxyDelete, haproxyAppend},
			opts: options(traffik.WithTrustedProxies(haproxyAddr)),
		},
		{
			name: "X-Real-IP", proxy: haproxy, settings: []string{haproxyRealIP},
			opts: options(traffik.WithTrustedProxies(haproxyAddr), traffik.WithProxyHeader(traffik.XRealIP)),
		},
		{name: "one hop", proxy: haproxy, settings: []string{haproxyAppend}, opts: options(traffik.WithTrustedHops(1))},
	} {
		t.Run(way.proxy.name+" "+way.name, func(t *testing.T) {
			t.Parallel()
			mustBeDocumented(t, way.settings)
			everywhere(t, func(t *testing.T, f framework) {
				a := f.serve(t, traffik.ClientIP(way.opts...))
				mustTellApart(t, a, way.proxy.start(t, a.addr, way.settings...))
			})
		})
	}
}

func options(opts ...traffik.ClientIPOption) []traffik.ClientIPOption { return opts }

func TestTwoProxiesInARow(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ outer, inner proxy }{{nginx, haproxy}, {haproxy, nginx}, {nginx, nginx}, {haproxy, haproxy}} {
		t.Run(row.outer.name+" before "+row.inner.name, func(t *testing.T) {
			t.Parallel()
			start := func(t *testing.T, f framework, opt traffik.ClientIPOption) (a app, addr string) {
				t.Helper()
				a = f.serve(t, traffik.ClientIP(opt))
				addr = row.inner.start(t, a.addr, appends[row.inner.name])
				return a, row.outer.start(t, addr, appends[row.outer.name])
			}
			t.Run("two hops", func(t *testing.T) {
				t.Parallel()
				everywhere(t, func(t *testing.T, f framework) {
					a, addr := start(t, f, traffik.WithTrustedHops(2))
					mustTellApart(t, a, addr)
				})
			})
			t.Run("both named", func(t *testing.T) {
				t.Parallel()
				everywhere(t, func(t *testing.T, f framework) {
					a, addr := start(t, f, traffik.WithTrustedProxies(nginxAddr, haproxyAddr))
					mustTellApart(t, a, addr)
				})
			})
			// One too few, and the outer proxy is taken for the only client.
			t.Run("one hop", func(t *testing.T) {
				t.Parallel()
				a, addr := start(t, netHTTP, traffik.WithTrustedHops(1))
				get(t, alice, addr, nil)
				get(t, bob, addr, nil)
				if left := a.left(t, row.outer.addr); left != limitOf-2 {
					t.Errorf("the outer proxy has %d left", left)
				}
			})
		})
	}
}

// A proxy that calls through a Unix socket has no address to be named by.
func TestProxyOnAUnixSocket(t *testing.T) {
	t.Parallel()
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			a := netHTTP.serveOnSocket(t, traffik.ClientIP(traffik.WithTrustedHops(1)))
			mustTellApart(t, a, p.start(t, a.addr, appends[p.name]))
		})
	}
}

var elsewheres atomic.Uint32

// elsewhere names a proxy that is nowhere, and each time another one: a process logs
// once for all identifiers that trust the same.
func elsewhere() traffik.ClientIPOption {
	n := elsewheres.Add(1)
	return traffik.WithTrustedProxies(netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}).String())
}

// Not parallel: the default logger belongs to the process.
func TestProxyThatIsNotConfiguredIsLoggedOnce(t *testing.T) {
	for _, p := range proxies {
		for _, f := range frameworks {
			t.Run(p.name+" "+f.name, func(t *testing.T) {
				a := f.serve(t, traffik.ClientIP(elsewhere()))
				addr := p.start(t, a.addr, appends[p.name])
				log := captureLog(t)
				var clients sync.WaitGroup
				for i := range limitOf {
					clients.Go(func() { get(t, []string{alice, bob}[i%2], addr, forgeries[i]) })
				}
				clients.Wait()
				if n := strings.Count(log.String(), "level=WARN"); n != 1 {
					t.Errorf("%d warnings were logged:\n%s", n, log)
				}
				if !strings.Contains(log.String(), "TrustedProxies") || !strings.Contains(log.String(), "peer="+p.addr) {
					t.Errorf("the warning does not tell what to do, or about whom:\n%s", log)
				}
				if left, n := a.left(t, p.addr), a.backend.Len(); left != 0 || n != 1 {
					t.Errorf("all clients share %d buckets, and the proxy's has %d left", n, left)
				}
			})
		}
	}
}

// A proxy that tells nothing can't be told from a client by what it sends.
func TestProxyThatTellsNothingIsNotLogged(t *testing.T) {
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			a := netHTTP.serve(t, traffik.ClientIP(elsewhere()))
			addr := p.start(t, a.addr)
			log := captureLog(t)
			get(t, alice, addr, nil)
			get(t, bob, addr, nil)
			if log.String() != "" {
				t.Errorf("logged was:\n%s", log)
			}
			get(t, bob, addr, http.Header{"X-Forwarded-For": {"203.0.113.7"}})
			if n := strings.Count(log.String(), "level=WARN"); n != 1 {
				t.Errorf("a client's own header gives %d warnings:\n%s", n, log)
			}
		})
	}
}

// output is what was logged, by several goroutines.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func captureLog(t *testing.T) *output {
	t.Helper()
	before, log := slog.Default(), &output{}
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return log
}

// What docs/proxies.md says that the server is sent.
func TestWhatIsSent(t *testing.T) {
	t.Parallel()
	lines := []string{"203.0.113.7", "198.51.100.1, 192.0.2.1"}
	for _, row := range []struct {
		name     string
		proxy    proxy
		settings []string
		want     []string
	}{
		{name: "by default", proxy: nginx, want: lines},
		{name: "appending", proxy: nginx, settings: []string{nginxAppend}, want: []string{strings.Join(append(lines, alice), ", ")}},
		{name: "overwriting", proxy: nginx, settings: []string{nginxOverwrite}, want: []string{alice}},
		{name: "by default", proxy: haproxy, want: lines},
		{name: "appending", proxy: haproxy, settings: []string{haproxyAppend}, want: append(lines, alice)},
		{name: "overwriting", proxy: haproxy, settings: []string{haproxyDelete, haproxyAppend}, want: []string{alice}},
		{name: "if none", proxy: haproxy, settings: []string{haproxyIfAbsent}, want: lines},
	} {
		t.Run(row.proxy.name+" "+row.name, func(t *testing.T) {
			t.Parallel()
			mustBeDocumented(t, row.settings)
			addr := row.proxy.start(t, netHTTP.serve(t, traffik.ClientIP(traffik.WithTrustedHops(1))).addr, row.settings...)
			sent := http.Header{"Forwarded": {"for=203.0.113.7"}, "X-Real-Ip": {"203.0.113.8"}, "X-Forwarded-For": lines}
			_, seen := get(t, alice, addr, sent)
			if got := seen["X-Forwarded-For"]; !reflect.DeepEqual(got, row.want) {
				t.Errorf("X-Forwarded-For is %q, want %q", got, row.want)
			}
			for _, name := range []string{"Forwarded", "X-Real-Ip"} {
				if !reflect.DeepEqual(seen[name], sent[name]) {
					t.Errorf("%s is %q, want what the client sent", name, seen[name])
				}
			}
			if _, seen := get(t, alice, addr, nil); row.settings == nil && seen["X-Forwarded-For"] != nil {
				t.Errorf("without being asked to, the proxy sent %q", seen["X-Forwarded-For"])
			}
		})
	}
}

// What docs/proxies.md says goes wrong: a client is whoever it says it is.
func TestForgeriesThatAConfigurationInvites(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		proxy    proxy
		settings []string
		who      *traffik.Identifier
		forgery  http.Header
	}{
		{
			name: "trusting nginx as it comes", proxy: nginx,
			who: traffik.ClientIP(traffik.WithTrustedProxies(nginxAddr)), forgery: http.Header{"X-Forwarded-For": {"203.0.113.7"}},
		},
		{
			name: "trusting HAProxy as it comes", proxy: haproxy,
			who: traffik.ClientIP(traffik.WithTrustedProxies(haproxyAddr)), forgery: http.Header{"X-Forwarded-For": {"203.0.113.7"}},
		},
		{
			name: "if-none", proxy: haproxy, settings: []string{haproxyIfAbsent},
			who: traffik.ClientIP(traffik.WithTrustedProxies(haproxyAddr)), forgery: http.Header{"X-Forwarded-For": {"203.0.113.7"}},
		},
		{
			name: "a header the proxy does not write", proxy: nginx, settings: []string{nginxAppend},
			who:     traffik.ClientIP(traffik.WithTrustedProxies(nginxAddr), traffik.WithProxyHeader(traffik.Forwarded, traffik.XForwardedFor)),
			forgery: http.Header{"Forwarded": {"for=203.0.113.7"}},
		},
		{
			name: "a network from which clients come", proxy: nginx, settings: []string{nginxAppend},
			who: traffik.ClientIP(traffik.WithTrustedProxies(traffik.Loopback)), forgery: http.Header{"X-Forwarded-For": {"203.0.113.7"}},
		},
		{
			name: "more hops than there are", proxy: nginx, settings: []string{nginxAppend},
			who: traffik.ClientIP(traffik.WithTrustedHops(2)), forgery: http.Header{"X-Forwarded-For": {"203.0.113.7"}},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := netHTTP.serve(t, row.who)
			get(t, alice, row.proxy.start(t, a.addr, row.settings...), row.forgery)
			if left := a.left(t, "203.0.113.7"); left != limitOf-1 {
				t.Errorf("the address that the client claims has %d left", left)
			}
		})
	}
}

// An nginx that settles on the client itself appends it in place of its peer.
func TestNginxThatReadsTheHeaderItself(t *testing.T) {
	t.Parallel()
	settings := []string{"real_ip_header X-Forwarded-For;", "set_real_ip_from " + haproxyAddr + ";", nginxAppend}
	for name, opt := range map[string]traffik.ClientIPOption{
		"two hops": traffik.WithTrustedHops(2), "both named": traffik.WithTrustedProxies(nginxAddr, haproxyAddr),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := netHTTP.serve(t, traffik.ClientIP(opt))
			addr := haproxy.start(t, nginx.start(t, a.addr, settings...), haproxyAppend)
			mustTellApart(t, a, addr)
		})
	}
	a := netHTTP.serve(t, traffik.ClientIP())
	addr := haproxy.start(t, nginx.start(t, a.addr, settings...), haproxyAppend)
	if _, seen := get(t, alice, addr, nil); seen.Get("X-Forwarded-For") != alice+", "+alice {
		t.Errorf("X-Forwarded-For is %q", seen["X-Forwarded-For"])
	}
}

// Settings of an nginx location replace those around it, all of them.
func TestNginxDropsOuterSettings(t *testing.T) {
	t.Parallel()
	a := netHTTP.serve(t, traffik.ClientIP(traffik.WithTrustedProxies(nginxAddr)))
	addr := nginx.start(t, a.addr, "}", nginxAppend, "location /elsewhere {")
	if _, seen := get(t, alice, addr, nil); !reflect.DeepEqual(seen["X-Forwarded-For"], []string{alice}) {
		t.Errorf("inherited: X-Forwarded-For is %q", seen["X-Forwarded-For"])
	}
	addr = nginx.start(t, a.addr, "proxy_set_header X-Other value;", "}", nginxAppend, "location /elsewhere {")
	if _, seen := get(t, alice, addr, nil); seen["X-Forwarded-For"] != nil || seen.Get("X-Other") != "value" {
		t.Errorf("replaced: X-Forwarded-For is %q", seen["X-Forwarded-For"])
	}
}
