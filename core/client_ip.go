package traffik

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"

	"github.com/traffik-go/traffik/core/internal/clientip"
)

// HeaderConvention names a header in which proxies tell the client's address.
type HeaderConvention string

// Conventions for [WithProxyHeader].
//
// Forwarded and X-Forwarded-For are lists: each proxy appends the address that called it.
// The others hold one address, the client's, which the outermost proxy sets and the others
// pass on. [WithTrustedHops] doesn't change how they are read. Such a header with more than
// one line or address is unreadable.
const (
	Forwarded      HeaderConvention = "Forwarded"        // RFC 7239
	XForwardedFor  HeaderConvention = "X-Forwarded-For"  // a list of addresses
	XRealIP        HeaderConvention = "X-Real-IP"        // nginx
	TrueClientIP   HeaderConvention = "True-Client-IP"   // Akamai, Cloudflare Enterprise
	CFConnectingIP HeaderConvention = "CF-Connecting-IP" // Cloudflare
)

// Named sets for [WithTrustedProxies].
const (
	// Loopback is 127.0.0.0/8 and ::1: a proxy on the same host.
	Loopback = "loopback"
	// Private holds the networks that the internet doesn't route: 10.0.0.0/8, 172.16.0.0/12
	// and 192.168.0.0/16 (RFC 1918), fc00::/7 (RFC 4193), and link-local, 169.254.0.0/16
	// (RFC 3927) and fe80::/10 (RFC 4291). It includes neither loopback nor 100.64.0.0/10,
	// which carriers share among customers (RFC 6598).
	Private = "private"
)

const (
	acceptedConventions = "Forwarded, XForwardedFor, XRealIP, TrueClientIP and CFConnectingIP"
	acceptedProxies     = `accepted are prefixes ("10.0.0.0/8"), addresses ("192.0.2.7"), Loopback and Private`
)

// defaultIPv6Bits is the length of the prefix under which IPv6 clients are counted. One
// customer or one host has at least a /64 (RFC 4291, section 2.5.1), so single addresses
// would be 2^64 buckets each.
const defaultIPv6Bits = 64

// ClientIP makes an identifier from the client's IP address: "ip:192.0.2.1", for IPv6 its
// network, "ip:2001:db8:1:2::/64".
//
// By default the address is that of the connection's peer ([Request.RemoteAddr]), and no
// header is trusted. Behind a proxy the peer is the proxy, the same for all clients: name
// the proxies with [WithTrustedProxies], or their number with [WithTrustedHops]. The
// header that they write is then walked from the right:
//
//   - a hop that is not a trusted proxy is the client;
//   - at an unreadable hop ("unknown", "_hidden", garbage) the client is the last
//     readable hop to its right, at worst the peer;
//   - when all hops are trusted the client is the leftmost.
//
// Zones and ports are dropped. "::ffff:192.0.2.1" counts as the IPv4 address in it, and so
// do addresses that a translator or a tunnel makes for an IPv4 client: 64:ff9b::/96 (RFC
// 6052), ::ffff:0:0:0/96 (RFC 2765), 2002::/16 (6to4, RFC 3056) and 2001::/32 (Teredo, RFC
// 4380). Anybody may have such an address, so it is a trusted proxy only if you name it as
// such. All peers without an IP address (a Unix socket) share the anonymous identity "ip:".
//
// A forwarding header from an untrusted peer that looks like a proxy is logged once, with
// the cure; see [WithLogger]. A private or loopback peer looks like a proxy at its first
// such header, public peers do when at least 56 of 64 requests carry one. All of the first
// 64 requests are checked, later about one in 16.
//
// For a wrong or nil option, the identifier keeps an error wrapping [ErrConfig], which
// [New] returns.
func ClientIP(opts ...ClientIPOption) *Identifier {
	c := &clientIP{ipv6Bits: defaultIPv6Bits}
	for i, opt := range opts {
		if isNil(opt) {
			c.refuse("option %d of %d of ClientIP is nil; leave it out", i+1, len(opts))
			continue
		}
		opt.apply(c)
	}
	if c.byProxies && c.byHops {
		c.refuse("both WithTrustedProxies and WithTrustedHops are given; accepted is one of them")
	}
	if c.header != "" && !c.byProxies && !c.byHops {
		c.refuse("WithProxyHeader(%s) is given without a proxy to believe; add WithTrustedProxies or WithTrustedHops", c.header)
	}
	return &Identifier{scheme: "ip", of: c.identity, whole: true, trusts: "proxies " + c.trust.Proxies.String(), err: errors.Join(c.errs...)}
}

// ClientIPOption configures [ClientIP]: [WithTrustedProxies], [WithTrustedHops],
// [WithProxyHeader] and [WithIPv6Prefix].
type ClientIPOption interface{ apply(c *clientIP) }

type clientIPOptionFunc func(c *clientIP)

func (f clientIPOptionFunc) apply(c *clientIP) { f(c) }

