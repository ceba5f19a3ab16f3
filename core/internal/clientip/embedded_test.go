package clientip

import (
	"net/netip"
	"testing"
)

// An IPv4 client is one identity however its connection came about: as a peer, and as a
// hop that a trusted proxy wrote.
func TestIPv4InsideIPv6(t *testing.T) {
	t.Parallel()
	const v4 = "ip:192.0.2.33"
	for address, want := range map[string]string{
		// The same client: 192.0.2.33 is c000:0221, inverted 3fff:fdde.
		"192.0.2.33":                           v4,
		"::ffff:192.0.2.33":                    v4, // RFC 4291
		"::ffff:c000:221":                      v4,
		"64:ff9b::192.0.2.33":                  v4, // RFC 6052
		"64:ff9b::c000:221":                    v4,
		"::ffff:0:192.0.2.33":                  v4, // RFC 2765
		"2002:c000:221::1":                     v4, // RFC 3056
		"2002:c000:221:ffff:1:2:3:4":           v4, // a site has 2^80 addresses
		"2001:0:cb00:7101:8000:63bf:3fff:fdde": v4, // RFC 4380: server 203.0.113.1, port 40000
		"2001::8000:1:3fff:fdde":               v4, // another server and port
		// Another client.
		"64:ff9b::192.0.2.34": "ip:192.0.2.34",
		"2002:c000:222::1":    "ip:192.0.2.34",
		"64:ff9b::10.0.0.1":   "ip:10.0.0.1",
		// What only looks like it.
		"64:ff9b:0:1::192.0.2.33":   "ip:64:ff9b:0:1::/64",
		"64:ff9b:1::192.0.2.33":     "ip:64:ff9b:1::/64", // RFC 8215: the place is the network's own
		"64:ff9b:1:c000:2:2100::":   "ip:64:ff9b:1:c000::/64",
		"2003:c000:221::1":          "ip:2003:c000:221::/64",
		"2001:1::3fff:fdde":         "ip:2001:1::/64",
		"2001:db8::3fff:fdde":       "ip:2001:db8::/64",
		"::192.0.2.33":              "ip:::/64", // deprecated by RFC 4291
		"::1":                       "ip:::/64",
		"::fffe:0:192.0.2.33":       "ip:::/64",
		"::ffff:1:192.0.2.33":       "ip:::/64",
		"2001:db8::5efe:192.0.2.33": "ip:2001:db8::/64", // ISATAP: every host may choose it
	} {
		peer := netip.AddrPortFrom(netip.MustParseAddr(address), 1234).String()
		if got := identityOf(&Trust{}, peer, nil); got != want {
			t.Errorf("peer %s: %s, want %s", address, got, want)
		}
		for name, lines := range map[string][]string{
			"X-Forwarded-For": {"X-Forwarded-For", "198.51.100.9, " + address + ", 10.0.0.7"},
			"Forwarded":       {"Forwarded", `for="[` + address + `]", for=10.0.0.7`},
		} {
			if name == "Forwarded" && netip.MustParseAddr(address).Is4() {
				continue
			}
			if got := identityOf(behind([]string{"10.0.0.0/24"}, name), "10.0.0.7:1", headerOf(lines...)); got != want {
				t.Errorf("%s %s: %s, want %s", name, address, got, want)
			}
		}
		if got := identityOf(hops(1), "@", headerOf("X-Forwarded-For", address)); got != want {
			t.Errorf("by hops %s: %s, want %s", address, got, want)
		}
	}
}

// A trusted IPv4 proxy is found where a dual-stack socket shows it, and nobody becomes
// one by an address that merely holds its own.
func TestTrustedProxyInsideIPv6(t *testing.T) {
	t.Parallel()
	const client = "198.51.100.1"
	ask := func(trusted, peer, header string) string {
		t.Helper()
		return identityOf(behind([]string{trusted}), "["+peer+"]:1", headerOf("X-Forwarded-For", header))
	}
	for _, c := range []struct{ trusted, peer, header, want string }{
		{"10.0.0.7", "::ffff:10.0.0.7", client, "ip:" + client},
		{"10.0.0.0/8", "::ffff:10.0.0.7", client, "ip:" + client},
		{Private, "::ffff:10.0.0.7", client, "ip:" + client},
		{"::ffff:10.0.0.7", "::ffff:10.0.0.7", client, "ip:" + client},
		{"10.0.0.0/8", "::ffff:10.0.0.7", client + ", ::ffff:10.0.0.8", "ip:" + client},
		// By a translator, a tunnel, or a made-up address: not the proxy.
		{"10.0.0.7", "64:ff9b::10.0.0.7", client, "ip:10.0.0.7"},
		{"10.0.0.7", "::ffff:0:10.0.0.7", client, "ip:10.0.0.7"},
		{"10.0.0.7", "2002:a00:7::1", client, "ip:10.0.0.7"},
		{"10.0.0.7", "2001::f5ff:fff8", client, "ip:10.0.0.7"},
		{Private, "64:ff9b::10.0.0.7", client, "ip:10.0.0.7"},
		{Loopback, "64:ff9b::127.0.0.1", client, "ip:127.0.0.1"},
		{"10.0.0.7", "::10.0.0.7", client, "ip:::/64"},
		{"10.0.0.7", "fe80::5efe:10.0.0.7", client, "ip:fe80::/64"},
		{"10.0.0.0/8", "::ffff:10.0.0.7", client + ", 64:ff9b::10.0.0.8", "ip:10.0.0.8"},
		// Named itself, it is.
		{"64:ff9b::10.0.0.7", "64:ff9b::10.0.0.7", client, "ip:" + client},
		{"2002:a00:7::/48", "2002:a00:7::1", client, "ip:" + client},
		{"64:ff9b::/96", "10.0.0.7", client, "ip:10.0.0.7"},
		{"::/0", "64:ff9b::10.0.0.7", client, "ip:" + client},
	} {
		if c.peer == "10.0.0.7" {
			c.peer = "::ffff:10.0.0.7" // brackets hold IPv6
		}
		if got := ask(c.trusted, c.peer, c.header); got != c.want {
			t.Errorf("trusting %s, from %s with %q: %s, want %s", c.trusted, c.peer, c.header, got, c.want)
		}
	}
}
