package clientip

import (
	"net/netip"
	"strings"
)

// ReadHop reads an address with or without a port: "192.0.2.1", "192.0.2.1:80",
// "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". It drops the zone and takes IPv4
// out of "::ffff:192.0.2.1", so that one client has one address. Names are not resolved.
func ReadHop(text string) (netip.Addr, bool) {
	host, ok := cutPort(text)
	if !ok {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, false
	}
	return addr.WithZone("").Unmap(), true
}

// ReadIPv4 reads the IPv4 peer of a connection as net/http tells it, "192.0.2.1:80", several
// times faster than ReadHop. It returns the address and its text. What is not ok may still
// be an address for ReadHop.
func ReadIPv4(text string) (addr netip.Addr, host string, ok bool) {
	var octets [4]byte
	rest := text
	for i := range octets {
		value, n := 0, 0
		for ; n < len(rest) && n < 4 && '0' <= rest[n] && rest[n] <= '9'; n++ {
			value = 10*value + int(rest[n]-'0')
		}
		// One address has one text: a leading zero is as wrong here as for netip.
		if n == 0 || n == len(rest) || rest[n] != "...:"[i] || value > 255 || n > 1 && rest[0] == '0' {
			return netip.Addr{}, "", false
		}
		octets[i], rest = byte(value), rest[n+1:]
	}
	if !isPort(rest) {
		return netip.Addr{}, "", false
	}
	return netip.AddrFrom4(octets), text[:len(text)-len(rest)-1], true
}

// cutPort drops a port. Without brackets more than one colon is an IPv6 address, whose
// last group is not a port; brackets hold nothing but IPv6.
func cutPort(text string) (host string, ok bool) {
	if inner, bracketed := strings.CutPrefix(text, "["); bracketed {
		host, port, closed := strings.Cut(inner, "]")
		isIPv6 := strings.IndexByte(host, ':') >= 0
		return host, closed && isIPv6 && (port == "" || port[0] == ':' && isPort(port[1:]))
	}
	host, port, found := strings.Cut(text, ":")
	if !found || strings.IndexByte(port, ':') >= 0 {
		return text, text != "" // no port, or a bare IPv6 address
	}
	return host, isPort(port)
}

// isPort reads 1*5DIGIT or an obfuscated port, "_" and letters (RFC 7239, section 6).
func isPort(text string) bool {
	if hidden, obfuscated := strings.CutPrefix(text, "_"); obfuscated {
		return IsToken(hidden)
	}
	for i := range len(text) { // on the way of every request: strings.TrimLeft takes four times as long
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 5
}

// IsPrivate reports whether addr lies in Private or Loopback.
func IsPrivate(addr netip.Addr) bool {
	return addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast()
}
