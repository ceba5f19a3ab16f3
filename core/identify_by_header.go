package traffik

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/traffik-go/traffik/core/internal/clientip"
)

// ByHeader makes an identifier from the first line of a request header, such as an API key:
// "header.x-api-key:#…". The value is always hashed, so that secrets reach neither the
// store nor a log. Requests without it, or with an empty one, share an anonymous identity.
// Case in name does not matter. If name is not a token (RFC 9110, section 5.1), the
// identifier keeps an error wrapping [ErrConfig].
//
// A client writes what it likes into a header, and every new value is a new bucket. Where
// the application does not refuse unknown values before the limit, use [Combine] with
// [ClientIP], or a second limit by ClientIP.
//
// For Authorization and Proxy-Authorization, all spellings of one credential are one
// identity. The letter case of the scheme (RFC 9110, section 11.1) and the spaces behind it
// (section 11.4) make no difference, nor does the spelling of Basic's base64 (RFC 7617).
// Tokens are compared byte by byte, and so is a value without a space. Where the
// application accepts several spellings of a token, or if credentials change with each
// request, such as those of Digest, store the authenticated user and use [ByValue]. The
// case of Host does not matter.
func ByHeader(name string) *Identifier {
	id := &Identifier{scheme: namedScheme("header", strings.ToLower(name))}
	if !clientip.IsToken(name) {
		id.err = configError("ByHeader(%q); accepted is the name of a header, such as \"X-API-Key\"", name)
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

// credentials returns one text for all spellings of the same credentials (RFC 9110, section
// 11.4): auth-scheme [ 1*SP ( token68 / #auth-param ) ].
func credentials(value string) string {
	value = clientip.TrimOWS(value)
	space := strings.IndexAny(value, " \t")
	if space < 0 {
		return value
	}
	scheme, rest := strings.ToLower(value[:space]), clientip.TrimOWS(value[space:])
	if scheme == "basic" {
		// Readers differ on padding, and few look at the last character's unused bits;
		// net/http does not.
		if plain, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(rest, "=")); err == nil {
			return "basic:" + string(plain)
		}
	}
	return scheme + " " + rest
}

// ByCookie makes an identifier from a cookie, such as a session: "cookie.session:#…". The
// value, read as net/http reads it, is always hashed. As with [ByHeader], every value that
// a client makes up is a new bucket. If name is not a token, the identifier keeps an error
// wrapping [ErrConfig].
func ByCookie(name string) *Identifier {
	id := &Identifier{scheme: namedScheme("cookie", name)}
	if !clientip.IsToken(name) {
		id.err = configError("ByCookie(%q); accepted is the name of a cookie, such as \"session\"", name)
	}
	id.of = func(r *Request) (string, error) {
		if len(r.Header["Cookie"]) == 0 {
			return "", ErrAbsent
		}
		// The application asks net/http. Reading another cookie than it does, where one is
		// malformed or sent twice, would be a way around the limit.
		cookie, err := (&http.Request{Header: r.Header}).Cookie(name)
		if err != nil {
			return "", ErrAbsent
		}
		return secret(cookie.Value)
	}
	return id
}
