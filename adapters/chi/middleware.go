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

// OnDenied answers denied requests in place of the throttle's own handler or the
// problem+json default; see [httptraffik.OnDenied].
func OnDenied(answer func(w http.ResponseWriter, r *http.Request, v traffik.Verdict)) Option {
	return httptraffik.OnDenied(answer)
}

// OnError answers requests whose limit could not be checked; see [httptraffik.OnError].
func OnError(answer func(w http.ResponseWriter, r *http.Request, err error)) Option {
	return httptraffik.OnError(answer)
}

// CountPreflight charges CORS preflights, which by default pass uncounted if they have no
// body; see [httptraffik.CountPreflight].
func CountPreflight() Option { return httptraffik.CountPreflight() }

// MaxHold bounds how long a request is held when its strategy asks for a delay, in place of
// [httptraffik.DefaultMaxHold]; see [httptraffik.MaxHold].
func MaxHold(d time.Duration) Option { return httptraffik.MaxHold(d) }

// CountOnly counts only requests whose response has a status that the function accepts, and
// refunds others; see [httptraffik.CountOnly].
func CountOnly(counts func(status int) bool) Option { return httptraffik.CountOnly(counts) }

// PassOn passes requests over the limit on to the handler, which decides about them with
// [VerdictFrom] and [Deny]; see [httptraffik.PassOn].
func PassOn() Option { return httptraffik.PassOn() }

// New returns a middleware for Use, With and Group that passes on the requests that limit
// admits. It panics if limit is nil or zero or an option is nil. See [httptraffik.New] for
// what it does with requests and writers.
func New(limit traffik.Limiter, opts ...Option) func(http.Handler) http.Handler {
	return httptraffik.New(limit, append([]Option{httptraffik.ConvertWith(convert)}, opts...)...)
}

// Detach returns a request that outlives the handler of r, for the messages of a WebSocket
// connection or a job that the handler queues. It counts for the same client. It knows
// chi's route and path parameters and the identities that middleware found, and has no
// charges yet. Its context has the values of r's context and does not end with it. It
// panics if r is nil.
func Detach(r *http.Request) *traffik.Request {
	req := httptraffik.NewRequest(nil, r)
	convert(req, r)
	return req.Detach()
}

// VerdictFrom returns the verdict of all middleware that the request of ctx has passed, the
// zero Verdict if there was none.
func VerdictFrom(ctx context.Context) traffik.Verdict { return httptraffik.VerdictFrom(ctx) }

// Deny answers a request that [PassOn] passed on, as the middleware would have; see
// [httptraffik.Deny].
func Deny(w http.ResponseWriter, r *http.Request) bool { return httptraffik.Deny(w, r) }

// convert gives core chi's routes and parameters, if r is inside a chi router.
func convert(req *traffik.Request, r *http.Request) {
	if chi.RouteContext(r.Context()) != nil {
		req.Route = "" // else the pattern so far, which chi notes in r
		req.Source = source{r}
	}
}
