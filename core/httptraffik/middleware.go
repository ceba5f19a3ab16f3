package httptraffik

import (
	"net/http"
	"reflect"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Option configures [New].
type Option interface {
	apply(c *config)
}

type config struct {
	guard    Guard
	convert  func(*traffik.Request, *http.Request)
	onDenied Answer
	onError  func(http.ResponseWriter, *http.Request, error)
}

type optionFunc func(c *config)

func (f optionFunc) apply(c *config) { f(c) }

// OnDenied answers denied requests in place of the throttle's own handler or the
// problem+json default. The headers are written already; [traffik.Verdict.Status] is the
// status to send. A nil function keeps the default.
func OnDenied(answer func(w http.ResponseWriter, r *http.Request, v traffik.Verdict)) Option {
	return optionFunc(func(c *config) { c.onDenied = answer })
}

// OnError answers requests whose limit could not be checked: errors under the policy
// [traffik.Propagate], and the cause of a deadline that had passed before the limit was
// checked. By default they get 503 with a problem+json body; a nil function keeps that. It
// is not called when the client is gone: then no body is written, and an access log finds
// [StatusClientGone].
func OnError(answer func(w http.ResponseWriter, r *http.Request, err error)) Option {
	return optionFunc(func(c *config) { c.onError = answer })
}

// CountPreflight charges CORS preflights, which by default pass uncounted if they have no
// body. Use it if a handler that takes any method also does its work for OPTIONS, or answer
// preflights before they reach it.
func CountPreflight() Option { return optionFunc(func(c *config) { c.guard.CountPreflight = true }) }

// MaxHold bounds how long a request is held when its strategy asks for a delay, in place of
// [DefaultMaxHold]. With 0 or less no request is held, and the handler finds the delay in
// the verdict. A request whose context or server's timeouts end before its turn is denied
// at once; see [Guard.Check].
func MaxHold(d time.Duration) Option { return optionFunc(func(c *config) { c.guard.MaxHold = d }) }

// CountOnly counts only requests whose response has a status that the function accepts. Use
// it to limit failed logins, for example:
//
//	httptraffik.CountOnly(func(status int) bool { return status == http.StatusUnauthorized })
//
// Every request is charged before its handler runs, so that no more of them run at once
// than the limit has room for. A request whose response doesn't count is refunded
// afterwards, even if the handler panics or the client is gone. If nothing was written, the
// status is 500 for a handler that panics, 499 ([StatusClientGone]) for a client that is
// gone, and 503 after a deadline of middleware further out. For a connection that the
// handler took over, the status is 101.
//
// The status is decided when the handler flushes, for example to stream events, or takes
// the connection over, so that no charge waits for the end of a stream. For any other
// response it is decided when the handler has returned.
//
// The response waits up to [RefundPatience] for the refund, so that the client's next
// request sees it. A slower refund goes on for up to five seconds while the response goes
// out. If it fails, the request stays charged.
//
// A request is refunded by the use that charged it, which is the outermost one: give the
// option there. A nil function counts every request.
func CountOnly(counts func(status int) bool) Option {
	return optionFunc(func(c *config) { c.guard.CountOnly = counts })
}

// PassOn passes requests over the limit on to the handler, which decides about them: it may
// serve a cached page instead of a 429, for example. They are counted as usual.
// [VerdictFrom] returns the handler their verdict, and [Deny] answers one as the middleware
// would have, [OnDenied] included. Retry-After is not written before that; one that the
// application has written stays.
func PassOn() Option { return optionFunc(func(c *config) { c.guard.PassOn = true }) }

// ConvertWith calls a function for each request before its limit is checked. Use it for
// routers that don't keep route and path parameters where net/http does: the function sets
// Route and Source of req. A nil function keeps those of net/http.
func ConvertWith(convert func(req *traffik.Request, r *http.Request)) Option {
	return optionFunc(func(c *config) { c.convert = convert })
}

// New returns a middleware that passes on the requests that limit admits. It panics if
// limit is nil or zero or an option is nil; the middleware panics if its handler is nil, as
// net/http does.
//
// The handler gets a copy of the request. Notes that routers and handlers make in it are
// copied back; see [Exchange.End]. It also gets a writer that leaves one value of each
// header of the limits, see [traffik.Verdict.ReconcileHeaders], unless the limit has
// [traffik.NoHeaders] and there is no [CountOnly]. With net/http's own writers, flushing,
// hijacking, pushing, sendfile and http.ResponseController work as without the middleware.
// Three things don't:
//
//   - [http.ResponseController] finds SetReadDeadline, SetWriteDeadline and
//     EnableFullDuplex, but a type assertion on the writer doesn't.
//   - If the writer of a middleware further out can push but not flush, such as that of
//     http.TimeoutHandler, or can push and hijack, the handler can't push.
//   - The connection of an HTTP/1 request with a body is closed after a 413, whoever sends
//     it. Without the middleware, only http.MaxBytesReader asks for that.
func New(limit traffik.Limiter, opts ...Option) func(http.Handler) http.Handler {
	MustLimiter(limit)
	c := &config{guard: Guard{Limit: limit, MaxHold: DefaultMaxHold}}
	for _, opt := range opts {
		if opt == nil {
			panic("traffik: an option of the middleware is nil; leave it out")
		}
		opt.apply(c)
	}
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("traffik: the middleware was given a nil handler; give the one that comes after the limit")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, next) })
	}
}

// MustLimiter panics if limit is nil, a nil pointer, or a zero Throttle or Gate, and names
// the likely cause. Adapters call it.
func MustLimiter(limit traffik.Limiter) {
	if v := reflect.ValueOf(limit); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("traffik: the middleware was given a nil limiter; check the error that traffik.New returned")
	}
	traffik.All(limit) // panics for what neither New nor All has made
}

// exchange is one allocation for all that a request needs.
type exchange struct {
	Exchange
	recorder Recorder
}

func (c *config) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	e := new(exchange)
	r = e.Begin(w, r)
	defer e.End()
	if c.convert != nil {
		c.convert(&e.Request, e.native)
	}
	v, err := c.guard.Check(r.Context(), &e.Request)
	switch {
	case err != nil:
		c.fail(w, r, &e.Request, err)
	case c.guard.Passes(v):
		if !v.Allowed() {
			e.PassOn(c.onDenied)
		}
		c.pass(w, e, v, next)
	case c.onDenied != nil:
		c.onDenied(w, r, v)
	default:
		e.Request.WriteDenied(v)
	}
}

func (c *config) pass(w http.ResponseWriter, e *exchange, v traffik.Verdict, next http.Handler) {
	out := e.recorder.Begin(&e.carrier, &c.guard, v, w)
	if e.Request.HasBody && e.native.ProtoMajor == 1 { // over HTTP/2 there is no connection to close
		e.recorder.CloseAfter413()
	}
	returned := false
	defer func() { e.recorder.End(Ending{Returned: returned}) }() // also when the handler panics
	next.ServeHTTP(out, e.handed)
	returned = true
}

func (c *config) fail(w http.ResponseWriter, r *http.Request, req *traffik.Request, err error) {
	switch {
	case ClientGone(r.Context()):
		w.WriteHeader(StatusClientGone) // for logs further out
	case c.onError != nil:
		c.onError(w, r, err)
	default:
		req.WriteUnavailable()
	}
}
