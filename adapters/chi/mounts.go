package traffikchi

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
)

// maxMounts bounds the routers that are remembered: more of them are made as requests
// come, and would pile up.
const maxMounts = 1000

// mounts remembers what is mounted on the routers of an application, which chi lists
// with all of its routes only. Its zero value is ready, and safe for concurrent use.
type mounts struct {
	byRouter sync.Map // from *chi.Mux to map[string]chi.Routes, see listed
	size     atomic.Int64
}

// below returns the router that is mounted on one by a pattern, nil if none is.
func (m *mounts) below(on chi.Routes, pattern string) chi.Routes {
	if pattern == "/" {
		return nil // chi mounts there as "/*"
	}
	mux, ok := on.(*chi.Mux)
	if !ok {
		return listed(on)[wildcard(pattern)] // which need not be comparable
	}
	table, known := m.byRouter.Load(mux)
	if known {
		sub, listed := table.(map[string]chi.Routes)[wildcard(pattern)] //nolint:errcheck // nothing else is stored
		if listed || !strings.HasSuffix(pattern, "/*") {
			return sub
		}
	}
	// A new router, or a new route.
	found := listed(mux)
	if known || m.size.Add(1) <= maxMounts {
		m.byRouter.Store(mux, found)
	}
	return found[wildcard(pattern)]
}

// wildcard is the pattern of the mount that has this one for its own path, with or
// without a slash.
func wildcard(pattern string) string {
	if strings.HasSuffix(pattern, "/*") {
		return pattern
	}
	return strings.TrimSuffix(pattern, "/") + "/*"
}

// listed returns the routers that are mounted on one, by pattern, and nil for the
// patterns of routes.
func listed(router chi.Routes) map[string]chi.Routes {
	found := map[string]chi.Routes{}
	for _, route := range router.Routes() {
		if route.SubRoutes != nil || found[route.Pattern] == nil {
			found[route.Pattern] = route.SubRoutes
		}
	}
	return found
}
