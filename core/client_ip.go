package traffik

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"slices"
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
// "::ffff:192.0.2.1" is the IPv4 address in it, zones and ports are dropped. An address
// by which a translator or a tunnel stands for an IPv4 client counts as that client:
// 64:ff9b::/96 (RFC 6052), ::ffff:0:0:0/96 (RFC 2765), 6to4's 2002::/16 (RFC 3056) and
// Teredo's 2001::/32 (RFC 4380). Such an address is no trusted proxy because of the IPv4
// address in it, only if it is named itself: anybody may have one. A
// peer without an IP address (a Unix socket) is the one anonymous identity
// "ip:", shared by all of them.
//
// A forwarding header from a peer that is not trusted but looks like a proxy is logged with
// the cure, once, by the throttle that asks; see [WithLogger]. A private or loopback peer
// looks like one at its first such header. Public peers do when at least 56 of 64 requests
// carry one: all of the first 64 are looked at, and about one in 16 later on. Anybody can
// send these headers, so the record says what to check and not what is wrong.
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
	return &Identifier{scheme: "ip", of: c.identity, whole: true, trusts: "proxies " + c.proxies.key(), err: errors.Join(c.errs...)}
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
	public            forwardedSample
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
	if addr.Is6() {
		addr = embeddedIPv4(addr)
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
	if ok {
		c.lookForProxy(r, peer)
	}
	return peer
}

// lookForProxy notes a header that nobody believes if its peer looks like a proxy: all
// its clients share one bucket then. Who asked for the address logs it.
func (c *clientIP) lookForProxy(r *Request, peer netip.Addr) {
	switch {
	case isPrivate(peer):
		r.memo().ignored = forwardedBy(r.Header)
	case !c.public.later.Load() || r.memo().sampled:
		if header := forwardedBy(r.Header); c.public.looksProxied(header != 0) {
			r.memo().ignored = header
		}
	}
}

// forwardedBy returns which convention a header follows, counted from 1, 0 for none.
func forwardedBy(h http.Header) uint8 {
	for i := range conventions {
		if _, present := h[conventions[i].key]; present {
			return uint8(i + 1) //nolint:gosec // there are five
		}
	}
	return 0
}

const (
	sampleSize  = 64 // requests of one sample
	sampleMost  = 56 // of them with a header: more than clients that send one by themselves
	sampleEvery = 16 // after the first sample, so that looking costs nothing that counts
)

// forwardedSample tells by a sample of the requests that come from public peers whether
// these look like proxies. It is safe for concurrent use; samples that overlap are none
// the worse.
type forwardedSample struct {
	asked, with atomic.Int32
	later       atomic.Bool // the first sample is complete
	proxied     atomic.Bool // the latest complete sample says so
}

// sample chooses about one of sampleEvery requests by how often a pooled memory was used,
// which nothing else shares. The multiplication spreads them out (Knuth, The Art of Computer
// Programming, volume 3, section 6.4): traffic in which every second request is special
// is sampled as it is.
func (r *Request) sample(uses uint32) {
	if r != nil && uses*0x9E3779B9 < math.MaxUint32/sampleEvery {
		r.memo().sampled = true
	}
}

// looksProxied adds a request to the sample, with a forwarding header or without.
func (s *forwardedSample) looksProxied(with bool) bool {
	if with {
		s.with.Add(1)
	}
	if s.asked.Add(1) == sampleSize {
		s.proxied.Store(s.with.Swap(0) >= sampleMost)
		s.later.Store(true)
		s.asked.Store(0)
	}
	return s.proxied.Load()
}
