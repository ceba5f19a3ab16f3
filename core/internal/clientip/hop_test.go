package clientip

import (
	"net/netip"
	"testing"
)

// What ReadIPv4 reads, ReadHop reads too, and it reads every IPv4 peer as netip writes it.
func FuzzReadIPv4(f *testing.F) {
	for _, text := range []string{
		"192.0.2.1:80", "0.0.0.0:0", "255.255.255.255:65535", "1.2.3.4:99999", "1.2.3.4:_ssh",
		"", ":", "1.2.3.4", "1.2.3.4:", "1.2.3.4:123456", "1.2.3.4:8a", "1.2.3:80", "1.2.3.4.5:80", "1.2.3.256:80", "01.2.3.4:80",
		"1.2.3.00:80", "1..3.4:80", "1.2.3.4567:80", "1.2.3.4:80:80", " 1.2.3.4:80", "[::1]:80", "[1.2.3.4]:80", "::ffff:1.2.3.4",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		addr, host, ok := ReadIPv4(text)
		slow, readable := ReadHop(text)
		if ok && (!readable || addr != slow || host != slow.String()) {
			t.Errorf("%q is %v, %q; ReadHop has %v, %v", text, addr, host, slow, readable)
		}
		if peer, err := netip.ParseAddrPort(text); err == nil && peer.Addr().Is4() && text == peer.String() && !ok {
			t.Errorf("%q is not read", text)
		}
	})
}
