package traffikgin

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// Option configures [New].
type Option interface {
	apply(m *middleware)
}

type middleware struct {
	guard    httptraffik.Guard
	onDenied func(*gin.Context, traffik.Verdict)
	onError  func(*gin.Context, error)
}

type optionFunc func(m *middleware)

func (f optionFunc) apply(m *middleware) { f(m) }

// OnDenied answers denied requests in place of the throttle's own handler or the
// problem+json default. The headers are written already, and the chain is aborted
// afterwards; [traffik.Verdict.Status] is the status to send. A nil function keeps the
// default.
func OnDenied(answer func(c *gin.Context, v traffik.Verdict)) Option {
	return optionFunc(func(m *middleware) { m.onDenied = answer })
}

// OnError answers requests whose limit could not be checked: errors under the policy
// [traffik.Propagate], and the cause of a deadline that had passed before the limit was
// checked. By default they get 503 with a problem+json body; a nil function keeps that.
// Either way the error is added to c.Errors and the chain is aborted. When the client is
// gone OnError is not called: the chain is aborted with [httptraffik.StatusClientGone],
// which access logs find, and c.Errors stays as it is.
func OnError(answer func(c *gin.Context, err error)) Option {
	return optionFunc(func(m *middleware) { m.onError = answer })
}

// CountPreflight charges CORS preflights, which by default pass uncounted if they have no
// body; see [httptraffik.CountPreflight].
func CountPreflight() Option {
	return optionFunc(func(m *middleware) { m.guard.CountPreflight = true })
}

// MaxHold bounds how long a request is held when its strategy asks for a delay, in place of
// [httptraffik.DefaultMaxHold]. With 0 or less no request is held, and the handler finds
// the delay in the verdict.
func MaxHold(d time.Duration) Option { return optionFunc(func(m *middleware) { m.guard.MaxHold = d }) }

// CountOnly counts only requests whose response has a status that the function accepts, for
// example failed logins, and refunds others; see [httptraffik.CountOnly]. The status is
// decided at the first flush or, without one, when the handlers further in have returned.
// So add a middleware that turns c.Errors into a response after this one.
func CountOnly(counts func(status int) bool) Option {
	return optionFunc(func(m *middleware) { m.guard.CountOnly = counts })
}

// PassOn passes requests over the limit on to the handler, which decides about them: it may
// serve a cached page instead of a 429, for example. They are counted as usual.
// [VerdictFrom] returns the handler their verdict, and [Deny] answers one as the middleware
// would have, [OnDenied] included. Retry-After is not written before that; one that the
// application has written stays.
func PassOn() Option { return optionFunc(func(m *middleware) { m.guard.PassOn = true }) }

// New returns a middleware that passes on the requests that limit admits. It panics if
// limit is nil or zero or an option is nil.
func New(limit traffik.Limiter, opts ...Option) gin.HandlerFunc {
	httptraffik.MustLimiter(limit)
	m := &middleware{guard: httptraffik.Guard{Limit: limit, MaxHold: httptraffik.DefaultMaxHold}}
	for _, opt := range opts {
		if opt == nil {
			panic("traffikgin: an option is nil; leave it out")
		}
		opt.apply(m)
	}
	return m.serve
}

// exchange is one allocation for all that a request needs.
type exchange struct {
	httptraffik.Exchange
	out writer
}

func (m *middleware) serve(c *gin.Context) {
	e := new(exchange)
	c.Request = e.Begin(c.Writer, c.Request)
	defer e.End()
	// Gin routes before any middleware runs, so the route is known, "" if there is none.
	e.Request.Route, e.Request.Source = c.FullPath(), live{source{c}}
	v, err := m.guard.Check(c.Request.Context(), &e.Request)
	switch {
	case err != nil:
		m.fail(c, &e.Request, err)
	case m.guard.Passes(v):
		if !v.Allowed() {
			e.PassOn(m.answer(c))
		}
		m.pass(c, e, v)
	case m.onDenied != nil:
		c.Abort()
		m.onDenied(c, v)
	default:
		c.Abort()
		e.Request.WriteDenied(v)
	}
}

// answer is the answer of [Deny], nil for that of the throttle.
func (m *middleware) answer(c *gin.Context) httptraffik.Answer {
	if m.onDenied == nil {
		return nil
	}
	return func(_ http.ResponseWriter, _ *http.Request, v traffik.Verdict) {
		c.Abort()
		m.onDenied(c, v)
	}
}

func (m *middleware) pass(c *gin.Context, e *exchange, v traffik.Verdict) {
	response, needed := m.guard.Response(c.Request.Context(), v)
	if !needed {
		c.Next()
		return
	}
	w := &e.out
	w.ResponseWriter, w.response = c.Writer, response
	returned := false
	defer func() { // also when a handler panics
		if c.Writer == w {
			c.Writer = w.ResponseWriter
		}
		w.prepare()
		if m.guard.CountOnly != nil {
			w.response.End(httptraffik.Ending{Status: w.final(), Written: w.Written(), Returned: returned})
		}
	}()
	c.Writer = w
	c.Next()
	returned = true
}

func (m *middleware) fail(c *gin.Context, req *traffik.Request, err error) {
	if httptraffik.ClientGone(c.Request.Context()) {
		c.AbortWithStatus(httptraffik.StatusClientGone)
		return
	}
	c.Abort()
	_ = c.Error(err)
	if m.onError != nil {
		m.onError(c, err)
		return
	}
	req.WriteUnavailable()
}

// VerdictFrom returns the verdict of all middleware that the request has passed, the zero
// Verdict if there was none. It panics if c is nil or has no request, as Deny and Detach
// do.
func VerdictFrom(c *gin.Context) traffik.Verdict {
	mustContext(c)
	return httptraffik.VerdictFrom(c.Request.Context())
}

// Deny answers a request that [PassOn] passed on, as the middleware would have, [OnDenied]
// included, and aborts the chain. It does nothing for a request within its limits, and
// reports whether it answered.
func Deny(c *gin.Context) bool {
	mustContext(c)
	denied := httptraffik.Deny(c.Writer, c.Request)
	if denied {
		c.Abort()
	}
	return denied
}

func mustContext(c *gin.Context) {
	if c == nil || c.Request == nil {
		panic("traffikgin: the context is nil or has no request; give the one that the handler was given")
	}
}
