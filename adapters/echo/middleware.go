package traffikecho

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// Option configures [New].
type Option interface {
	apply(m *middleware)
}

type middleware struct {
	guard    httptraffik.Guard
	byError  bool // echo's HTTPErrorHandler answers
	onDenied func(echo.Context, traffik.Verdict) error
	onError  func(echo.Context, error) error
}

type optionFunc func(m *middleware)

func (f optionFunc) apply(m *middleware) { f(m) }

// OnDenied answers denied requests instead of the throttle's own handler or the
// problem+json default. Headers are set already; [traffik.Verdict.Status] is
// the status to send. The error it returns goes to echo's HTTPErrorHandler. A
// nil handler keeps the default.
func OnDenied(answer func(c echo.Context, v traffik.Verdict) error) Option {
	return optionFunc(func(m *middleware) { m.onDenied = answer })
}

// OnError answers requests that could not be judged: errors under the policy
// Propagate, and the cause of a deadline of the request's context that had passed before. By
// default echo's HTTPErrorHandler gets an *echo.HTTPError with status 503 that wraps
// the error. A nil handler keeps the default. Where the client is gone neither is called:
// an access log finds status 499 then, and no body is written.
func OnError(answer func(c echo.Context, err error) error) Option {
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
// [httptraffik.CountOnly]. Where the handler returns an error and has sent
// nothing, the status is that of the error: of an *echo.HTTPError its code, else
// 500. With an HTTPErrorHandler that maps errors otherwise, give [ByErrorHandler]
// too.
func CountOnly(counts func(status int) bool) Option {
	return optionFunc(func(m *middleware) { m.guard.CountOnly = counts })
}

// PassOn lets the handler decide on requests over the limit, as to serve a
// cached page instead of a 429. They are counted as ever, and [VerdictFrom] tells
// the handler how they were judged; [Deny] answers one as the middleware would
// have, [OnDenied] and [ByErrorHandler] included. Retry-After is not set before
// that; one that the application has set stays.
func PassOn() Option {
	return optionFunc(func(m *middleware) { m.guard.PassOn = true })
}

// ByErrorHandler leaves answers to echo's HTTPErrorHandler. It gets a denial as
// an *echo.HTTPError with status 429 or 503 that wraps a [DeniedError]; a handler
// given to [OnDenied] goes before it, and that of a throttle is not asked.
//
// Under [CountOnly] it gets errors of the handler further in at once, unless a
// response was sent, so that the status that it sends is the one that counts: before
// middleware further out, which is why echo's Timeout and ContextTimeout belong behind
// the limit. They are returned as well, as by echo's RequestLogger, and echo hands them
// to it once more: it has to leave a response that is committed alone, as echo's own does.
func ByErrorHandler() Option {
	return optionFunc(func(m *middleware) { m.byError = true })
}

// New returns a middleware that lets through what limit admits. It panics if
// limit is nil. A nil option changes nothing.
func New(limit traffik.Limiter, opts ...Option) echo.MiddlewareFunc {
	httptraffik.MustLimiter(limit)
	m := &middleware{guard: httptraffik.Guard{Limit: limit, MaxHold: httptraffik.DefaultMaxHold}}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(m)
		}
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error { return m.serve(c, next) }
	}
}

func (m *middleware) serve(c echo.Context, next echo.HandlerFunc) error {
	e := &exchange{c: c}
	e.Begin(c.Response(), c.Request())
	req := &e.Request
	// Echo has routed before it runs the middleware of Use, a group or a route,
	// so the route is known there, "" for what has none; in the middleware of Pre it
	// is "" for all.
	req.Route = c.Path()
	req.Source = e
	c.SetRequest(e.Native())
	defer e.End()
	v, err := m.guard.Check(c.Request().Context(), req)
	switch {
	case err != nil:
		m.guard.Settle(c.Request().Context(), v, httptraffik.Ending{})
		return m.fail(c, err)
	case !m.guard.Passes(v):
		return m.deny(c, req, v)
	case !v.Allowed():
		e.PassOn(m.answer(c, req))
	}
	if m.guard.CountOnly == nil {
		c.Response().Writer = e.Writer(v, c.Response().Writer) // echo puts another one there for the next request
		return next(c)
	}
	return m.watch(c, v, next)
}

// answer is what answers a denied request in [Deny], nil for the throttle's own.
func (m *middleware) answer(c echo.Context, req *traffik.Request) func(http.ResponseWriter, *http.Request, traffik.Verdict) {
	if m.onDenied == nil && !m.byError {
		return nil
	}
	return func(_ http.ResponseWriter, _ *http.Request, v traffik.Verdict) {
		answerError(c, m.deny(c, req, v))
	}
}

