package proxies

import (
	"encoding/json"
	"net"
	"net/http"
	"testing"
)

// Each client calls from a different address of this host.
const (
	alice = "127.0.0.2"
	bob   = "127.0.0.3"
)

// get sends a request from the address ip. It returns the status and, of a
// request that was let through, the headers that the server was sent.
func get(t *testing.T, ip, addr string, header http.Header) (status int, seen http.Header) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, lines := range header {
		req.Header[name] = lines
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&seen); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, seen
}

// forgeries are what a client may send to pass for another one: as many as it
// has requests.
var forgeries = [limitOf]http.Header{
	{},
	{"X-Forwarded-For": {"203.0.113.7"}},
	{"X-Forwarded-For": {alice, bob}},
	{"X-Forwarded-For": {bob + ", " + alice + ", 198.51.100.1", "203.0.113.8"}},
	{"X-Forwarded-For": {"203.0.113.9, " + nginxAddr, haproxyAddr}},
	{"X-Forwarded-For": {`"203.0.113.10`, "unknown, ,", `\"`}},
	{"Forwarded": {"for=203.0.113.11", `for="` + nginxAddr + `"`}},
	{"X-Real-Ip": {"203.0.113.12"}},
	{"X-Real-Ip": {bob, alice}},
	{"True-Client-Ip": {"203.0.113.13"}},
	{"Cf-Connecting-Ip": {"203.0.113.14"}},
	{"X_forwarded_for": {"203.0.113.16"}},
	{"Connection": {"X-Forwarded-For, X-Real-IP"}}, // asks for their removal on the way
	{
		"X-Forwarded-For": {"203.0.113.15"}, "Forwarded": {"for=203.0.113.15"}, "X-Real-Ip": {"203.0.113.15"},
		"True-Client-Ip": {"203.0.113.15"}, "Cf-Connecting-Ip": {"203.0.113.15"},
	},
}

// spend sends every forgery from ip. All must be let through, all from the
// bucket of ip, and nothing more after them.
func spend(t *testing.T, a app, ip, addr string) {
	t.Helper()
	for i, forgery := range forgeries {
		if status, _ := get(t, ip, addr, forgery); status != http.StatusOK {
			t.Errorf("request %d of %s with %v: %d", i+1, ip, forgery, status)
		}
		if left, want := a.left(t, ip), int64(limitOf-1-i); left != want {
			t.Fatalf("after request %d with %v %s has %d left, want %d", i+1, forgery, ip, left, want)
		}
	}
	for _, forgery := range forgeries {
		if status, _ := get(t, ip, addr, forgery); status != http.StatusTooManyRequests {
			t.Errorf("beyond the limit %s with %v: %d", ip, forgery, status)
		}
	}
}

// mustTellApart checks that two clients have a bucket each and no forgery
// another.
func mustTellApart(t *testing.T, a app, addr string) {
	t.Helper()
	spend(t, a, alice, addr)
	if left := a.left(t, bob); left != limitOf {
		t.Errorf("%s, who sent nothing, has %d left", bob, left)
	}
	spend(t, a, bob, addr)
	if n := a.backend.Len(); n != 2 {
		t.Errorf("two clients have %d buckets", n)
	}
}
