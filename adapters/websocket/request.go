package traffikws

import (
	"net/http"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// From is who sends the messages of the connection that r asked for: the
// handshake's address, headers, cookies and path, and the identities that
// middleware has found for it. It may be used as long as the connection lives,
// also after the handler of the handshake has returned: its context has the
// values of r's and does not end with it.
//
// It knows the path parameters of http.ServeMux and chi and the values of the
// request's context. Inside a handler of gin or echo use Detach of traffikgin or
// traffikecho instead, which knows the parameters and keys of the framework's
// context as well. It panics if r is nil.
func From(r *http.Request) *traffik.Request {
	if r == nil {
		panic("traffikws: From(nil); give the request of the handshake")
	}
	return httptraffik.Detach(r) // messages are read while the handler of the handshake goes on
}
