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

// source reads chi's routes and parameters, those of an http.ServeMux that is mounted
// in it, and the values of the request's context.
type source struct {
	r      *http.Request
	mounts *mounts
}

// Param implements [traffik.Source].
func (s source) Param(name string) string {
	return cmp.Or(chi.URLParam(s.r, name), s.r.PathValue(name))
}

// Value implements [traffik.Source].
func (s source) Value(key any) any { return s.r.Context().Value(key) }

// live is the source of a request that is being served, by a context that chi uses
// again for others.
type live struct{ source }

// Detach implements [traffik.Detacher].
func (s live) Detach() traffik.Source {
	routing, now := chi.RouteContext(s.r.Context()), chi.NewRouteContext()
	now.Routes, now.RoutePath, now.RouteMethod = routing.Routes, routing.RoutePath, routing.RouteMethod
	now.URLParams.Keys, now.URLParams.Values = slices.Clone(routing.URLParams.Keys), slices.Clone(routing.URLParams.Values)
	now.RoutePatterns = slices.Clone(routing.RoutePatterns)
	ctx := context.WithValue(s.r.Context(), chi.RouteCtxKey, now)
	return source{s.r.WithContext(ctx), s.mounts}
}

// Route implements [traffik.Router]: the pattern that chi's RoutePattern tells in the
// handler, as "/users/{id}", "" where no route matches. Where chi has not routed to
// the end yet, the rest is looked up, which costs a second walk of that part of the
// routing tree.
func (s source) Route() string {
	routing := chi.RouteContext(s.r.Context())
	if routing.Routes == nil {
		return patternOf(routing)
	}
	at := routing.Routes
	for _, pattern := range routing.RoutePatterns {
		if at = s.mounts.below(at, pattern); at == nil {
			return patternOf(routing) // by a route, or a mount that only its handler can look into
		}
	}
	path, mounted := s.next(routing)
	method := cmp.Or(routing.RouteMethod, s.r.Method)
	pattern, known := s.find(routing.RoutePatterns, at, method, path)
	if !known && method == http.MethodHead { // GetHead may come later
		if asGet, ok := s.find(routing.RoutePatterns, at, http.MethodGet, path); ok {
			return asGet
		}
	}
	if pattern == "" && !mounted {
		return patternOf(routing)
	}
	return pattern
}

// next returns what chi routes next, below the last pattern so far. That is not the
// path of the URL where earlier middleware such as StripSlashes or CleanPath asks for
// another one. It is not mounted for sure where that pattern may also be the one of a
// route of its own, whose middleware this is.
func (s source) next(routing *chi.Context) (path string, mounted bool) {
	if len(routing.RoutePatterns) == 0 { // as chi itself does
		return cmp.Or(routing.RoutePath, s.r.URL.RawPath, s.r.URL.Path, "/"), true
	}
	if last := routing.RoutePatterns[len(routing.RoutePatterns)-1]; !strings.HasSuffix(last, "/*") {
		return "/", routing.RoutePath == "/"
	}
	// A mount takes its rest away and leaves it as the path to route further in. Only
	// the request keeps it, which tells an empty rest from one that was taken.
	rest := routing.URLParam("*")
	taken := s.r.PathValue("*") != "" || !strings.HasSuffix(routing.RoutePath, "/")
	if rest == "" && routing.RoutePath != "" && taken {
		return routing.RoutePath, true
	}
	return "/" + rest, true
}

// find returns the pattern of the route that serves path below at, which the patterns
// so far have led to. It is not known, and a guess, where the path of a mount has no
// route in there: the application may have given it one outside of the mount.
func (s source) find(sofar []string, at chi.Routes, method, path string) (pattern string, known bool) {
	routing := chi.NewRouteContext()
	routing.RoutePatterns = slices.Clone(sofar)
	for at != nil {
		n := len(routing.RoutePatterns)
		if at.Find(routing, method, path) == "" {
			return pattern, false
		}
		pattern = patternOf(routing)
		// Chi looks into mounts, except by their own path.
		for _, passed := range routing.RoutePatterns[n:] {
			if at = s.mounts.below(at, passed); at == nil {
				return pattern, true
			}
		}
		path = "/"
	}
	return pattern, true
}

// patternOf is chi's pattern, the same for a mount's own path with a slash and without:
// there chi says "/api//*" of the route "/*" in the mount.
func patternOf(routing *chi.Context) string {
	pattern := routing.RoutePattern()
	if start, ok := strings.CutSuffix(pattern, "//*"); ok {
		return start + "/*"
	}
	return pattern
}
