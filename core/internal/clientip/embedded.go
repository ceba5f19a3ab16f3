package clientip

import (
	"encoding/binary"
	"net/netip"
)

// embedding is a prefix of IPv6 addresses that stand for IPv4 addresses: at a fixed
// offset, and assigned by a translator or a tunnel, so that no client chooses it.
type embedding struct {
	prefix netip.Prefix
	at     int    // index of the first byte of the IPv4 address
	xor    uint32 // how it is disguised
}

// embeddings are those that RFCs define. IPv4-mapped addresses (::ffff:0:0/96, RFC 4291,
// section 2.5.5.2) are not among them: a socket shows IPv4 peers so, and ReadHop has
// unmapped them before anything is compared.
//
// Left out, and counted as the IPv6 addresses they are:
//   - 64:ff9b:1::/48 (RFC 8215) and prefixes that a network picks itself (RFC 6052,
//     section 2.2): only that network knows where the IPv4 address stands in it.
//   - ISATAP's interface identifiers (RFC 5214, section 6.1): every host may choose one,
//     so one client could be any number of IPv4 addresses.
//   - IPv4-compatible addresses (::/96, deprecated by RFC 4291, section 2.5.5.1): nothing
//     makes them any more, and ::1 lies among them.
//   - 6rd (RFC 5969): the provider picks the prefix, and each customer has a network.
var embeddings = [...]embedding{
	{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},        // translators, RFC 6052, section 2.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0},     // stateless translators, RFC 2765, section 2.1
	{netip.MustParsePrefix("2002::/16"), 2, 0},            // 6to4, RFC 3056, section 2
	{netip.MustParsePrefix("2001::/32"), 12, 0xffff_ffff}, // Teredo, RFC 4380, section 4: the client's, inverted
}

// Unembed returns the IPv4 address that an IPv6 address stands for, otherwise addr.
func Unembed(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	for i := range embeddings {
		if e := &embeddings[i]; e.prefix.Contains(addr) {
			bytes := addr.As16()
			var v4 [4]byte
			binary.BigEndian.PutUint32(v4[:], binary.BigEndian.Uint32(bytes[e.at:])^e.xor)
			return netip.AddrFrom4(v4)
		}
	}
	return addr
}
