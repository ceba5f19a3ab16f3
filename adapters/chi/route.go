package traffikchi

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"

	traffik "github.com/traffik-go/traffik/core"
)

// source reads chi's routes and parameters, those of an http.ServeMux that is mounted in
// it, and the values of the request's context.
type source struct{ r *http.Request }

// Param implements [traffik.Source].
func (s source) Param(name string) string {
	return cmp.Or(chi.URLParam(s.r, name), s.r.PathValue(name))
}

// Value implements [traffik.Source].
func (s source) Value(key any) any { return s.r.Context().Value(key) }

// Detach implements [traffik.Detacher]: chi reuses its routing context for other requests.
func (s source) Detach() traffik.Source {
	ctx := context.WithValue(s.r.Context(), chi.RouteCtxKey, chi.RouteContext(s.r.Context()).Clone())
	return source{s.r.WithContext(ctx)}
}

// Route implements [traffik.Router]: the pattern that chi's RoutePattern returns in the
// handler, such as "/users/{id}", "" if no route matches. If chi has not routed to the end
// yet, Route asks it to find the rest, which walks the routing tree a second time.
func (s source) Route() string {
	routing := chi.RouteContext(s.r.Context())
	if sofar := patternOf(routing); routing.Routes == nil || sofar != "" && !strings.HasSuffix(sofar, "/*") {
		return sofar
	}
	method, path := cmp.Or(routing.RouteMethod, s.r.Method), s.path(routing)
	if method == http.MethodHead { // GetHead may come later
		if pattern := find(routing, http.MethodGet, path); pattern != "" {
			return pattern
		}
	}
	return find(routing, method, path)
}

// path returns the path to look for at the root of the routing tree. Earlier middleware, such
// as CleanPath, may have set a path that differs from the URL's. Below a mount, chi keeps
// only the rest of that path. The patterns so far lead there: a pattern without a regular
// expression is also a path that matches it.
func (s source) path(routing *chi.Context) string {
	sofar := strings.Join(routing.RoutePatterns, "")
	switch {
	case sofar == "": // as chi does
		return cmp.Or(routing.RoutePath, s.r.URL.RawPath, s.r.URL.Path, "/")
	case strings.Contains(sofar, ":"):
		return cmp.Or(s.r.URL.RawPath, s.r.URL.Path)
	}
	rest := routing.URLParam("*")
	if rest == "" && s.r.PathValue("*") != "" { // the mount has taken it
		rest = strings.TrimPrefix(routing.RoutePath, "/")
	}
	return strings.TrimSuffix(strings.ReplaceAll(sofar, "/*/", "/"), "*") + rest
}

// find returns the pattern of the route that serves path, "" if no route below the patterns
// so far does.
func find(sofar *chi.Context, method, path string) string {
	found, n := chi.NewRouteContext(), len(sofar.RoutePatterns)
	if sofar.Routes.Find(found, method, path) == "" ||
		len(found.RoutePatterns) < n || !slices.Equal(found.RoutePatterns[:n], sofar.RoutePatterns) {
		return ""
	}
	return patternOf(found)
}

// patternOf returns chi's pattern. A mount's own path has the pattern of the mount, whatever
// route in the mount serves it: chi doesn't find that route in advance.
func patternOf(routing *chi.Context) string {
	n := len(routing.RoutePatterns)
	if n > 1 && !strings.HasSuffix(routing.RoutePatterns[n-2], "/*") {
		mount := chi.Context{RoutePatterns: routing.RoutePatterns[:n-1]}
		return mount.RoutePattern()
	}
	return routing.RoutePattern()
}
