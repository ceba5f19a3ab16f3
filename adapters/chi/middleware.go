package traffikchi

import (
	"context"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// Option configures [New].
type Option = httptraffik.Option

// OnDenied answers denied requests instead of the throttle's own handler or the
// problem+json default. Headers are set already; [traffik.Verdict.Status] is
// the status to send. A nil handler keeps the default.
func OnDenied(answer func(w http.ResponseWriter, r *http.Request, v traffik.Verdict)) Option {
	return httptraffik.OnDenied(answer)
}

// OnError answers requests that could not be judged: errors under the policy
// Propagate, and the cause of a deadline of the request's context that had passed before.
// The default is 503 with a problem+json body. A nil handler keeps it. It is not called
// where the client is gone: an access log finds status 499 then, and no body is written.
func OnError(answer func(w http.ResponseWriter, r *http.Request, err error)) Option {
	return httptraffik.OnError(answer)
}

// CountPreflight charges CORS preflights, which pass uncounted by default if they
// have no body; see [httptraffik.CountPreflight].
func CountPreflight() Option { return httptraffik.CountPreflight() }

// MaxHold bounds how long a request is held when its strategy asks for a delay,
// instead of [httptraffik.DefaultMaxHold]; 0 or less holds none, and the
// handler finds the delay in the verdict.
func MaxHold(d time.Duration) Option { return httptraffik.MaxHold(d) }

// CountOnly counts only requests whose response has a status that the function
// accepts, and gives the charge of others back; see [httptraffik.CountOnly].
func CountOnly(counts func(status int) bool) Option { return httptraffik.CountOnly(counts) }

// PassOn lets the handler decide on requests over the limit: [VerdictFrom] tells
// it how they were judged, and [Deny] answers one as the middleware would have,
// [OnDenied] included. See [httptraffik.PassOn].
func PassOn() Option { return httptraffik.PassOn() }

// New returns a middleware that lets through what limit admits, for Use, With
// and Group. It panics if limit is nil. A nil option changes nothing.
func New(limit traffik.Limiter, opts ...Option) func(http.Handler) http.Handler {
	return httptraffik.New(limit, append([]Option{httptraffik.ConvertWith((&mounts{}).convert)}, opts...)...)
}

// Detach returns who sent r, for use beyond its handler: for the messages of a
// WebSocket connection accepted in it, for a job that it queues. The route and the path
// parameters are those of chi, identities that middleware has found are known, and
// nothing is charged yet. Its context has the values of r's and does not end with it.
func Detach(r *http.Request) *traffik.Request {
	if r == nil {
		panic("traffikchi: the request is nil; give the one that the handler was given")
	}
	r = r.WithContext(context.WithoutCancel(r.Context()))
	e := httptraffik.Begin(nil, r)
	new(mounts).convert(e, r)
	return e.Request.Detach()
}

// VerdictFrom returns how the request of ctx was judged by all middleware it
// has passed, the zero Verdict if by none.
func VerdictFrom(ctx context.Context) traffik.Verdict { return httptraffik.VerdictFrom(ctx) }

// Deny answers a request that [PassOn] has handed on, as the middleware would have,
// [OnDenied] included, and reports whether it did: one that is within its limits is
// left alone.
func Deny(w http.ResponseWriter, r *http.Request) bool { return httptraffik.Deny(w, r) }

// convert gives core chi's routes and parameters. A middleware given to With or
// to an inline Group runs after chi has routed. One given to Use of the root runs
// before: it knows no parameters yet, and looks the route up if it is asked for.
func (m *mounts) convert(e *httptraffik.Exchange, r *http.Request) {
	if chi.RouteContext(r.Context()) != nil {
		// The pattern so far, which chi puts into r, is not the whole one.
		e.Request.Route = ""
		e.Request.Source = live{source{r, m}}
	}
}
