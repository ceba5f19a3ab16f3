package clientip

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const (
	proxyPeer = "10.0.0.1:4711" // trusted in the tests below
	proxyID   = "ip:10.0.0.1"
)

// behind returns the trust in proxies that write the headers named.
func behind(proxies []string, headers ...string) *Trust {
	t := &Trust{}
	for _, text := range proxies {
		found, err := ParsePrefixes(text)
		if err != nil {
			panic(err)
		}
		t.Proxies = append(t.Proxies, found...)
	}
	return read(t, headers...)
}

// hops returns the trust in n proxies that write the headers named.
func hops(n int, headers ...string) *Trust { return read(&Trust{Hops: n}, headers...) }

func read(t *Trust, headers ...string) *Trust {
	for _, name := range headers {
		if !t.Read(name) {
			panic(name)
		}
	}
	return t
}

// headerOf returns a header of names and lines in turn.
func headerOf(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// identityOf is the client as package traffik counts it.
func identityOf(trust *Trust, peer string, header http.Header) string {
	addr, _ := trust.Client(peer, header)
	if addr = Unembed(addr); !addr.IsValid() {
		return "ip:"
	}
	return keyInFuzz(addr)
}

// walkCase is a header of several lines behind a trusted proxy, and who the
// client is.
type walkCase struct {
	name  string
	lines []string
	want  string
}

func checkWalks(t *testing.T, trust *Trust, header string, cases []walkCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var pairs []string
			for _, line := range tc.lines {
				pairs = append(pairs, header, line)
			}
			if got := identityOf(trust, proxyPeer, headerOf(pairs...)); got != tc.want {
				t.Errorf("%q: %q, want %q", tc.lines, got, tc.want)
			}
		})
	}
}

func TestXForwardedForIsWalkedFromTheRight(t *testing.T) {
	t.Parallel()
	checkWalks(t, behind([]string{"10.0.0.0/8", "2001:db8:1::/48"}), "X-Forwarded-For", []walkCase{
		{"one", []string{"198.51.100.9"}, "ip:198.51.100.9"},
		{"forged on the left", []string{"1.1.1.1, 198.51.100.9"}, "ip:198.51.100.9"},
		{"forged as a proxy", []string{"1.1.1.1, 10.0.0.9, 198.51.100.9, 10.0.0.2"}, "ip:198.51.100.9"},
		{"lines are joined", []string{"1.1.1.1", "198.51.100.9", "10.0.0.2"}, "ip:198.51.100.9"},
		{"lines and lists", []string{"1.1.1.1, 198.51.100.9", "10.0.0.3, 10.0.0.2"}, "ip:198.51.100.9"},
		{"all trusted", []string{"10.0.0.4, 10.0.0.3"}, "ip:10.0.0.4"},
		{"unreadable nearest", []string{"1.1.1.1, unknown"}, proxyID},
		{"unreadable behind a proxy", []string{"1.1.1.1, garbage, 10.0.0.2"}, "ip:10.0.0.2"},
		{"unreadable beyond the client", []string{"garbage, 198.51.100.9"}, "ip:198.51.100.9"},
		{"hidden", []string{"1.1.1.1, _hidden, 10.0.0.2"}, "ip:10.0.0.2"},
		{"two in one element", []string{"1.1.1.1 198.51.100.9"}, proxyID},
		{"quoted", []string{`"198.51.100.9"`}, proxyID},
		{"a comma in quotes is no quote here", []string{`"1.1.1.1, 198.51.100.9`}, "ip:198.51.100.9"},
		{"empty elements", []string{", ,198.51.100.9,, \t,"}, "ip:198.51.100.9"},
		{"empty lines", []string{"198.51.100.9", "", " "}, "ip:198.51.100.9"},
		{"nothing", []string{""}, proxyID},
		{"no line", nil, proxyID},
		{"port", []string{"198.51.100.9:1234"}, "ip:198.51.100.9"},
		{"IPv6", []string{"2001:db8:9::1"}, "ip:2001:db8:9::/64"},
		{"IPv6 in brackets", []string{"[2001:db8:9::1]"}, "ip:2001:db8:9::/64"},
		{"IPv6 and port", []string{"[2001:db8:9::1]:80"}, "ip:2001:db8:9::/64"},
		{"IPv6 proxy", []string{"198.51.100.9, 2001:db8:1::5"}, "ip:198.51.100.9"},
		{"mapped client", []string{"::ffff:198.51.100.9"}, "ip:198.51.100.9"},
		{"mapped proxy", []string{"198.51.100.9, ::ffff:10.0.0.2"}, "ip:198.51.100.9"},
		{"zone", []string{"fe80::1%eth0"}, "ip:fe80::/64"},
		{"tabs", []string{"1.1.1.1,\t198.51.100.9\t"}, "ip:198.51.100.9"},
		{"other white space", []string{"1.1.1.1,\u00a0198.51.100.9"}, proxyID},
		{"leading zeros", []string{"1.1.1.1, 010.0.0.1"}, proxyID},
	})
}

