package clientip

import (
	"net/http"
	"net/netip"
	"strings"
)

// Convention is a header in which proxies tell the client's address.
type Convention struct {
	Name   string
	key    string // Name as http.Header has it
	single bool   // it holds one address, not a list
	pairs  bool   // its elements are name=value pairs (RFC 7239)
}

// Conventions are all that are known, in the order in which they are tried.
var Conventions = [...]Convention{
	{Name: "Forwarded", key: "Forwarded", pairs: true},
	{Name: "X-Forwarded-For", key: "X-Forwarded-For"},
	{Name: "X-Real-IP", key: "X-Real-Ip", single: true},
	{Name: "True-Client-IP", key: "True-Client-Ip", single: true},
	{Name: "CF-Connecting-IP", key: "Cf-Connecting-Ip", single: true},
}

// xForwardedFor is the index of the default convention.
const xForwardedFor = 1

// Present returns the number of the first convention that h follows, counted from 1, and
// 0 for none.
func Present(h http.Header) uint8 {
	for i := range Conventions {
		if _, present := h[Conventions[i].key]; present {
			return uint8(i + 1) //nolint:gosec // there are five
		}
	}
	return 0
}

// chain walks the hops of a list from the right, over all lines of the header: the
// nearest proxy wrote the last one. Splitting starts from the right too, because what a
// client sends stands to the left of what the proxies append: no quote or comma of the
// client reaches theirs. The work is linear in the bytes passed over, so
// http.Server.MaxHeaderBytes bounds it.
type chain struct {
	pairs bool
	lines []string // not yet begun
	rest  string   // of the line being read

	hop      netip.Addr // set by next
	readable bool
}

// next moves one hop to the left and reports whether there was one. Empty list elements
// are no hops (RFC 9110, section 5.6.1.2). What is no address ("unknown", "_hidden") is
// not readable, whatever its port or quoting.
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
			if c.pairs {
				element = forwardedFor(element)
			}
			c.hop, c.readable = ReadHop(element)
			return true
		}
	}
}

// cutLast takes the last element off the rest of the line. Lists without pairs have no
// quoting, so a quote in them protects no comma: it must not swallow what a proxy
// appended.
func (c *chain) cutLast() string {
	comma := 0
	if c.pairs {
		comma = lastUnquotedComma(c.rest)
	} else {
		comma = strings.LastIndexByte(c.rest, ',')
	}
	element := TrimOWS(c.rest[comma+1:])
	c.rest = c.rest[:max(comma, 0)]
	return element
}
