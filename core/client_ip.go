package traffik

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// defaultIPv6Bits is the length of the prefix under which IPv6 clients are
// counted: a /64 is what one customer or one host has at its disposal
// (RFC 4291 section 2.5.1), so single addresses would be 2^64 buckets each.
const defaultIPv6Bits = 64

// ClientIP makes an identifier from the client's IP address: "ip:192.0.2.1",
// for IPv6 the network, "ip:2001:db8:1:2::/64".
//
// By default the address is that of the socket's peer ([Request.RemoteAddr])
// and no header is trusted. Behind a proxy that peer is the proxy, for all
// clients alike: say who the proxies are with [TrustedProxies], or how many
// with [TrustedHops]. The header they write is then walked from the right:
//
//   - a hop that is no trusted proxy is the client;
//   - at an unreadable hop ("unknown", "_hidden", garbage) the client is the
//     last readable hop to its right, at worst the socket's peer;
//   - when all hops are trusted the client is the leftmost.
//
// "::ffff:192.0.2.1" is the IPv4 address in it, zones and ports are dropped. A
// peer without an IP address (a Unix socket) is the one anonymous identity
// "ip:", shared by all of them.
//
// The first forwarding header that comes from a private or loopback peer which
// is not trusted is logged with the cure, at level Warn to slog.Default: it nearly
// always is a proxy that was not configured. That happens once per process, however
// many identifiers trust the same proxies or none.
//
// Wrong options are kept as an error that wraps [ErrConfig], which [New]
// returns.
func ClientIP(opts ...ClientIPOption) *Identifier {
	c := &clientIP{ipv6Bits: defaultIPv6Bits}
	for _, opt := range opts {
		if opt == nil {
			c.refuse("an option of ClientIP is nil; accepted are TrustedProxies, TrustedHops, FromHeader and IPv6Prefix")
			continue
		}
		opt.applyClientIP(c)
	}
	c.complete()
	return &Identifier{scheme: "ip", of: c.identity, whole: true, err: errors.Join(c.errs...)}
}

// ClientIPOption configures [ClientIP]: [TrustedProxies], [TrustedHops],
// [FromHeader] and [IPv6Prefix].
type ClientIPOption interface{ applyClientIP(*clientIP) }

type clientIPOptionFunc func(*clientIP)

func (f clientIPOptionFunc) applyClientIP(c *clientIP) { f(c) }

// FromHeader names the header that the trusted proxies write, in place of
// X-Forwarded-For. It needs [TrustedProxies] or [TrustedHops].
//
// Of several, the first that is present in the request is read, in this order:
// [Forwarded], [XForwardedFor], [XRealIP], [TrueClientIP], [CFConnectingIP].
// Name one only if every trusted proxy writes it or removes it: a header that
// a proxy passes through untouched is the client's own word.
func FromHeader(conventions ...HeaderConvention) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		if len(conventions) == 0 {
			c.refuse("FromHeader() names no header; accepted are %s", acceptedConventions)
		}
		for _, name := range conventions {
			known, ok := conventionOf(name)
			if !ok {
				c.refuse("FromHeader(%q) is unknown; accepted are %s", string(name), acceptedConventions)
			}
			c.headers = append(c.headers, known)
			c.named = true
		}
	})
}

// IPv6Prefix sets how many leading bits of an IPv6 address make the identity,
// 1 to 128; the default is 64. Providers that hand a /56 or /48 to each
// customer are why one would choose less.
func IPv6Prefix(bits int) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		if bits < 1 || bits > 128 {
			c.refuse("IPv6Prefix(%d); accepted is 1 to 128 bits", bits)
			return
		}
		c.ipv6Bits = bits
	})
}

// clientIP is the configuration and the little state behind [ClientIP].
type clientIP struct {
	// proxies and hops say whom to believe; at most one of them is set.
	proxies prefixes
	hops    int
	headers []convention // in the order in which they are tried
	named   bool         // FromHeader was given
	// byProxies and byHops tell that an option was given, even if wrongly.
	byProxies, byHops bool
	ipv6Bits          int
	errs              []error
	noticed           atomic.Bool // a header that is not believed, by this identifier
}

// refuse keeps a configuration error.
func (c *clientIP) refuse(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
}

// complete checks the options against each other and fills in the default.
func (c *clientIP) complete() {
	if c.byProxies && c.byHops {
		c.refuse("both TrustedProxies and TrustedHops are given; accepted is one of them")
	}
	if c.named && !c.byProxies && !c.byHops {
		c.refuse("FromHeader(%s) is given without a proxy to believe; add TrustedProxies or TrustedHops", c.headers[0].name)
	}
	if !c.named {
		c.headers = []convention{{name: XForwardedFor, key: string(XForwardedFor)}}
	}
	slices.SortFunc(c.headers, func(a, b convention) int { return a.order - b.order })
}

// identity returns the whole identity of r: one allocation, its string.
func (c *clientIP) identity(r *Request) (string, error) {
	addr := c.address(r)
	if !addr.IsValid() {
		return "", ErrAbsent
	}
	var room [64]byte // "ip:", at most 39 bytes of address, "/128"
	text := append(room[:0], "ip:"...)
	if addr.Is4() {
		return string(addr.AppendTo(text)), nil
	}
	network, err := addr.Prefix(c.ipv6Bits)
	if err != nil {
		return "", err
	}
	return string(network.AppendTo(text)), nil
}

// address returns the client's address, the zero Addr if there is none.
func (c *clientIP) address(r *Request) netip.Addr {
	peer, ok := readHop(r.RemoteAddr)
	if c.hops > 0 || ok && c.proxies.contain(peer) {
		return c.client(peer, r.Header)
	}
	if ok && isPrivate(peer) && !c.noticed.Load() {
		c.warnOfHeader(r, peer)
	}
	return peer
}

// warnedOf holds what proxies are trusted by the identifiers that have logged: the
// cure is one for all that trust the same. It grows with what an application
// configures, not with what clients send.
var warnedOf sync.Map

// warnOfHeader logs once that a header which nobody believes comes from a peer
// that looks like a proxy: all its clients share one bucket. The header's
// content is anybody's text and stays out of the log.
func (c *clientIP) warnOfHeader(r *Request, peer netip.Addr) {
	for i := range conventions {
		if _, present := r.Header[conventions[i].key]; !present {
			continue
		}
		if !c.noticed.CompareAndSwap(false, true) {
			return
		}
		if _, told := warnedOf.LoadOrStore(c.proxies.key(), true); !told {
			slog.Default().LogAttrs(r.context(), slog.LevelWarn, untrustedHeader,
				slog.String("peer", peer.String()), slog.String("header", string(conventions[i].name)))
		}
		return
	}
}

const untrustedHeader = "traffik: a forwarding header from a private peer is ignored, so all clients behind that peer share one limit; " +
	"if the peer is your proxy, name it with ClientIP(TrustedProxies(...)), or drop the header before it gets here"
