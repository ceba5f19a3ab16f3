package traffikgin

import (
	"context"

	"github.com/gin-gonic/gin"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// Detach returns who sent the request of c, for use beyond its handler: for the
// messages of a WebSocket connection accepted in it, for a job that it queues.
// Parameters and keys are those set so far, identities that middleware has found
// are known, and nothing is charged yet. Its context has the values of the
// request's and does not end with it.
//
//	conn := traffikws.Wrap(ws, traffikgin.Detach(c), messages)
func Detach(c *gin.Context) *traffik.Request {
	mustContext(c)
	e := httptraffik.Begin(nil, c.Request.WithContext(context.WithoutCancel(c.Request.Context())))
	e.Request.Route = c.FullPath()
	e.Request.Source = live{source{c}}
	return e.Request.Detach()
}
