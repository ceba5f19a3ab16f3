package traffik

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// spellings of one value of the Authorization header, by name of the value.
var spellings = map[string][]string{
	"bearer":          {"Bearer secret", "bearer secret", "BEARER secret", "bEaReR secret", "Bearer  secret", "Bearer   secret ", "Bearer\tsecret", " Bearer secret"},
	"another bearer":  {"Bearer Secret"},
	"scheme of ours":  {"Token secret", "token secret"},
	"bare":            {"secret"},
	"bare, otherwise": {"Secret"},
	"bare and longer": {"secret=="},
	// "u:pw", with the unused bits of the last character and the padding.
	"basic":               {"Basic dTpwdw==", "basic dTpwdw==", "BASIC  dTpwdw==", "Basic dTpwdx==", "Basic dTpwd/==", "Basic dTpwdw", "Basic dTpwdw="},
	"another password":    {"Basic dTpwZA==", "basic dTpwZA=="},
	"user and password":   {"Basic dTpwdzpw"},
	"no base64":           {"Basic u:pw", "basic u:pw"},
	"plain as base64":     {"Basic " + base64.StdEncoding.EncodeToString([]byte("basic u:pw"))},
	"token68 with equals": {"Bearer dTpwdw=="},
	"without them":        {"Bearer dTpwdw"},
	"parameters":          {`Digest username="u", nonce="n"`, `DIGEST  username="u", nonce="n"`},
	"other parameters":    {`Digest username="u", nonce="m"`},
	"no credentials":      {"Negotiate"},
}

// One credential is one identity however HTTP lets it be spelled, and two are two.
func TestByHeaderSpellingsOfACredential(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Authorization", "authorization", "Proxy-Authorization"} {
		id := ByHeader(name)
		known := map[string]string{}
		for value, texts := range spellings {
			want := ""
			for _, text := range texts {
				got := mustIdentity(t, id, &Request{Header: http.Header{http.CanonicalHeaderKey(name): {text}}})
				if want == "" {
					want = got
				}
				if got != want {
					t.Errorf("%s: %q is %s, want %s as of %q", name, text, got, want, texts[0])
				}
			}
			if other, taken := known[want]; taken {
				t.Errorf("%s: %q and %q are both %s", name, value, other, want)
			}
			known[want] = value
			if strings.Contains(want, "secret") || strings.Contains(want, "pw") {
				t.Errorf("the identity %s shows the credential", want)
			}
		}
	}
	// All 64 cases of one scheme.
	seen := map[string]bool{}
	for mask := range 64 {
		scheme := []byte("bearer")
		for i := range scheme {
			if mask>>i&1 == 1 {
				scheme[i] -= 'a' - 'A'
			}
		}
		seen[mustIdentity(t, ByHeader("Authorization"), &Request{Header: http.Header{"Authorization": {string(scheme) + " secret"}}})] = true
	}
	if len(seen) != 1 {
		t.Errorf("64 spellings of one scheme make %d identities", len(seen))
	}
	// Other headers are compared byte by byte.
	if key := ByHeader("X-API-Key"); mustIdentity(t, key, &Request{Header: http.Header{"X-Api-Key": {"Bearer a"}}}) ==
		mustIdentity(t, key, &Request{Header: http.Header{"X-Api-Key": {"bearer a"}}}) {
		t.Error("the case of another header's value is lost")
	}
	if host := ByHeader("Host"); mustIdentity(t, host, &Request{Host: "Example.com"}) != mustIdentity(t, host, &Request{Host: "example.COM"}) {
		t.Error("one host is two identities")
	}
	absent := mustIdentity(t, ByHeader("Authorization"), &Request{Header: http.Header{"Authorization": {" "}}})
	if absent != "header.authorization:" {
		t.Errorf("blank credentials are %q, want the anonymous identity", absent)
	}
}

// One user and password, as net/http reads them, is one identity.
func FuzzBasicCredentials(f *testing.F) {
	f.Add("dTpwdw==", "dTpwdx==")
	f.Add("dTpwdw==", "dTpwdw")
	f.Fuzz(func(t *testing.T, a, b string) {
		read := func(text string) (string, string, bool) {
			return (&http.Request{Header: http.Header{"Authorization": {"Basic " + text}}}).BasicAuth()
		}
		userA, passwordA, okA := read(a)
		userB, passwordB, okB := read(b)
		if !okA || !okB {
			return
		}
		same := credentials("Basic "+a) == credentials("basic "+b)
		if want := userA == userB && passwordA == passwordB; same != want {
			t.Errorf("%q and %q: one identity %t, want %t", a, b, same, want)
		}
	})
}

func TestIdentityOfChecksItsScheme(t *testing.T) {
	t.Parallel()
	for scheme, want := range map[string]string{
		"user": "user:a%7Cb", "value.user": "value.user:a%7Cb", "ip": "ip:a%7Cb", "query.日": "query.日:a%7Cb",
		ByParam("a b:c").scheme: "param.a%20b%3Ac:a%7Cb",
	} {
		if got := IdentityOf(scheme, "a|b"); got != want {
			t.Errorf("IdentityOf(%q): %q, want %q", scheme, got, want)
		}
	}
	// IdentityOf accepts the scheme of every identifier.
	type key struct{ n int }
	for _, id := range []*Identifier{
		ClientIP(), ByRoute(), Shared(), ByHeader("X-!#$%&'*+-.^_`|~"), ByHeader(strings.Repeat("x", 200)), ByCookie("a|b"), ByQuery("a b"),
		ByParam("ключ"), ByValue(key{7}), ByValue(42), Identify("a-b_c.9", func(*Request) (string, error) { return "", nil }), FirstOf(Shared()), Combine(Shared()),
	} {
		if !isScheme(id.scheme) {
			t.Errorf("the scheme %q of an identifier is refused", id.scheme)
		}
	}
	for _, scheme := range []string{"", ":", "user:", "user:x", "a+b", "a|b", "a b", " user", "user\n", "9", "_", "日", "a{b", "a}b", "a\x7f", "-a"} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.Contains(text, "accepted is") {
					t.Errorf("IdentityOf(%q) panics with %q, want a panic with the cure", scheme, text)
				}
			}()
			t.Errorf("IdentityOf(%q) is %q, want a panic", scheme, IdentityOf(scheme, "x"))
		}()
	}
}
