package traffik

import (
	"net/netip"
	"strings"
)

// HeaderConvention names a header in which proxies tell who is behind them.
type HeaderConvention string

// Conventions for [FromHeader].
//
// Forwarded and X-Forwarded-For are lists: every proxy appends the address it
// was called from. The others hold one address, that of the client, set by the
// outermost proxy and handed on; they are read as such whatever the number of
// [TrustedHops]. More than one line or address in them is unreadable.
const (
	Forwarded      HeaderConvention = "Forwarded"        // RFC 7239
	XForwardedFor  HeaderConvention = "X-Forwarded-For"  // a list of addresses
	XRealIP        HeaderConvention = "X-Real-IP"        // nginx
	TrueClientIP   HeaderConvention = "True-Client-IP"   // Akamai, Cloudflare Enterprise
	CFConnectingIP HeaderConvention = "CF-Connecting-IP" // Cloudflare
)

const acceptedConventions = "Forwarded, XForwardedFor, XRealIP, TrueClientIP and CFConnectingIP"

// convention is how one header is found and read.
type convention struct {
	order  int
	name   HeaderConvention
	key    string // the name as http.Header has it
	single bool   // one address, not a list
}

// conventions are all that are known, in the order in which they are tried.
var conventions = [...]convention{
	{order: 0, name: Forwarded, key: "Forwarded"},
	{order: 1, name: XForwardedFor, key: "X-Forwarded-For"},
	{order: 2, name: XRealIP, key: "X-Real-Ip", single: true},
	{order: 3, name: TrueClientIP, key: "True-Client-Ip", single: true},
	{order: 4, name: CFConnectingIP, key: "Cf-Connecting-Ip", single: true},
}

// conventionOf finds a convention by its name; case does not matter, as in the
// header itself.
func conventionOf(name HeaderConvention) (convention, bool) {
	for _, known := range conventions {
		if strings.EqualFold(string(known.name), string(name)) {
			return known, true
		}
	}
	return convention{}, false
}

// chain walks the hops that a list convention recorded, from the right, over
// all lines of the header: the nearest proxy wrote the last one. Its work is
// linear in the bytes it passes over, so the server's limit on header size
// (http.Server.MaxHeaderBytes) bounds it.
//
// Splitting starts from the right, too: what a client sends stands to the left
// of what the proxies append, so no quote or comma of its own reaches theirs.
type chain struct {
	from  HeaderConvention
	lines []string // not yet begun
	rest  string   // of the line being read

	hop      netip.Addr // set by next
	readable bool
}

// next moves one hop to the left and reports whether there was one. Empty list
// elements are no hops, RFC 9110 section 5.6.1.2.
func (c *chain) next() bool {
	for {
		if c.rest == "" {
			if len(c.lines) == 0 {
				return false
			}
			last := len(c.lines) - 1
			c.rest, c.lines = c.lines[last], c.lines[:last]
		}
		if element := c.cutLast(); element != "" {
			c.read(element)
			return true
		}
	}
}

// cutLast takes the last element off the rest of the line. X-Forwarded-For has
// no quoting, so a quote in it protects no comma: whoever wrote one there, it
// must not swallow what a proxy appended.
func (c *chain) cutLast() string {
	comma := 0
	if c.from == Forwarded {
		comma = lastUnquotedComma(c.rest)
	} else {
		comma = strings.LastIndexByte(c.rest, ',')
	}
	element := trimOWS(c.rest[comma+1:])
	c.rest = c.rest[:max(comma, 0)]
	return element
}

// read sets hop and readable. What is no address ("unknown", "_hidden") can't be
// trusted either, whatever its port or quoting.
func (c *chain) read(element string) {
	if c.from == Forwarded {
		element = forwardedFor(element)
	}
	c.hop, c.readable = readHop(element)
}

// lastUnquotedComma returns the index of the last comma outside of a quoted
// string, -1 if there is none. Read from the right, a quote that is not escaped
// closes, and the next such one opens. A run of backslashes is counted for the
// one quote that follows it, so one pass is all it takes.
func lastUnquotedComma(s string) int {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case s[i] == '"' && !isEscaped(s, i):
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return i
		}
	}
	return -1
}

// isEscaped reports whether an odd number of backslashes precedes s[i].
func isEscaped(s string, i int) bool {
	before := s[:i]
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// forwardedFor returns the node that the "for" parameter of a forwarded-element
// names (RFC 7239 section 4), "" if the element has none, has two, or is
// malformed.
//
// Slightly more is read than the RFC allows, since proxies in use write it:
// white space around ";", and unquoted values with ":", "[" and "]".
func forwardedFor(element string) string {
	node := ""
	for element != "" {
		name, value, rest, wellFormed := cutPair(element)
		if !wellFormed {
			return ""
		}
		if strings.EqualFold(name, "for") {
			if node != "" {
				return ""
			}
			node = value
		}
		element = rest
	}
	return unquote(node)
}

// cutPair takes the first name=value off s. The value is still quoted. Empty
// pairs are allowed by the grammar; the name is "" when nothing else is left.
func cutPair(s string) (name, value, rest string, ok bool) {
	s = strings.TrimLeft(s, "; \t")
	if s == "" {
		return "", "", "", true
	}
	name, s, ok = strings.Cut(s, "=")
	if !ok || !isToken(name) {
		return "", "", "", false
	}
	end := valueEnd(s)
	if end == 0 {
		return "", "", "", false
	}
	value, rest = s[:end], strings.TrimLeft(s[end:], " \t")
	return name, value, rest, rest == "" || rest[0] == ';'
}

// valueEnd returns the length of the value at the start of s, quotes included,
// 0 if it is empty or its quoted string does not end. Unquoted it is any
// visible ASCII without a meaning of its own: a sloppy "path=/a" beside a good
// "for" should not make the hop unreadable.
func valueEnd(s string) int {
	if !strings.HasPrefix(s, `"`) {
		for i := range len(s) {
			if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`";,\`, s[i]) >= 0 {
				return i
			}
		}
		return len(s)
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// unquote returns the text of a token or of a complete quoted-string, RFC 9110
// section 5.6.4.
func unquote(value string) string {
	if !strings.HasPrefix(value, `"`) {
		return value
	}
	value = value[1 : len(value)-1]
	if strings.IndexByte(value, '\\') < 0 {
		return value
	}
	text := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' {
			i++
		}
		text = append(text, value[i])
	}
	return string(text)
}

// trimOWS drops optional white space, RFC 9110 section 5.6.3.
func trimOWS(s string) string { return strings.Trim(s, " \t") }

// isToken reports whether s is a token, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

// isAlphanumeric reports whether c is ALPHA or DIGIT, RFC 5234.
func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// readHop reads an address with or without a port: "192.0.2.1", "192.0.2.1:80",
// "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". The zone is dropped and
// IPv4 taken out of IPv6, so that one client has one address however its
// connection came about. Names are never resolved.
func readHop(text string) (netip.Addr, bool) {
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

// cutPort drops a port. Without brackets more than one colon is an IPv6
// address, whose last group is not a port; brackets hold nothing but IPv6.
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

// isPort reads 1*5DIGIT or an obfuscated port, "_" and letters (RFC 7239
// section 6).
func isPort(text string) bool {
	if hidden, obfuscated := strings.CutPrefix(text, "_"); obfuscated {
		return hidden != "" && isToken(hidden)
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= 5
}