// answerError has an error answered, unless a response is out already: not every
// HTTPErrorHandler looks.
func answerError(c echo.Context, err error) {
	if err != nil && !c.Response().Committed {
		c.Error(err)
	}
}

func (m *middleware) fail(c echo.Context, err error) error {
	switch {
	case httptraffik.ClientGone(c.Request().Context()):
		return c.NoContent(httptraffik.StatusClientGone)
	case m.onError != nil:
		return m.onError(c, err)
	}
	return echo.NewHTTPError(http.StatusServiceUnavailable).SetInternal(fmt.Errorf("traffikecho: %w", err))
}

func (m *middleware) deny(c echo.Context, req *traffik.Request, v traffik.Verdict) error {
	switch {
	case m.onDenied != nil:
		return m.onDenied(c, v)
	case m.byError:
		return echo.NewHTTPError(v.Status()).SetInternal(&DeniedError{Verdict: v})
	}
	// Written here and not returned as an *echo.HTTPError, whose handler would
	// replace the body by one of its own.
	req.WriteDenied(v)
	return nil
}

// watch serves the request and looks at the response.
func (m *middleware) watch(c echo.Context, v traffik.Verdict, next echo.HandlerFunc) (err error) {
	ctx := c.Request().Context() // middleware further in may put another one there
	watch, returned := m.guard.Watch(ctx, v, c.Response().Writer), false
	c.Response().Writer = watch.Writer()
	defer func() { // also when the handler panics
		e := httptraffik.Ending{Status: watch.Status(), Written: true, Returned: returned}
		if e.Status == 0 { // else it was sent, also if echo's response knows nothing of it
			e.Status, e.Written = status(ctx, c, err), c.Response().Committed
		}
		watch.End(e)
	}()
	err = next(c)
	returned = true
	if m.byError && watch.Status() == 0 {
		answerError(c, err)
	}
	return err
}

// status is what the client gets where nothing was sent through the watch: echo's own
// is 200 until then, or what the handler has set but never sends. 0 says that the end
// of ctx, the request's where the watch began, kept the handler from its answer.
func status(ctx context.Context, c echo.Context, err error) int {
	switch set := c.Response().Status; {
	case c.Response().Committed && (set >= http.StatusOK || set == http.StatusSwitchingProtocols):
		return set
	case c.Response().Committed || err == nil: // an informational status is no answer
		return http.StatusOK
	}
	// A wrapped one is answered with 500 by echo's own handler.
	if httpErr, ok := err.(*echo.HTTPError); ok { //nolint:errorlint // as echo's own handler does
		if inner, ok := httpErr.Internal.(*echo.HTTPError); ok { //nolint:errorlint // as echo's own handler does
			return inner.Code
		}
		return httpErr.Code
	}
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		return 0
	}
	return http.StatusInternalServerError
}

// DeniedError is what echo's HTTPErrorHandler finds, by errors.As, in the error of
// a denied request under [ByErrorHandler].
type DeniedError struct {
	// Verdict is how the request was judged.
	Verdict traffik.Verdict
}

// Error implements error.
func (e *DeniedError) Error() string {
	if e.Verdict.Failed() {
		return fmt.Sprintf("traffikecho: the request could not be judged: %v", e.Verdict.Err())
	}
	return fmt.Sprintf("traffikecho: the request is over the limit %q", e.Verdict.Tightest().UID())
}

// Deny answers a request that [PassOn] has handed on, as the middleware would
// have, [OnDenied] and [ByErrorHandler] included. An error of these goes to echo's
// HTTPErrorHandler. It reports whether it did; a request that is within its limits
// is left alone.
func Deny(c echo.Context) bool {
	mustContext(c)
	return httptraffik.Deny(c.Response(), c.Request())
}

// VerdictFrom returns how the request was judged by all middleware it has
// passed, the zero Verdict if by none.
func VerdictFrom(c echo.Context) traffik.Verdict {
	mustContext(c)
	return httptraffik.VerdictFrom(c.Request().Context())
}

func mustContext(c echo.Context) {
	if c == nil || c.Request() == nil {
		panic("traffikecho: the context is nil or has no request; give the one that the handler was given")
	}
}

// exchange is also the source of path parameters and of the keys set on the
// echo context, and else of the values of the request's context.
type exchange struct {
	httptraffik.Exchange
	c echo.Context
}

// Param implements [traffik.Source].
func (e *exchange) Param(name string) string { return e.c.Param(name) }

// Route implements [traffik.Router].
func (e *exchange) Route() string { return e.c.Path() }

// Value implements [traffik.Source].
func (e *exchange) Value(key any) any {
	if name, ok := key.(string); ok {
		if value := e.c.Get(name); value != nil {
			return value
		}
	}
	return e.c.Request().Context().Value(key)
}
