package traffikecho

import (
	"net/http"

	"github.com/labstack/echo/v4"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// Detach returns a request that outlives the handler of c, for the messages of a WebSocket
// connection or a job that the handler queues. It counts for the same client. It knows the
// path parameters, the identities that middleware found, and the present values of the
// named keys of c. It has no charges yet. Its context has the values of the request's
// context and does not end with it.
//
// Name the keys, because echo can't list them and reuses c for other requests. An identity
// that needs any other key fails, and the throttle's error policy decides: the request must
// not count as one without that key.
//
//	conn := traffikws.Wrap(ws, traffikecho.Detach(c, "user"), messages)
func Detach(c echo.Context, keys ...string) *traffik.Request {
	mustContext(c)
	req := httptraffik.NewRequest(nil, c.Request())
	req.Route, req.Source = c.Path(), detach(c, keys)
	return req.Detach()
}

// detach keeps what c knows now, and the values of the named keys.
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

// detached keeps what an echo context knew.
type detached struct {
	r      *http.Request
	route  string
	params map[string]string
	values map[string]any
}

// keyNotNamedInDetach stands for a value that nobody kept. Identifiers refuse it and name
// its type in the error.
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
