package traffik

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Named sets for [TrustedProxies].
const (
	// Loopback is 127.0.0.0/8 and ::1: a proxy on the same host.
	Loopback = "loopback"
	// Private is what is not routed on the internet: 10.0.0.0/8, 172.16.0.0/12
	// and 192.168.0.0/16 (RFC 1918), fc00::/7 (RFC 4193), and link-local,
	// 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291). Loopback is not in
	// it, nor is the carriers' 100.64.0.0/10 (RFC 6598).
	Private = "private"
)

var (
	loopbackPrefixes = prefixes{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	privatePrefixes  = prefixes{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("fe80::/10"),
	}
)

// TrustedProxies names the proxies whose word is taken for who is behind them:
// prefixes ("10.0.0.0/8"), single addresses ("192.0.2.7", "2001:db8::7"), and
// the named sets [Loopback] and [Private]. A header is read only when the
// socket's peer is among them, and one convention only: X-Forwarded-For, unless
// [FromHeader] names another. Given twice, the lists are joined.
//
// List no network from which clients come: a trusted address can claim to be
// anybody. IPv4 proxies are named by IPv4 prefixes; "::/0" does not hold them. They are
// found where a socket shows them as "::ffff:192.0.2.7" (RFC 4291, section 2.5.5.2), but
// not behind a translator or a tunnel, as "64:ff9b::192.0.2.7": name that address then.
// A peer without an address (a Unix socket) is never among the proxies: use
// [TrustedHops] there.
func TrustedProxies(list ...string) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		c.byProxies = true
		if len(list) == 0 {
			c.refuse("TrustedProxies() names no proxy; %s", acceptedProxies)
		}
		for _, text := range list {
			found, err := parsePrefixes(text)
			if err != nil {
				c.refuse("TrustedProxies(%q): %w; %s", text, err, acceptedProxies)
			}
			c.proxies = append(c.proxies, found...)
		}
	})
}

const acceptedProxies = `accepted are prefixes ("10.0.0.0/8"), addresses ("192.0.2.7"), Loopback and Private`

// TrustedHops says that every request passes through n proxies, each of which
// appends the address it was called from, so that the client is the n-th entry
// from the right. n is 1 or more. A chain shorter than n is not one that the
// proxies wrote; it counts for the socket's peer.
//
// The peer is believed whoever it is, a Unix socket too: use it only where
// nobody can reach the server past the proxies. [TrustedProxies] is the better
// choice where addresses are known. The two exclude each other.
func TrustedHops(n int) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		c.byHops = true
		if n < 1 {
			c.refuse("TrustedHops(%d); accepted is the number of proxies, 1 or more", n)
			return
		}
		c.hops = n
	})
}

// client returns who is behind a believed peer. The first header present
// decides, even when nothing in it can be read: falling back to the next would
// let a client pick the one that suits it.
func (c *clientIP) client(peer netip.Addr, header http.Header) netip.Addr {
	for _, from := range c.headers {
		lines, present := header[from.key]
		switch {
		case !present:
			continue
		case from.single:
			return onlyHop(lines, peer)
		case c.hops > 0:
			return nthHop(chain{from: from.name, lines: lines}, c.hops, peer)
		}
		return firstUntrusted(chain{from: from.name, lines: lines}, c.proxies, peer)
	}
	return peer
}

// firstUntrusted walks until a hop that is no proxy of ours: what stands to the
// left of it is its own word. A chain of proxies only ends with its leftmost,
// which then is a client inside of the trusted networks.
func firstUntrusted(hops chain, proxies prefixes, peer netip.Addr) netip.Addr {
	last := peer
	for hops.next() {
		if !hops.readable {
			return last
		}
		last = hops.hop
		if !proxies.contain(last) {
			return last
		}
	}
	return last
}

// nthHop walks n hops. Stopping short of n at an unreadable one is no reason to
// read on: the entries would no longer be those the proxies wrote.
func nthHop(hops chain, n int, peer netip.Addr) netip.Addr {
	last := peer
	for ; hops.next(); n-- {
		if !hops.readable {
			return last
		}
		last = hops.hop
		if n == 1 {
			return last
		}
	}
	return peer
}

// onlyHop returns the address of a header that holds one. Several lines, or a
// list in one, were not written by one proxy that overwrites what it got, and
// any of them may be the client's: none is believed.
func onlyHop(lines []string, peer netip.Addr) netip.Addr {
	if len(lines) == 1 {
		if hop, ok := readHop(trimOWS(lines[0])); ok {
			return hop
		}
	}
	return peer
}

// prefixes is a set of networks, few enough to be searched in order.
type prefixes []netip.Prefix

// contain takes unmapped addresses without a zone, as readHop makes them.
func (p prefixes) contain(addr netip.Addr) bool {
	for i := range p {
		if p[i].Contains(addr) {
			return true
		}
	}
	return false
}

// key is one text for all lists of the same networks.
func (p prefixes) key() string {
	names := make([]string, len(p))
	for i := range p {
		names[i] = p[i].String()
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

// isPrivate reports whether addr lies in [Private] or [Loopback].
func isPrivate(addr netip.Addr) bool {
	return addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()
}

// parsePrefixes reads one argument of [TrustedProxies].
func parsePrefixes(text string) (prefixes, error) {
	switch text {
	case Loopback:
		return loopbackPrefixes, nil
	case Private:
		return privatePrefixes, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		if addr.Zone() != "" {
			return nil, fmt.Errorf("the zone %q can't be told on the peer's side", addr.Zone())
		}
		addr = addr.Unmap()
		return prefixes{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, err
	}
	if prefix.Addr().Is4In6() {
		// Addresses are compared unmapped, so the prefix has to be, too.
		if prefix.Bits() < 96 {
			return nil, errors.New("it holds more than the IPv4 addresses; write them as 0.0.0.0/0")
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefixes{prefix.Masked()}, nil
}
