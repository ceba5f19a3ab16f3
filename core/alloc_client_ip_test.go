//go:build !race

package traffik

import "testing"

// TestClientIPAllocatesItsStringOnly is not parallel: AllocsPerRun counts for
// the whole process. The race detector allocates, too.
func TestClientIPAllocatesItsStringOnly(t *testing.T) { //nolint:paralleltest // see above
	for _, tc := range []struct {
		name string
		id   *Identifier
		req  Request
		most float64
	}{
		{"IPv4 peer", ClientIP(), Request{RemoteAddr: "192.0.2.1:1234"}, 1},
		{"IPv6 peer", ClientIP(), Request{RemoteAddr: "[2001:db8::1]:1234"}, 1},
		{"private peer", ClientIP(), Request{RemoteAddr: "10.0.0.1:1234", Header: headerOf("Accept", "*/*")}, 1},
		{
			"behind proxies", ClientIP(WithTrustedProxies(Private)),
			Request{RemoteAddr: "10.0.0.1:1234", Header: headerOf("X-Forwarded-For", "198.51.100.9, 10.0.0.3")},
			1,
		},
		{
			"Forwarded", ClientIP(WithTrustedProxies(Private), WithProxyHeader(Forwarded)),
			Request{RemoteAddr: "10.0.0.1:1234", Header: headerOf("Forwarded", `for="[2001:db8::1]:80";proto=https, for=10.0.0.3`)},
			1,
		},
		{"Shared", Shared(), Request{}, 0},
		{"FirstOf passing over", FirstOf(ByHeader("X-API-Key"), ClientIP()), Request{RemoteAddr: "192.0.2.1:1234"}, 1},
	} {
		r := new(Request)
		got := testing.AllocsPerRun(100, func() {
			*r = tc.req // nothing is remembered from the last run
			if _, err := tc.id.Identity(r); err != nil {
				t.Fatal(err)
			}
		})
		if got > tc.most {
			t.Errorf("%s: %v allocations, at most %v", tc.name, got, tc.most)
		}
	}
}

func BenchmarkClientIP(b *testing.B) {
	id, r := ClientIP(), new(Request)
	b.ReportAllocs()
	for b.Loop() {
		*r = Request{RemoteAddr: "192.0.2.1:1234"}
		if _, err := id.Identity(r); err != nil {
			b.Fatal(err)
		}
	}
}
