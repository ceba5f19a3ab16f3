package traffik

import (
	"bytes"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

const proxyPeer = "10.0.0.1:4711" // a trusted proxy

// headerOf makes an http.Header of name and value pairs, several lines of one
// name in order.
func headerOf(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func mustIdentity(t *testing.T, id *Identifier, r *Request) string {
	t.Helper()
	if id.err != nil {
		t.Fatalf("configuration: %v", id.err)
	}
	got, err := id.Identity(r)
	if err != nil {
		t.Fatalf("Identity: %v", err)
	}
	return got
}

func TestClientIPOfThePeer(t *testing.T) {
	t.Parallel()
	id := ClientIP()
	for remote, want := range map[string]string{
		"192.0.2.1:1234":                "ip:192.0.2.1",
		"192.0.2.1":                     "ip:192.0.2.1", // as some middleware leaves it
		"[2001:db8:1:2:3:4:5:6]:443":    "ip:2001:db8:1:2::/64",
		"2001:db8:1:2:3:4:5:6":          "ip:2001:db8:1:2::/64",
		"[::1]:80":                      "ip:::/64",
		"[fe80::1%eth0]:80":             "ip:fe80::/64",
		"[::ffff:192.0.2.1]:80":         "ip:192.0.2.1",
		"[::ffff:192.0.2.1%eth0]:80":    "ip:192.0.2.1",
		"":                              "ip:",
		"@":                             "ip:",
		"/run/app.sock":                 "ip:",
		"pipe":                          "ip:",
		"192.0.2.1:":                    "ip:",
		"192.0.2.1:http":                "ip:",
		"192.0.2.1:123456":              "ip:",
		"192.0.2.256:80":                "ip:",
		"010.0.0.1:80":                  "ip:",
		"[192.0.2.1]:80":                "ip:",
		"[::1":                          "ip:",
		"[::1]80":                       "ip:",
		"[]:80":                         "ip:",
		":80":                           "ip:",
		"ffff:ffff:ffff:ffff:1:1:1:1:1": "ip:",
	} {
		got := mustIdentity(t, id, &Request{RemoteAddr: remote, Header: headerOf("X-Forwarded-For", "198.51.100.9")})
		if got != want {
			t.Errorf("RemoteAddr %q: %q, want %q", remote, got, want)
		}
	}
}

func TestIPv6ClientsShareTheirNetwork(t *testing.T) {
	t.Parallel()
	const one, other = "[2001:db8:aaaa:bbbb:1::1]:80", "[2001:db8:aaaa:bbbb:ffff::2]:81"
	for _, tc := range []struct {
		bits int
		want string
	}{
		{0, "ip:2001:db8:aaaa:bbbb::/64"}, // the default
		{48, "ip:2001:db8:aaaa::/48"},
		{56, "ip:2001:db8:aaaa:bb00::/56"},
		{1, "ip:::/1"},
		{128, "ip:2001:db8:aaaa:bbbb:1::1/128"},
	} {
		var opts []ClientIPOption
		if tc.bits != 0 {
			opts = append(opts, WithIPv6Prefix(tc.bits))
		}
		id := ClientIP(opts...)
		if got := mustIdentity(t, id, &Request{RemoteAddr: one}); got != tc.want {
			t.Errorf("%d bits: %q, want %q", tc.bits, got, tc.want)
		}
		same := mustIdentity(t, id, &Request{RemoteAddr: other}) == tc.want
		if same != (tc.bits != 128) {
			t.Errorf("%d bits: neighbours share a bucket: %v", tc.bits, same)
		}
		if got := mustIdentity(t, id, &Request{RemoteAddr: "192.0.2.1:80"}); got != "ip:192.0.2.1" {
			t.Errorf("%d bits: IPv4 gives %q", tc.bits, got)
		}
	}
}

func TestNoHeaderIsTrustedByDefault(t *testing.T) {
	t.Parallel()
	header := headerOf(
		"Forwarded", "for=198.51.100.9", "X-Forwarded-For", "198.51.100.9", "X-Real-IP", "198.51.100.9",
		"True-Client-IP", "198.51.100.9", "CF-Connecting-IP", "198.51.100.9")
	for _, id := range []*Identifier{
		ClientIP(),
		ClientIP(WithTrustedProxies("203.0.113.0/24")),
		ClientIP(WithTrustedProxies("203.0.113.0/24"), WithProxyHeader(Forwarded, XForwardedFor, XRealIP, TrueClientIP, CFConnectingIP)),
		ClientIP(WithTrustedProxies(Loopback, Private)),
	} {
		if got := mustIdentity(t, id, &Request{RemoteAddr: "192.0.2.1:80", Header: header}); got != "ip:192.0.2.1" {
			t.Errorf("an untrusted peer's header chose %q", got)
		}
	}
}

func TestPeerWithoutAddressIsNeverABypass(t *testing.T) {
	t.Parallel()
	forwarded := headerOf("X-Forwarded-For", "198.51.100.1, 192.0.2.9")
	for _, tc := range []struct {
		name   string
		id     *Identifier
		header http.Header
		want   string
	}{
		{"default", ClientIP(), forwarded, "ip:"},
		{"proxies can't hold it", ClientIP(WithTrustedProxies("0.0.0.0/0", "::/0")), forwarded, "ip:"},
		{"hops believe it", ClientIP(WithTrustedHops(1)), forwarded, "ip:192.0.2.9"},
		{"two hops", ClientIP(WithTrustedHops(2)), forwarded, "ip:198.51.100.1"},
		{"short chain", ClientIP(WithTrustedHops(3)), forwarded, "ip:"},
		{"no header", ClientIP(WithTrustedHops(1)), nil, "ip:"},
		{"unreadable", ClientIP(WithTrustedHops(1)), headerOf("X-Forwarded-For", "unix:"), "ip:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := mustIdentity(t, tc.id, &Request{RemoteAddr: "@", Header: tc.header}); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestTrustedProxiesForms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		proxy, peer string
		trusted     bool
	}{
		{"10.0.0.0/8", "10.255.0.1:80", true},
		{"10.0.0.0/8", "11.0.0.1:80", false},
		{"10.9.9.9/8", "10.1.1.1:80", true}, // host bits don't matter
		{"10.0.0.7", "10.0.0.7:80", true},
		{"10.0.0.7", "10.0.0.8:80", false},
		{"10.0.0.0/8", "[::ffff:10.0.0.1]:80", true},
		{"::ffff:10.0.0.0/104", "10.0.0.1:80", true},
		{"::ffff:10.0.0.0/104", "11.0.0.1:80", false},
		{"::ffff:10.0.0.7", "10.0.0.7:80", true},
		{"2001:db8::/32", "[2001:db8:5::1]:80", true},
		{"2001:db8::7", "[2001:db8::8]:80", false},
		{"::/0", "10.0.0.1:80", false},
		{"0.0.0.0/0", "[::1]:80", false},
		{Loopback, "127.9.9.9:80", true},
		{Loopback, "[::1]:80", true},
		{Loopback, "10.0.0.1:80", false},
		{Private, "10.0.0.1:80", true},
		{Private, "172.31.255.255:80", true},
		{Private, "172.32.0.1:80", false},
		{Private, "192.168.1.1:80", true},
		{Private, "169.254.1.1:80", true},
		{Private, "[fd00::1]:80", true},
		{Private, "[fe80::1%eth0]:80", true},
		{Private, "127.0.0.1:80", false},
		{Private, "100.64.0.1:80", false},
	} {
		r := &Request{RemoteAddr: tc.peer, Header: headerOf("X-Forwarded-For", "198.51.100.9")}
		got := mustIdentity(t, ClientIP(WithTrustedProxies(tc.proxy)), r)
		if (got == "ip:198.51.100.9") != tc.trusted {
			t.Errorf("proxy %q, peer %q: %q, trusted should be %v", tc.proxy, tc.peer, got, tc.trusted)
		}
	}
}

func TestClientIPRefusesWrongOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		opts []ClientIPOption
		says []string
	}{
		{"unknown convention", []ClientIPOption{WithTrustedHops(1), WithProxyHeader("X-Client")}, []string{`"X-Client"`, "XForwardedFor"}},
		{"no convention", []ClientIPOption{WithTrustedHops(1), WithProxyHeader()}, []string{"WithProxyHeader()", "CFConnectingIP"}},
		{"header without proxy", []ClientIPOption{WithProxyHeader(XRealIP)}, []string{"TrustedProxies", "TrustedHops"}},
		{"no proxy", []ClientIPOption{WithTrustedProxies()}, []string{"WithTrustedProxies()", "Loopback"}},
		{"name for prefix", []ClientIPOption{WithTrustedProxies("proxy.local")}, []string{`"proxy.local"`, "10.0.0.0/8", "Private"}},
		{"bits", []ClientIPOption{WithTrustedProxies("10.0.0.0/33")}, []string{`"10.0.0.0/33"`}},
		{"empty", []ClientIPOption{WithTrustedProxies("")}, []string{`WithTrustedProxies("")`}},
		{"zone", []ClientIPOption{WithTrustedProxies("fe80::1%eth0")}, []string{`eth0`}},
		{"wide 4in6", []ClientIPOption{WithTrustedProxies("::ffff:0.0.0.0/80")}, []string{"0.0.0.0/0"}},
		{"both", []ClientIPOption{WithTrustedProxies(Private), WithTrustedHops(1)}, []string{"both", "one of them"}},
		{"no hops", []ClientIPOption{WithTrustedHops(0)}, []string{"WithTrustedHops(0)", "1 or more"}},
		{"negative hops", []ClientIPOption{WithTrustedHops(-1)}, []string{"WithTrustedHops(-1)"}},
		{"zero bits", []ClientIPOption{WithIPv6Prefix(0)}, []string{"WithIPv6Prefix(0)", "1 to 128"}},
		{"many bits", []ClientIPOption{WithIPv6Prefix(129)}, []string{"WithIPv6Prefix(129)"}},
		{"nil option", []ClientIPOption{nil}, []string{"option 1 of 1 of ClientIP is nil"}},
		{"two faults", []ClientIPOption{WithTrustedHops(0), WithIPv6Prefix(0)}, []string{"WithTrustedHops(0)", "WithIPv6Prefix(0)"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			id := ClientIP(tc.opts...)
			if !errors.Is(id.err, ErrConfig) {
				t.Fatalf("error %v, want ErrConfig", id.err)
			}
			for _, part := range tc.says {
				if !strings.Contains(id.err.Error(), part) {
					t.Errorf("%q does not say %q", id.err, part)
				}
			}
			// In use it believes nobody.
			if got, err := id.Identity(&Request{RemoteAddr: "192.0.2.1:80"}); !errors.Is(err, ErrIdentity) || got != "" {
				t.Errorf("a wrong identifier answers %q, %v", got, err)
			}
		})
	}
}

func TestHeaderNamesIgnoreCase(t *testing.T) {
	t.Parallel()
	id := ClientIP(WithTrustedHops(1), WithProxyHeader("x-real-ip"))
	r := &Request{RemoteAddr: "10.0.0.1:80", Header: headerOf("X-Real-IP", "198.51.100.9")}
	if got := mustIdentity(t, id, r); got != "ip:198.51.100.9" {
		t.Errorf("%q", got)
	}
}

// TestOnlyTheNamedConventionCounts: a proxy that passes a client's Forwarded
// through while it writes X-Forwarded-For must not matter.
func TestOnlyTheNamedConventionCounts(t *testing.T) {
	t.Parallel()
	all := headerOf("Forwarded", "for=198.51.100.1", "X-Forwarded-For", "198.51.100.2", "X-Real-IP", "198.51.100.3",
		"True-Client-IP", "198.51.100.4", "CF-Connecting-IP", "198.51.100.5")
	order := []HeaderConvention{Forwarded, XForwardedFor, XRealIP, TrueClientIP, CFConnectingIP}
	ids := []string{"ip:198.51.100.1", "ip:198.51.100.2", "ip:198.51.100.3", "ip:198.51.100.4", "ip:198.51.100.5"}
	r := func() *Request { return &Request{RemoteAddr: proxyPeer, Header: all.Clone()} }
	for _, trust := range []ClientIPOption{WithTrustedProxies(Private), WithTrustedHops(1)} {
		if got := mustIdentity(t, ClientIP(trust), r()); got != ids[1] {
			t.Errorf("unnamed: %q, want that of X-Forwarded-For", got)
		}
		for i, name := range order {
			if got := mustIdentity(t, ClientIP(trust, WithProxyHeader(name)), r()); got != ids[i] {
				t.Errorf("%s: %q, want %q", name, got, ids[i])
			}
		}
		// All named, in the wrong order: the first present of the fixed order.
		combined := ClientIP(trust, WithProxyHeader(CFConnectingIP, XRealIP, XForwardedFor), WithProxyHeader(TrueClientIP, Forwarded))
		rest := r()
		for i, name := range order {
			if got := mustIdentity(t, combined, &Request{RemoteAddr: proxyPeer, Header: rest.Header}); got != ids[i] {
				t.Errorf("combined without the first %d: %q, want %q", i, got, ids[i])
			}
			rest.Header.Del(string(name))
		}
	}
}

func TestEmbeddedIPv4HasNoPrefix(t *testing.T) {
	t.Parallel()
	if got := mustIdentity(t, ClientIP(WithIPv6Prefix(128)), &Request{RemoteAddr: "[2002:c000:221::1]:1"}); got != "ip:192.0.2.33" {
		t.Errorf("with a prefix of 128 bits: %s, want the IPv4 address", got)
	}
}

// captureLog replaces slog.Default by a buffer, in tests that are not parallel: parallel ones
// wait until it has restored the logger.
func captureLog(t *testing.T) *bytes.Buffer {
	t.Helper()
	out := new(bytes.Buffer)
	logger, writer, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewTextHandler(out, nil)))
	t.Cleanup(func() {
		slog.SetDefault(logger)
		log.SetOutput(writer)
		log.SetFlags(flags)
	})
	return out
}

