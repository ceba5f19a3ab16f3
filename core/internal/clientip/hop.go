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
