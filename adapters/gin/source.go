package traffikgin

import (
	"github.com/gin-gonic/gin"

	traffik "github.com/traffik-go/traffik/core"
)

// source reads path parameters and the keys set on the gin context, and else
// the values of the request's context.
type source struct{ c *gin.Context }

// Param implements [traffik.Source].
func (s source) Param(name string) string { return s.c.Param(name) }

// Value implements [traffik.Source].
func (s source) Value(key any) any {
	if value, ok := s.c.Get(key); ok {
		return value
	}
	return s.c.Request.Context().Value(key)
}

// Route implements [traffik.Router].
func (s source) Route() string { return s.c.FullPath() }

// live is the source of a request that is being served, by a context that gin uses
// again for others.
type live struct{ source }

// Detach implements [traffik.Detacher].
func (s live) Detach() traffik.Source { return source{s.c.Copy()} }