// One warning is logged for any number of throttles, alone or in a gate, and of identifiers
// that trust the same proxies.
func TestUnconfiguredProxyIsLoggedOnceForAllThrottles(t *testing.T) { //nolint:paralleltest // see captureLog
	out := captureLog(t)
	warnedOf.Clear()
	memory, err := NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	proxied := func(proxies ...string) *Identifier { return ClientIP(WithTrustedProxies(proxies...)) }
	var limits []Limiter
	for i, id := range []*Identifier{nil, ClientIP(), ClientIP(WithIPv6Prefix(56)), proxied("10.0.0.7", "10.0.0.8/32"), proxied("10.0.0.8", "10.0.0.7", "10.0.0.7")} {
		opts := []Option{WithBackend(memory)}
		if id != nil {
			opts = append(opts, WithIdentifier(id))
		}
		limits = append(limits, newNamed(t, string(rune('a'+i)), "100/h", opts...))
	}
	limits = append(limits, All(limits...), All(limits[1:3]...))
	for _, peer := range []string{"10.0.0.1:1", "10.0.0.2:1"} {
		for _, limit := range limits {
			r := &Request{RemoteAddr: peer, Header: headerOf("X-Forwarded-For", "198.51.100.9")}
			if _, err := limit.Admit(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Throttles that trust other proxies need another cure.
	if got := strings.Count(out.String(), "level=WARN"); got != 2 {
		t.Errorf("%d warnings, want one for the identifiers that trust none and one for those that trust two:\n%s", got, out)
	}
}

func TestUnconfiguredProxyIsLoggedOnce(t *testing.T) { //nolint:paralleltest // see captureLog
	out := captureLog(t)
	const content = "198.51.100.9\nlevel=ERROR forged"
	for _, tc := range []struct {
		name   string
		id     *Identifier
		peer   string
		header string
		want   bool
	}{
		{"private peer", ClientIP(), "10.0.0.1:80", "X-Forwarded-For", true},
		{"part of another", FirstOf(ByHeader("X-API-Key"), Combine(ClientIP(), Shared())), "10.0.0.1:80", "X-Forwarded-For", true},
		{"loopback peer", ClientIP(), "127.0.0.1:80", "Forwarded", true},
		{"loopback IPv6 peer", ClientIP(), "[::1]:80", "X-Real-IP", true},
		{"link-local peer", ClientIP(), "[fe80::1%eth0]:80", "True-Client-IP", true},
		{"mapped peer", ClientIP(), "[::ffff:192.168.0.1]:80", "CF-Connecting-IP", true},
		{"another proxy than named", ClientIP(WithTrustedProxies("10.0.0.7")), "10.0.0.1:80", "X-Forwarded-For", true},
		{"public peer", ClientIP(), "192.0.2.1:80", "X-Forwarded-For", false},
		{"other header", ClientIP(), "10.0.0.1:80", "X-Forwarded-Host", false},
		{"trusted peer", ClientIP(WithTrustedProxies(Private)), "10.0.0.1:80", "Forwarded", false},
		{"trusted hops", ClientIP(WithTrustedHops(2)), "10.0.0.1:80", "Forwarded", false},
	} {
		out.Reset()
		warnedOf.Clear()
		memory, _ := newTestMemory(t)
		throttle := newTestThrottle(t, "5/d", WithBackend(memory), WithIdentifier(tc.id))
		for range 3 {
			if _, err := throttle.For(&Request{RemoteAddr: tc.peer, Header: headerOf(tc.header, content)}).Hit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		text := out.String()
		if got := strings.Count(text, "level=WARN"); got > 1 || (got == 1) != tc.want {
			t.Errorf("%s: %d warnings:\n%s", tc.name, got, text)
		}
		if strings.Contains(text, "198.51.100.9") || strings.Contains(text, "forged") {
			t.Errorf("%s: the header's content was logged:\n%s", tc.name, text)
		}
		if tc.want && (!strings.Contains(text, "TrustedProxies") || !strings.Contains(text, "peer=") || !strings.Contains(text, "header="+tc.header)) {
			t.Errorf("%s: no cure, peer or header in:\n%s", tc.name, text)
		}
	}
}
