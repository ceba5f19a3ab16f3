package traffik

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// ByRoute makes an identifier from the pattern that the router matched,
// "route:/users/:id": one bucket for all clients of a route. Use [Combine] to add others.
// The answer is not carried over to a nested use, which may know more.
//
// Requests that match no route share one identity for each method, "route:|GET", and one
// for all methods that neither RFC 9110 nor RFC 5789 defines, "route:|". They remain the
// router's 404 or 405, and no client gets a fresh bucket by making up a path or a method.
//
// Where no router knows the route, such as in net/http middleware around an [http.ServeMux]
// instead of inside it, ByRoute fails, and the throttle's error policy decides. By default
// every request then gets 503, so the first one shows the mistake. In a middleware that
// echo runs before it routes (Pre), every request looks like a request without a route.
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

// noRoute returns the value of requests that no route matched. No pattern makes it, since
// patterns have their "|" escaped.
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

// ByParam makes an identifier from a path parameter, through [Request.Source]:
// "param.tenant:acme". It is absent where the router has not matched yet or the route has
// no such parameter. The answer is not carried over to a nested use. An empty name is kept
// as an error wrapping [ErrConfig].
//
// The parameter counts as the router returns it: chi and echo leave "%61lice" escaped if
// the client sent it so. If a handler unescapes it, unescape it in a function given to
// [Identify] too; otherwise alice has several identities.
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

// ByQuery makes an identifier from the first value of a query parameter, as net/url reads
// it: "query.tenant:acme". Case in name matters. The value stays readable up to 96 bytes;
// secrets belong in a header. As with [ByHeader], every value that a client makes up is a
// new bucket. It also finds parameters past the 10,000 at which net/url gives up. An empty
// name is kept as an error wrapping [ErrConfig].
//
// It reads the URL alone. FormValue of net/http, gin and echo reads the body first: a client
// that sends the true value there and made-up ones in the URL has a new bucket for each.
// Read the parameter from the URL in handlers too, by r.URL.Query, c.Query or c.QueryParam.
func ByQuery(name string) *Identifier {
	return &Identifier{
		scheme: namedScheme("query", name),
		err:    nonEmpty("ByQuery", name),
		of:     func(r *Request) (string, error) { return part(queryValue(r.RawQuery, name)) },
	}
}

// queryValue is url.ParseQuery(query).Get(name) without the map: pairs with a ";" or a bad
// escape don't count.
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
