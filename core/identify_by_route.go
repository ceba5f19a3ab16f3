package traffik

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// ByRoute makes an identifier from the pattern that the router matched:
// "route:/users/:id", one bucket for all clients of a route. Combine it with
// others through [Combine].
//
// Requests that match no route share one identity for each method, "route:|GET", with
// one more for all methods that RFC 9110 and RFC 5789 don't define, "route:|": they stay
// the router's 404 or 405, and no client gets a fresh bucket by making up a path or a
// method. No pattern makes such an identity.
//
// Where no router tells, as in net/http middleware around an http.ServeMux instead of
// inside it, ByRoute fails, under the throttle's error policy: every request is answered
// with 503 by default, so the mistake shows at the first one. A middleware that echo runs
// before it routes, given to Pre, looks like a request without a route: all requests of
// a method share a bucket there.
//
// The answer is never carried over to a nested use, which may know more.
func ByRoute() *Identifier { return byRoute }

var byRoute = &Identifier{
	scheme: "route",
	perUse: true,
	of: func(r *Request) (string, error) {
		if pattern := r.Pattern(); pattern != "" {
			return escape.Part(pattern), nil
		}
		if routerOf(r.Source) != nil {
			return noRoute(r.Method), nil
		}
		return "", errNoRoute
	},
}

// noRoute is the value of requests that no route matched. Patterns have their "|"
// escaped.
func noRoute(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return "|" + method
	}
	return "|"
}

var errNoRoute = errors.New("no router tells the route here; use the middleware on the route or on its group, " +
	"after the router has matched, or identify by something else")

// ByParam makes an identifier from a path parameter, through
// [Request.Source]: "param.tenant:acme". Where the router has not matched yet,
// or the route has no such parameter, it is absent; the answer is never carried
// over to a nested use. The parameter counts as the router tells it: chi and echo leave
// "%61lice" escaped where the client has sent it so, and a handler that unescapes it
// serves alice under several identities. Unescape it in a function given to [Identify]
// then. An empty name is an error wrapping [ErrConfig], kept.
func ByParam(name string) *Identifier {
	return &Identifier{
		scheme: namedScheme("param", name),
		err:    nonEmpty("ByParam", name),
		perUse: true,
		of: func(r *Request) (string, error) {
			if r.Source == nil {
				return "", ErrAbsent
			}
			return part(r.Source.Param(name))
		},
	}
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
