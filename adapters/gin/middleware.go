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

// OnDenied answers denied requests instead of the throttle's own handler or the
// problem+json default. Headers are set already, and the chain is aborted
// afterwards; [traffik.Verdict.Status] is the status to send. A nil handler
// keeps the default.
func OnDenied(answer func(c *gin.Context, v traffik.Verdict)) Option {
	return optionFunc(func(m *middleware) { m.onDenied = answer })
}

// OnError answers requests that could not be judged: errors under the policy
// Propagate, and the cause of a deadline of the request's context that had passed before.
// The default is 503 with a problem+json body. The error is among c.Errors either way, and
// the chain is aborted afterwards. A nil handler keeps the default. Where the client is gone
// it is not called, c.Errors stays as it is, and the chain is aborted with status 499, which
// access logs find.
func OnError(answer func(c *gin.Context, err error)) Option {
	return optionFunc(func(m *middleware) { m.onError = answer })
}

// CountPreflight charges CORS preflights, which pass uncounted by default if they
// have no body; see [httptraffik.CountPreflight].
func CountPreflight() Option {
	return optionFunc(func(m *middleware) { m.guard.CountPreflight = true })
}

// MaxHold bounds how long a request is held when its strategy asks for a delay,
// instead of [httptraffik.DefaultMaxHold]; 0 or less holds none, and the
// handler finds the delay in the verdict.
func MaxHold(d time.Duration) Option {
	return optionFunc(func(m *middleware) { m.guard.MaxHold = d })
}

// CountOnly counts only requests whose response has a status that the function
// accepts, as a limit of failed logins does, and gives the charge of others
// back, also when the handler panics or the client is gone; see
// [httptraffik.CountOnly]. The status is the one that stands when the response is
// flushed, or else the handlers further in have returned: a middleware that turns
// c.Errors into a response belongs behind this one.
func CountOnly(counts func(status int) bool) Option {
	return optionFunc(func(m *middleware) { m.guard.CountOnly = counts })
}

// PassOn lets the handler decide on requests over the limit, as to serve a
// cached page instead of a 429. They are counted as ever, and [VerdictFrom] tells
// the handler how they were judged; [Deny] answers one as the middleware would
// have, [OnDenied] included. Retry-After is not set before that; one that the
// application has set stays.
func PassOn() Option {
	return optionFunc(func(m *middleware) { m.guard.PassOn = true })
}

// New returns a middleware that lets through what limit admits. It panics if
// limit is nil. A nil option changes nothing.
func New(limit traffik.Limiter, opts ...Option) gin.HandlerFunc {
	httptraffik.MustLimiter(limit)
	m := &middleware{guard: httptraffik.Guard{Limit: limit, MaxHold: httptraffik.DefaultMaxHold}}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(m)
		}
	}
	return m.serve
}

// exchange is one allocation for what a request needs.
type exchange struct {
	httptraffik.Exchange
	out writer
}

func (m *middleware) serve(c *gin.Context) {
	e := new(exchange)
	e.Begin(c.Writer, c.Request)
	req := &e.Request
	// Gin has routed by the time any middleware runs, so the route is known, ""
	// for one that is not found.
	req.Route = c.FullPath()
	req.Source = live{source{c}}
	c.Request = e.Native()
	defer e.End()
	v, err := m.guard.Check(c.Request.Context(), req)
	switch {
	case err != nil:
		m.guard.Settle(c.Request.Context(), v, httptraffik.Ending{})
		m.fail(c, req, err)
	case m.guard.Passes(v):
		if !v.Allowed() {
			e.PassOn(m.answer(c))
		}
		m.pass(c, e, v)
	default:
		m.deny(c, req, v)
	}
}

// answer is what answers a denied request in [Deny], nil for the throttle's own.
func (m *middleware) answer(c *gin.Context) func(http.ResponseWriter, *http.Request, traffik.Verdict) {
	if m.onDenied == nil {
		return nil
	}
	return func(_ http.ResponseWriter, _ *http.Request, v traffik.Verdict) {
		c.Abort()
		m.onDenied(c, v)
	}
}

// pass serves the request, and looks at the response if that is asked for.
func (m *middleware) pass(c *gin.Context, e *exchange, v traffik.Verdict) {
	counts := m.guard.CountOnly != nil
	if !counts && !v.TellsHeaders() {
		c.Next()
		return
	}
	w := &e.out
	w.ResponseWriter, w.told = c.Writer, v
	if counts {
		w.watch = m.guard.Watch(c.Request.Context(), v, c.Writer)
	}
	returned := false
	defer func() { // also when a handler panics
		if c.Writer == w {
			c.Writer = w.ResponseWriter
		}
		w.prepare(w.Status())
		if counts {
			w.watch.End(httptraffik.Ending{Status: w.final(), Written: w.Written(), Returned: returned})
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

func (m *middleware) deny(c *gin.Context, req *traffik.Request, v traffik.Verdict) {
	c.Abort()
	if m.onDenied != nil {
		m.onDenied(c, v)
		return
	}
	req.WriteDenied(v)
}

// VerdictFrom returns how the request was judged by all middleware it has
// passed, the zero Verdict if by none.
func VerdictFrom(c *gin.Context) traffik.Verdict {
	mustContext(c)
	return httptraffik.VerdictFrom(c.Request.Context())
}

func mustContext(c *gin.Context) {
	if c == nil || c.Request == nil {
		panic("traffikgin: the context is nil or has no request; give the one that the handler was given")
	}
}

// Deny answers a request that [PassOn] has handed on, as the middleware would have,
// [OnDenied] included, and aborts the chain. It reports whether it did; a request
// that is within its limits is left alone.
func Deny(c *gin.Context) bool {
	mustContext(c)
	denied := httptraffik.Deny(c.Writer, c.Request)
	if denied {
		c.Abort()
	}
	return denied
}
