package traffik

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/traffik-go/traffik/core/internal/escape"
)

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

// ByValue makes an identifier from what an earlier middleware stored under key
// in the native context ([Source]) or, if there is nothing, in
// [Request.Context]: "value.user:42".
//
// Strings, integers, types made of them, and every fmt.Stringer (which goes
// first) are accepted; nil and "" are absent, 0 is a value like others. Another
// type is a failure that names it: convert it in a function given to
// [Identify]. The answer is never carried over to a nested use, where a later
// middleware may have stored another.
//
// A nil key, or one that can't be compared, is an error wrapping [ErrConfig],
// kept. Keys that are not strings are told apart by their type and what fmt
// prints for them.
func ByValue(key any) *Identifier {
	id := &Identifier{scheme: namedScheme("value", keyName(key)), perUse: true}
	if key == nil || !reflect.TypeOf(key).Comparable() {
		id.err = fmt.Errorf("%w: ByValue(%v); accepted is a comparable key that is not nil", ErrConfig, key)
	}
	id.of = func(r *Request) (string, error) {
		var stored any
		if r.Source != nil {
			stored = r.Source.Value(key)
		}
		if stored == nil {
			stored = r.context().Value(key)
		}
		text, err := valueText(stored)
		if err != nil {
			return "", err
		}
		return part(text)
	}
	return id
}

// keyName is the name of a context key. The address in a pointer would be
// another in each process, so of a pointer only its type and, for a struct or a
// Stringer, its content takes part.
func keyName(key any) string {
	if name, ok := key.(string); ok {
		return name
	}
	if v := reflect.ValueOf(key); v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() != reflect.Struct {
		if _, ok := key.(fmt.Stringer); !ok {
			return fmt.Sprintf("(%T)", key)
		}
	}
	return fmt.Sprintf("(%T)%v", key, key)
}

// valueText renders what was stored, "" for nothing.
func valueText(stored any) (string, error) {
	switch known := stored.(type) {
	case nil:
		return "", nil
	case string:
		return known, nil
	case int:
		return strconv.Itoa(known), nil
	}
	v := reflect.ValueOf(stored)
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return "", nil // a typed nil, whose String method may not survive it
	}
	if known, ok := stored.(fmt.Stringer); ok {
		return known.String(), nil
	}
	switch {
	case v.Kind() == reflect.String:
		return v.String(), nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	}
	return "", fmt.Errorf("the value is a %T; accepted are strings, integers and fmt.Stringer", stored)
}

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
