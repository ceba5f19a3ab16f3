package clientip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Prefixes is a set of networks, few enough to be searched in order.
type Prefixes []netip.Prefix

// Named sets that ParsePrefixes reads.
const (
	Loopback = "loopback"
	Private  = "private"
)

var (
	loopback = mustParse("127.0.0.0/8", "::1/128")
	private  = mustParse("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "169.254.0.0/16", "fe80::/10")
)

func mustParse(texts ...string) (p Prefixes) {
	for _, text := range texts {
		p = append(p, netip.MustParsePrefix(text))
	}
	return p
}

// ParsePrefixes reads a prefix, an address, Loopback or Private.
func ParsePrefixes(text string) (Prefixes, error) {
	switch text {
	case Loopback:
		return loopback, nil
	case Private:
		return private, nil
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		if addr.Zone() != "" {
			return nil, fmt.Errorf("the zone %q can't be told on the peer's side", addr.Zone())
		}
		addr = addr.Unmap()
		return Prefixes{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, err
	}
	if prefix.Addr().Is4In6() {
		// Addresses are compared unmapped, so the prefix has to be unmapped too.
		if prefix.Bits() < 96 {
			return nil, errors.New("it holds more than the IPv4 addresses; write them as 0.0.0.0/0")
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return Prefixes{prefix.Masked()}, nil
}

// Contain reports whether addr, unmapped and without a zone as ReadHop returns it, lies
// in one of the networks.
func (p Prefixes) Contain(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// String returns one text for all lists of the same networks.
func (p Prefixes) String() string {
	names := make([]string, len(p))
	for i := range p {
		names[i] = p[i].String()
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}