// WithTrustedProxies names the proxies that may say who their clients are: prefixes
// ("10.0.0.0/8"), single addresses ("192.0.2.7", "2001:db8::7"), and the named sets
// [Loopback] and [Private]. A header is read only when the connection's peer is among them,
// and only X-Forwarded-For unless [WithProxyHeader] names another. The lists of several
// such options are joined.
//
// Don't list a network that clients come from: a trusted address can claim to be anybody.
// Name IPv4 proxies by IPv4 prefixes; "::/0" does not include them. An IPv4 prefix also
// matches a proxy that a socket shows as "::ffff:192.0.2.7" (RFC 4291, section 2.5.5.2).
// Behind a translator or a tunnel, name the address that it makes, such as
// "64:ff9b::192.0.2.7". A peer without an address (a Unix socket) is never a trusted proxy:
// use [WithTrustedHops] there.
func WithTrustedProxies(list ...string) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		c.byProxies = true
		if len(list) == 0 {
			c.refuse("WithTrustedProxies() names no proxy; %s", acceptedProxies)
		}
		for _, text := range list {
			found, err := clientip.ParsePrefixes(text)
			if err != nil {
				c.refuse("WithTrustedProxies(%q): %w; %s", text, err, acceptedProxies)
			}
			c.trust.Proxies = append(c.trust.Proxies, found...)
		}
	})
}

// WithTrustedHops says that every request passes through n proxies, each of which appends
// the address that called it: the client is the n-th entry from the right. n is 1 or more.
// A request with a shorter chain did not pass through all proxies and counts for the
// connection's peer.
//
// Every peer is believed, a Unix socket included, so use it only where nobody can bypass
// the proxies. Prefer [WithTrustedProxies] where addresses are known. The two exclude each
// other.
func WithTrustedHops(n int) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		c.byHops = true
		if n < 1 {
			c.refuse("WithTrustedHops(%d); accepted is the number of proxies, 1 or more", n)
			return
		}
		c.trust.Hops = n
	})
}

// WithProxyHeader names the header that the trusted proxies write, in place of
// X-Forwarded-For. It needs [WithTrustedProxies] or [WithTrustedHops].
//
// If you name several, the first that the request carries is read, in this order:
// [Forwarded], [XForwardedFor], [XRealIP], [TrueClientIP], [CFConnectingIP]. Name a header
// only if every trusted proxy writes or removes it: a header that a proxy passes on
// untouched says whatever the client likes.
func WithProxyHeader(conventions ...HeaderConvention) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		if len(conventions) == 0 {
			c.refuse("WithProxyHeader() names no header; accepted are %s", acceptedConventions)
		}
		for _, name := range conventions {
			if !c.trust.Read(string(name)) {
				c.refuse("WithProxyHeader(%q) is unknown; accepted are %s", string(name), acceptedConventions)
			} else if c.header == "" {
				c.header = name
			}
		}
	})
}

// WithIPv6Prefix sets how many leading bits of an IPv6 address make the identity, 1 to
// 128; the default is 64. Choose fewer where providers give each customer a /56 or /48.
func WithIPv6Prefix(bits int) ClientIPOption {
	return clientIPOptionFunc(func(c *clientIP) {
		if bits < 1 || bits > 128 {
			c.refuse("WithIPv6Prefix(%d); accepted is 1 to 128 bits", bits)
			return
		}
		c.ipv6Bits = bits
	})
}

// clientIP is the configuration and the little state behind [ClientIP].
type clientIP struct {
	trust    clientip.Trust
	header   HeaderConvention // the first of WithProxyHeader
	ipv6Bits int
	// byProxies and byHops tell that an option was given, even a wrong one.
	byProxies, byHops bool
	errs              []error
	public            forwardedSample
}

// refuse keeps a configuration error.
func (c *clientIP) refuse(format string, args ...any) {
	c.errs = append(c.errs, configError(format, args...))
}

// identity returns the whole identity of r: one allocation, its string.
func (c *clientIP) identity(r *Request) (string, error) {
	if !c.byProxies && !c.byHops { // nearly every server, asked on every request
		if peer, host, ok := clientip.ReadIPv4(r.RemoteAddr); ok {
			c.lookForProxy(r, peer)
			return "ip:" + host, nil
		}
	}
	addr, believed := c.trust.Client(r.RemoteAddr, r.Header)
	if !addr.IsValid() {
		return "", ErrAbsent
	}
	if !believed {
		c.lookForProxy(r, addr)
	}
	addr = clientip.Unembed(addr)
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

const (
	sampleSize  = 64 // requests of one sample
	sampleMost  = 56 // of them with a header: more than clients that send one by themselves
	sampleEvery = 16 // after the first sample, so that looking costs next to nothing
)

// forwardedSample tells whether the public peers look like proxies. Overlapping samples do no
// harm.
type forwardedSample struct {
	asked, with atomic.Int32
	later       atomic.Bool // the first sample is complete
	proxied     atomic.Bool // the latest complete sample says so
}

// lookForProxy notes a header that is not believed if its peer looks like a proxy: all
// clients behind that peer share one bucket. The throttle that asked for the address logs
// it.
func (c *clientIP) lookForProxy(r *Request, peer netip.Addr) {
	private, s := clientip.IsPrivate(peer), &c.public
	if !private && s.later.Load() && !sampled() {
		return
	}
	header := clientip.Present(r.Header)
	if !private {
		if header != 0 {
			s.with.Add(1)
		}
		if s.asked.Add(1) == sampleSize {
			s.proxied.Store(s.with.Swap(0) >= sampleMost)
			s.later.Store(true)
			s.asked.Store(0)
		}
	}
	if header != 0 && (private || s.proxied.Load()) {
		r.memo().ignored = header
	}
}

// sampled chooses about one of sampleEvery requests by chance, so traffic in which every
// second request is special is sampled fairly.
func sampled() bool { return rand.Uint32()%sampleEvery == 0 } //nolint:gosec // no secret
