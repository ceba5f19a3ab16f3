package traffikgin

import (
	"github.com/gin-gonic/gin"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// source reads path parameters and the keys set on the gin context, or else the values of
// the request's context.
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

// live is the source of a request that is being served. Gin reuses its context for other
// requests.
type live struct{ source }

// Detach implements [traffik.Detacher].
func (s live) Detach() traffik.Source { return source{s.c.Copy()} }

// Detach returns a request that outlives the handler of c, for the messages of a WebSocket
// connection or a job that the handler queues. It counts for the same client. It knows the
// parameters and keys set so far and the identities that middleware found, and has no
// charges yet. Its context has the values of the request's context and does not end with
// it.
//
//	conn := traffikws.Wrap(ws, traffikgin.Detach(c), messages)
func Detach(c *gin.Context) *traffik.Request {
	mustContext(c)
	req := httptraffik.NewRequest(nil, c.Request)
	req.Route, req.Source = c.FullPath(), live{source{c}}
	return req.Detach()
}
