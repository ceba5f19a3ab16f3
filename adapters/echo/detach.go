package traffikecho

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// Detach returns who sent the request of c, for use beyond its handler: for the
// messages of a WebSocket connection accepted in it, for a job that it queues.
// Path parameters are known, of the keys of c those that are named, with the
// values they have now: echo can't list them, and uses c again for other
// requests. A key that is asked for but was not named fails, under the
// throttle's error policy, so that nobody is counted as somebody without it.
// Identities that middleware has found are known, and nothing is charged yet.
// Its context has the values of the request's and does not end with it.
//
//	conn := traffikws.Wrap(ws, traffikecho.Detach(c, "user"), messages)
func Detach(c echo.Context, keys ...string) *traffik.Request {
	mustContext(c)
	e := httptraffik.Begin(nil, c.Request().WithContext(context.WithoutCancel(c.Request().Context())))
	e.Request.Route, e.Request.Source = c.Path(), detach(c, keys)
	return e.Request.Detach()
}

// detach keeps what c knows now, of its keys those that are named.
func detach(c echo.Context, keys []string) *detached {
	s := &detached{r: c.Request(), route: c.Path(), params: map[string]string{}, values: map[string]any{}}
	for _, name := range c.ParamNames() {
		s.params[name] = c.Param(name)
	}
	for _, name := range keys {
		s.values[name] = c.Get(name)
	}
	return s
}

// Detach implements [traffik.Detacher]. It keeps no keys, since nobody has named any.
func (e *exchange) Detach() traffik.Source { return detach(e.c, nil) }

// detached is what was known of an echo context.
type detached struct {
	r      *http.Request
	route  string
	params map[string]string
	values map[string]any
}

// keyNotNamedInDetach stands for a value that nobody kept. Identifiers refuse
// it, and name its type.
type keyNotNamedInDetach struct{}

// Param implements [traffik.Source].
func (s *detached) Param(name string) string { return s.params[name] }

// Route implements [traffik.Router].
func (s *detached) Route() string { return s.route }

// Value implements [traffik.Source].
func (s *detached) Value(key any) any {
	name, ok := key.(string)
	if value := s.values[name]; ok && value != nil {
		return value
	}
	value := s.r.Context().Value(key)
	if _, named := s.values[name]; ok && !named && value == nil {
		return keyNotNamedInDetach{}
	}
	return value
}
