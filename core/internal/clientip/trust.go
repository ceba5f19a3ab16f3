// Package clientip finds a client's address from the peer of its connection, the
// forwarding headers of its request and the proxies that are trusted. It is pure: it
// opens no connection, resolves no name and keeps nothing.
package clientip

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Trust says whose forwarding headers are believed. The zero Trust believes nobody.
// It may be used concurrently once it is set up.
type Trust struct {
	// Proxies are the networks of the trusted proxies.
	Proxies Prefixes
	// Hops, if above 0, is how many proxies each request passes through, whoever they
	// are. Proxies is not consulted then.
	Hops int
	// headers has a bit for each of Conventions to read; 0 means X-Forwarded-For.
	headers uint8
}

// Read adds the header called name, in any letter case, to those that are read. It
// reports whether the name is one of Conventions.
func (t *Trust) Read(name string) bool {
	i := slices.IndexFunc(Conventions[:], func(c Convention) bool { return strings.EqualFold(c.Name, name) })
	if i >= 0 {
		t.headers |= 1 << i
	}
	return i >= 0
}

// Client returns the client's address, the zero Addr if it has none, and whether the
// peer was believed.
func (t *Trust) Client(peer string, header http.Header) (addr netip.Addr, believed bool) {
	addr, ok := ReadHop(peer)
	if t.Hops > 0 || ok && t.Proxies.Contain(addr) {
		return t.behind(addr, header), true
	}
	return addr, false
}

// behind returns the client behind a believed peer. The first header present decides,
// even when nothing in it can be read: moving on to the next would let a client pick the
// one that suits it.
func (t *Trust) behind(peer netip.Addr, header http.Header) netip.Addr {
	read := t.headers
	if read == 0 {
		read = 1 << xForwardedFor
	}
	for i := range Conventions {
		convention := &Conventions[i]
		if read>>i&1 == 0 {
			continue
		}
		lines, present := header[convention.key]
		switch {
		case !present:
			continue
		case convention.single:
			return onlyHop(lines, peer)
		}
		return t.walk(chain{pairs: convention.pairs, lines: lines}, peer)
	}
	return peer
}

// walk follows the hops from the right to the client. With Hops it is the hop of that
// number; a shorter chain was not written by the proxies and counts for the peer.
// Otherwise it is the first hop that is no trusted proxy, since everything to its left is
// that hop's claim; if all are trusted, the client is the leftmost. An unreadable hop
// ends the walk at the hop before it.
func (t *Trust) walk(hops chain, peer netip.Addr) netip.Addr {
	last := peer
	for n := 1; hops.next(); n++ {
		if !hops.readable {
			return last
		}
		last = hops.hop
		if n == t.Hops || t.Hops == 0 && !t.Proxies.Contain(last) {
			return last
		}
	}
	if t.Hops > 0 {
		return peer
	}
	return last
}

// onlyHop returns the address of a header that holds one. Several lines, or a list in
// one, were not written by a proxy that overwrites what it received: none is believed.
func onlyHop(lines []string, peer netip.Addr) netip.Addr {
	if len(lines) == 1 {
		if hop, ok := ReadHop(TrimOWS(lines[0])); ok {
			return hop
		}
	}
	return peer
}
