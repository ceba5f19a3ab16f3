package traffik

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/traffik-go/traffik/core/internal/clientip"
)

// ByHeader makes an identifier from the first line of a request header, as an
// API key: "header.x-api-key:#…". The value is always hashed, so that secrets
// reach neither the store nor a log. Requests without it, or with an empty
// one, share an anonymous identity. Case in name does not matter; a name that
// is no token (RFC 9110 section 5.1) is an error wrapping [ErrConfig], kept.
//
// Of Authorization and Proxy-Authorization all spellings that HTTP takes for one
// credential are one identity: the case of the scheme (RFC 9110, section 11.1), the
// spaces behind it (section 11.4), and for Basic the spelling of the base64 (RFC 7617):
// what counts is user and password. A value without a space is a bare token and taken as
// it is. A token is taken as it is too; where the application's reader of tokens accepts
// several spellings, as lenient decoders of a JWT's last character do, or where the
// credentials change with each request, as those of Digest do, let the authentication
// store who it found and use [ByValue]. Host is read without regard to case.
//
// A client writes what it likes into a header. Where the application does not
// refuse unknown values before the limit is asked, every new value is a new
// bucket: use [Combine] with [ClientIP], or a limit by [ClientIP] besides.
func ByHeader(name string) *Identifier {
	id := &Identifier{scheme: namedScheme("header", strings.ToLower(name))}
	if !clientip.IsToken(name) {
		id.err = configError("ByHeader(%q); accepted is the name of a header, as \"X-API-Key\"", name)
	}
	key := http.CanonicalHeaderKey(name)
	id.of = func(r *Request) (string, error) {
		value := r.Header.Get(key)
		switch key {
		case "Host": // net/http moves it out of the header
			value = strings.ToLower(r.Host)
		case "Authorization", "Proxy-Authorization":
			value = credentials(value)
		}
		return secret(value)
	}
	return id
}

// credentials is one text for all spellings of the same credentials (RFC 9110,
// section 11.4): auth-scheme [ 1*SP ( token68 / #auth-param ) ].
func credentials(value string) string {
	value = clientip.TrimOWS(value)
	space := strings.IndexAny(value, " \t")
	if space < 0 {
		return value
	}
	scheme, rest := strings.ToLower(value[:space]), clientip.TrimOWS(value[space:])
	if scheme == "basic" {
		// Readers differ in whether they insist on padding, and few look at the bits
		// of the last character that stand for nothing; net/http does not.
		if plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(rest, "=")); err == nil {
			return "basic:" + string(plain)
		}
	}
	return scheme + " " + rest
}

// ByCookie makes an identifier from a cookie, as a session:
// "cookie.session:#…". The value, read as net/http reads it, is always hashed.
// What [ByHeader] says about values that a client makes up holds here as well.
// A name that is no token is an error wrapping [ErrConfig], kept.
func ByCookie(name string) *Identifier {
	id := &Identifier{scheme: namedScheme("cookie", name)}
	if !clientip.IsToken(name) {
		id.err = configError("ByCookie(%q); accepted is the name of a cookie, as \"session\"", name)
	}
	id.of = func(r *Request) (string, error) {
		if len(r.Header["Cookie"]) == 0 {
			return "", ErrAbsent
		}
		// The application asks net/http. Reading another cookie than it does,
		// where one is malformed or sent twice, would be a way around the limit.
		cookie, err := (&http.Request{Header: r.Header}).Cookie(name)
		if err != nil {
			return "", ErrAbsent
		}
		return secret(cookie.Value)
	}
	return id
}
