package traffik

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/traffik-go/traffik/core/internal/escape"
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
	if !isToken(name) {
		id.err = fmt.Errorf("%w: ByHeader(%q); accepted is the name of a header, as \"X-API-Key\"", ErrConfig, name)
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
	value = trimOWS(value)
	space := strings.IndexAny(value, " \t")
	if space < 0 {
		return value
	}
	scheme, rest := strings.ToLower(value[:space]), trimOWS(value[space:])
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
	if !isToken(name) {
		id.err = fmt.Errorf("%w: ByCookie(%q); accepted is the name of a cookie, as \"session\"", ErrConfig, name)
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

// ByQuery makes an identifier from the first value of a query parameter, as
// net/url reads it: "query.tenant:acme". Case in name matters. The value stays
// readable up to 96 bytes; secrets belong into a header. What [ByHeader] says
// about values that a client makes up holds here as well. Past the 10,000 parameters
// at which net/url gives up, it still finds them. An empty name is an error wrapping
// [ErrConfig], kept.
//
// It reads the URL alone. FormValue of net/http, gin and echo reads the body first: a
// client that sends the true value there, and made-up ones in the URL, has a new bucket
// for each. Read the parameter from the URL in handlers too, by r.URL.Query, c.Query or
// c.QueryParam.
func ByQuery(name string) *Identifier {
	return &Identifier{
		scheme: namedScheme("query", name),
		err:    nonEmpty("ByQuery", name),
		of:     func(r *Request) (string, error) { return part(queryValue(r.RawQuery, name)) },
	}
}

// queryValue is url.ParseQuery(query).Get(name) without the map: pairs with a
// ";" or a bad escape don't count.
func queryValue(query, name string) string {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" || strings.IndexByte(pair, ';') >= 0 {
			continue
		}
		rawKey, rawValue, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(rawKey); err != nil || key != name {
			continue
		}
		if value, err := url.QueryUnescape(rawValue); err == nil {
			return value
		}
	}
	return ""
}

// namedScheme makes the scheme of a kind of identity that exists once per
// name. Unlike in a value, ":" is escaped, so that name and value can't be
// mistaken for one another.
func namedScheme(kind, name string) string {
	return kind + "." + strings.ReplaceAll(escape.Part(name), ":", "%3A")
}

func nonEmpty(function, name string) error {
	if name == "" {
		return fmt.Errorf("%w: %s(\"\"); give a name", ErrConfig, function)
	}
	return nil
}

// part returns value as part of a key, ErrAbsent if it is empty.
func part(value string) (string, error) {
	if value == "" {
		return "", ErrAbsent
	}
	return escape.Part(value), nil
}

// secret is part for what must not be readable in the key.
func secret(value string) (string, error) {
	if value == "" {
		return "", ErrAbsent
	}
	return escape.Hash(value), nil
}