func TestForwardedIsWalkedFromTheRight(t *testing.T) {
	t.Parallel()
	checkWalks(t, behind([]string{"10.0.0.0/8"}, "Forwarded"), "Forwarded", []walkCase{
		{"one", []string{"for=198.51.100.9"}, "ip:198.51.100.9"},
		{"forged on the left", []string{"for=1.1.1.1, for=198.51.100.9"}, "ip:198.51.100.9"},
		{"lines", []string{"for=1.1.1.1", "for=198.51.100.9", "for=10.0.0.2"}, "ip:198.51.100.9"},
		{"all trusted", []string{"for=10.0.0.4, for=10.0.0.3"}, "ip:10.0.0.4"},
		{"parameters", []string{"by=10.0.0.2;for=198.51.100.9;proto=https;host=a.example"}, "ip:198.51.100.9"},
		{"names ignore case", []string{"Proto=http;FOR=198.51.100.9"}, "ip:198.51.100.9"},
		{"space around ;", []string{"for=198.51.100.9 ;\tproto=https"}, "ip:198.51.100.9"},
		{"empty pairs", []string{";for=198.51.100.9;;"}, "ip:198.51.100.9"},
		{"quoted", []string{`for="198.51.100.9"`}, "ip:198.51.100.9"},
		{"quoted port", []string{`for="198.51.100.9:80"`}, "ip:198.51.100.9"},
		{"quoted IPv6", []string{`for="[2001:db8:9::1]"`}, "ip:2001:db8:9::/64"},
		{"quoted IPv6 and port", []string{`for="[2001:db8:9::1]:4711"`}, "ip:2001:db8:9::/64"},
		{"hidden port", []string{`for="[2001:db8:9::1]:_http"`}, "ip:2001:db8:9::/64"},
		{"unquoted IPv6", []string{`for=[2001:db8:9::1]:80`}, "ip:2001:db8:9::/64"},
		{"escapes", []string{`for="198\.51.1\00.9"`}, "ip:198.51.100.9"},
		{"comma in quotes", []string{`for=1.1.1.1;x="a, for=2.2.2.2", for=198.51.100.9;y="b, for=3.3.3.3"`}, "ip:198.51.100.9"},
		{"quote in quotes", []string{`for=1.1.1.1, for=198.51.100.9;host="a\", for=2.2.2.2;x=\"b"`}, "ip:198.51.100.9"},
		{"backslash at the end of quotes", []string{`for=1.1.1.1, for=198.51.100.9;host="a\\"`}, "ip:198.51.100.9"},
		{"semicolon in quotes", []string{`host="a;for=1.1.1.1";for=198.51.100.9`}, "ip:198.51.100.9"},
		{"open quote of the client", []string{`for="1.1.1.1, for=198.51.100.9`}, "ip:198.51.100.9"},
		{"open quote on its own line", []string{`for="`, `for=198.51.100.9, for="10.0.0.2"`}, "ip:198.51.100.9"},
		{"client's escape before the proxy's quote", []string{`for=1.1.1.1;x=\, for="198.51.100.9"`}, "ip:198.51.100.9"},
		{"unknown", []string{"for=1.1.1.1, for=unknown"}, proxyID},
		{"hidden", []string{"for=1.1.1.1, for=_hidden, for=10.0.0.2"}, "ip:10.0.0.2"},
		{"no for", []string{"for=1.1.1.1, proto=https, for=10.0.0.2"}, "ip:10.0.0.2"},
		{"for twice", []string{"for=1.1.1.1;for=2.2.2.2"}, proxyID},
		{"quote not closed", []string{`for=1.1.1.1, for="198.51.100.9`}, proxyID},
		{"text after the quote", []string{`for=1.1.1.1, for="198.51.100.9"x`}, proxyID},
		{"pair after the quote", []string{`for="198.51.100.9"proto=https`}, proxyID},
		{"pair without ;", []string{`for=198.51.100.9 proto=https`}, proxyID},
		{"space before the value", []string{`for=1.1.1.1, for= 198.51.100.9`}, proxyID},
		{"no value", []string{"for=1.1.1.1, for="}, proxyID},
		{"no name", []string{"for=1.1.1.1, =198.51.100.9"}, proxyID},
		{"no =", []string{"for=1.1.1.1, 198.51.100.9"}, proxyID},
		{"empty quotes", []string{`for=1.1.1.1, for=""`}, proxyID},
		{"only a quote", []string{`"`}, proxyID},
		{"only a backslash", []string{`for="\`}, proxyID},
		{"empty elements", []string{", for=198.51.100.9 , ,"}, "ip:198.51.100.9"},
	})
}

// TestPresentHeaderDecidesEvenIfUnreadable: moving on to the next convention
// would let a client choose among them.
func TestPresentHeaderDecidesEvenIfUnreadable(t *testing.T) {
	t.Parallel()
	trust := behind([]string{Private}, "Forwarded", "X-Real-IP")
	for _, line := range []string{"", "for=unknown", "garbage"} {
		if got := identityOf(trust, proxyPeer, headerOf("Forwarded", line, "X-Real-IP", "198.51.100.3")); got != proxyID {
			t.Errorf("Forwarded %q: %q, want the peer", line, got)
		}
	}
}

func TestSingleValuedConventions(t *testing.T) {
	t.Parallel()
	cases := []walkCase{
		{"one", []string{"198.51.100.9"}, "ip:198.51.100.9"},
		{"space and port", []string{" 198.51.100.9:80\t"}, "ip:198.51.100.9"},
		{"IPv6", []string{"2001:db8:9::1"}, "ip:2001:db8:9::/64"},
		{"a proxy's own address", []string{"10.0.0.9"}, "ip:10.0.0.9"},
		{"list", []string{"1.1.1.1, 198.51.100.9"}, proxyID},
		{"two lines", []string{"1.1.1.1", "198.51.100.9"}, proxyID},
		{"the same twice", []string{"198.51.100.9", "198.51.100.9"}, proxyID},
		{"empty second line", []string{"198.51.100.9", ""}, proxyID},
		{"unreadable", []string{"unknown"}, proxyID},
		{"empty", []string{""}, proxyID},
	}
	checkWalks(t, behind([]string{Private}, "X-Real-IP"), "X-Real-IP", cases)
	checkWalks(t, hops(3, "CF-Connecting-IP"), "CF-Connecting-IP", cases)
}

func TestTrustedHopsCountFromTheRight(t *testing.T) {
	t.Parallel()
	two := []walkCase{
		{"exact", []string{"198.51.100.9, 192.0.2.5"}, "ip:198.51.100.9"},
		{"longer", []string{"1.1.1.1, 198.51.100.9, 192.0.2.5"}, "ip:198.51.100.9"},
		{"lines", []string{"1.1.1.1", "198.51.100.9", "192.0.2.5"}, "ip:198.51.100.9"},
		{"shorter", []string{"192.0.2.5"}, proxyID},
		{"empty", []string{""}, proxyID},
		{"unreadable first", []string{"1.1.1.1, 198.51.100.9, unknown"}, proxyID},
		{"unreadable second", []string{"1.1.1.1, unknown, 192.0.2.5"}, "ip:192.0.2.5"},
		{"unreadable third", []string{"unknown, 198.51.100.9, 192.0.2.5"}, "ip:198.51.100.9"},
	}
	checkWalks(t, hops(2), "X-Forwarded-For", two)
	var same []walkCase
	for _, tc := range two {
		lines := slices.Clone(tc.lines)
		for i, line := range lines {
			if line != "" {
				lines[i] = "for=" + strings.ReplaceAll(line, ", ", ", for=")
			}
		}
		same = append(same, walkCase{tc.name, lines, tc.want})
	}
	checkWalks(t, hops(2, "Forwarded"), "Forwarded", same)
}

// TestHostileHeaderIsReadInOnePass: a megabyte of the worst text takes linear
// time. Were it quadratic, the test would run for minutes.
func TestHostileHeaderIsReadInOnePass(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	for _, unit := range []string{",", `"`, `\`, `\"`, `",`, `for="\`, ";", "10.0.0.1,", "for=10.0.0.1,", `a="\\"`, `x=",`, "[", ":", "%"} {
		line := strings.Repeat(unit, size/len(unit))
		for _, last := range []string{"", `"`, `for="`, `, for="10.0.0.1"`} {
			header := headerOf("Forwarded", line+last, "X-Forwarded-For", line+last)
			identityOf(behind([]string{Private}), proxyPeer, header)
			identityOf(behind([]string{Private}, "Forwarded"), proxyPeer, header)
		}
	}
}

// trustedInFuzz is the reference's notion of the proxies, by other means than
// the code under test.
func trustedInFuzz(addr netip.Addr) bool { return addr.Is4() && addr.As4()[0] == 10 }

func keyInFuzz(addr netip.Addr) string {
	if addr.Is4() {
		return "ip:" + addr.String()
	}
	return "ip:" + netip.PrefixFrom(addr, 64).Masked().String()
}

// addrInFuzz reads an element of X-Forwarded-For with the standard library.
func addrInFuzz(element string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(element, "["), "]")); err == nil {
		return addr.WithZone("").Unmap(), true
	}
	pair, err := netip.ParseAddrPort(element)
	return pair.Addr().WithZone("").Unmap(), err == nil
}

// FuzzXForwardedFor: behind an untrusted peer headers never matter; behind a
// trusted one the client is the peer, or an address of the header with nothing
// but readable trusted ones to its right.
func FuzzXForwardedFor(f *testing.F) {
	for _, seed := range []string{"", "198.51.100.9", "1.1.1.1, 198.51.100.9, 10.0.0.2", "x,10.0.0.1", "[::1]:80,,", "::ffff:10.0.0.1", "10.0.0.1\n198.51.100.9"} {
		f.Add(seed, "10.0.0.2")
	}
	trust := behind([]string{"10.0.0.0/8"})
	f.Fuzz(func(t *testing.T, first, second string) {
		header := headerOf("X-Forwarded-For", first, "X-Forwarded-For", second)
		if got := identityOf(trust, "192.0.2.1:80", header); got != "ip:192.0.2.1" {
			t.Fatalf("untrusted peer, %q: %q", header, got)
		}
		allowed := map[string]bool{proxyID: true}
		elements := strings.Split(first+","+second, ",")
		for i := len(elements) - 1; i >= 0; i-- {
			element := strings.Trim(elements[i], " \t")
			addr, ok := addrInFuzz(element)
			if element != "" && !ok {
				break
			}
			if ok {
				allowed[keyInFuzz(addr)] = true
			}
			if ok && !trustedInFuzz(addr) {
				break
			}
		}
		if got := identityOf(trust, proxyPeer, header); !allowed[got] {
			t.Fatalf("%q: client %q, allowed are %v", header, got, allowed)
		}
		// Whatever a client sent, what a proxy appends counts.
		header = headerOf("X-Forwarded-For", first, "X-Forwarded-For", second+", 198.51.100.9")
		if got := identityOf(trust, proxyPeer, header); got != "ip:198.51.100.9" {
			t.Fatalf("%q: the client talked the proxy down to %q", header, got)
		}
	})
}

// FuzzForwarded states the same of Forwarded, where a client's quotes must not
// reach what a proxy appends either.
func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{
		"", "for=198.51.100.9", `for="[2001:db8::1]:80";proto=https, for=10.0.0.2`, `for="`, `x="a\", for=1.1.1.1`, `for=\`,
		`host="a,b";for=10.0.0.3`, "for=unknown", "for=_x", `for="10.0.0.\1"`, ";;,", `for=1.1.1.1;for=2.2.2.2`,
	} {
		f.Add(seed)
	}
	trust := behind([]string{"10.0.0.0/8"}, "Forwarded")
	appended := []struct{ text, want string }{
		{"for=198.51.100.9", "ip:198.51.100.9"},
		{`for="198.51.100.9:80";proto=https`, "ip:198.51.100.9"},
		{`host="a\", for=1.1.1.1;x=\"\\";for="[2001:db8:9::1]"`, "ip:2001:db8:9::/64"},
		{`for=198.51.100.9, for="10.0.0.2:80"`, "ip:198.51.100.9"},
		{"for=unknown", proxyID},
	}
	f.Fuzz(func(t *testing.T, line string) {
		header := headerOf("Forwarded", line)
		if got := identityOf(trust, "192.0.2.1:80", header); got != "ip:192.0.2.1" {
			t.Fatalf("untrusted peer, %q: %q", line, got)
		}
		for _, tail := range appended {
			joined, own := headerOf("Forwarded", line+", "+tail.text), headerOf("Forwarded", line, "Forwarded", tail.text)
			if got := identityOf(trust, proxyPeer, joined); got != tail.want {
				t.Fatalf("%q: client %q, want %q", joined, got, tail.want)
			}
			if got := identityOf(trust, proxyPeer, own); got != tail.want {
				t.Fatalf("%q: client %q, want %q", own, got, tail.want)
			}
		}
		checkForwardedClient(t, trust, line)
	})
}

// checkForwardedClient compares with a reader from the left, which knows the
// true elements wherever quotes are balanced and nothing is escaped.
func checkForwardedClient(t *testing.T, trust *Trust, line string) {
	t.Helper()
	if strings.Contains(line, `\`) || strings.Count(line, `"`)%2 == 1 {
		return
	}
	quoted := false
	elements := strings.FieldsFunc(line, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return c == ',' && !quoted
	})
	allowed := map[string]bool{proxyID: true}
	for i := len(elements) - 1; i >= 0; i-- {
		addr, named := netip.Addr{}, 0
		quoted = false
		for pair := range strings.FieldsFuncSeq(elements[i], func(c rune) bool {
			if c == '"' {
				quoted = !quoted
			}
			return c == ';' && !quoted
		}) {
			name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if !strings.EqualFold(name, "for") {
				continue
			}
			named++
			value = strings.Trim(value, `"`)
			if end := strings.LastIndex(value, ":_"); end > 0 {
				value = value[:end]
			}
			addr, _ = addrInFuzz(value)
		}
		if strings.Trim(elements[i], " \t") == "" {
			continue
		}
		if named != 1 || !addr.IsValid() {
			break
		}
		allowed[keyInFuzz(addr)] = true
		if !trustedInFuzz(addr) {
			break
		}
	}
	if got := identityOf(trust, proxyPeer, headerOf("Forwarded", line)); !allowed[got] {
		t.Fatalf("%q: client %q, allowed are %v", line, got, allowed)
	}
}
