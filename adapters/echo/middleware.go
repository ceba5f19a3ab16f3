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

// OnDenied answers denied requests in place of the throttle's own handler or the
// problem+json default. The headers are written already; [traffik.Verdict.Status] is the
// status to send. The error that the function returns goes to echo's HTTPErrorHandler. A
// nil function keeps the default.
func OnDenied(answer func(c echo.Context, v traffik.Verdict) error) Option {
	return optionFunc(func(m *middleware) { m.onDenied = answer })
}

// OnError answers requests whose limit could not be checked: errors under the policy
// [traffik.Propagate], and the cause of a deadline that had passed before the limit was
// checked. By default echo's HTTPErrorHandler gets an *echo.HTTPError with status 503 that
// wraps the error; a nil function keeps that. Neither is called when the client is gone:
// then no body is written, and an access log finds [httptraffik.StatusClientGone].
func OnError(answer func(c echo.Context, err error) error) Option {
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
// example failed logins, and refunds others; see [httptraffik.CountOnly]. If the handler
// returns an error and nothing was sent, the status is that of the error: the code of an
// *echo.HTTPError, else 500. With an HTTPErrorHandler that maps errors differently, give
// [ByErrorHandler] too.
func CountOnly(counts func(status int) bool) Option {
	return optionFunc(func(m *middleware) { m.guard.CountOnly = counts })
}

// PassOn passes requests over the limit on to the handler, which decides about them: it may
// serve a cached page instead of a 429, for example. They are counted as usual.
// [VerdictFrom] returns the handler their verdict, and [Deny] answers one as the middleware
// would have, [OnDenied] and [ByErrorHandler] included. Retry-After is not written before
// that; one that the application has written stays.
func PassOn() Option { return optionFunc(func(m *middleware) { m.guard.PassOn = true }) }

// ByErrorHandler leaves answers to echo's HTTPErrorHandler. It gets a denial as an
// *echo.HTTPError with status 429 or 503 that wraps a [DeniedError]. A function given to
// [OnDenied] takes precedence; the throttle's own handler is not called.
//
// Under [CountOnly] it gets errors of the handler at once, unless a response was sent, so
// that the status that it sends is the one that counts. Middleware further out sees the
// errors later, so add echo's Timeout and ContextTimeout after the limit. The errors are
// returned as well, as echo's RequestLogger returns them, and echo hands them to the
// HTTPErrorHandler again. So your HTTPErrorHandler must leave a committed response alone,
// as echo's own does.
func ByErrorHandler() Option { return optionFunc(func(m *middleware) { m.byError = true }) }

// New returns a middleware that passes on the requests that limit admits. It panics if
// limit is nil or zero or an option is nil.
func New(limit traffik.Limiter, opts ...Option) echo.MiddlewareFunc {
	httptraffik.MustLimiter(limit)
	m := &middleware{guard: httptraffik.Guard{Limit: limit, MaxHold: httptraffik.DefaultMaxHold}}
	for _, opt := range opts {
		if opt == nil {
			panic("traffikecho: an option is nil; leave it out")
		}
		opt.apply(m)
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error { return m.serve(c, next) }
	}
}

func (m *middleware) serve(c echo.Context, next echo.HandlerFunc) error {
	e := &exchange{c: c}
	c.SetRequest(e.Begin(c.Response(), c.Request()))
	defer e.End()
	// Echo routes before it runs the middleware of Use, a group or a route, so the route is
	// known there, "" if there is none. In the middleware of Pre it is always "".
	e.Request.Route, e.Request.Source = c.Path(), e
	v, err := m.guard.Check(c.Request().Context(), &e.Request)
	switch {
	case err != nil:
		return m.fail(c, err)
	case !m.guard.Passes(v):
		return m.deny(c, &e.Request, v)
	case !v.Allowed():
		e.PassOn(m.answer(c, &e.Request))
	}
	return m.pass(c, e, v, next)
}

func (m *middleware) pass(c echo.Context, e *exchange, v traffik.Verdict, next echo.HandlerFunc) (err error) {
	ctx := c.Request().Context() // middleware further in may replace it
	// Echo resets the writer before the next request.
	c.Response().Writer = e.recorder.Begin(ctx, &m.guard, v, c.Response().Writer)
	if m.guard.CountOnly == nil {
		defer e.recorder.End(httptraffik.Ending{}) // also when the handler panics
		return next(c)
	}
	returned := false
	defer func() {
		e.recorder.End(httptraffik.Ending{Status: status(ctx, c, err), Written: c.Response().Committed, Returned: returned})
	}()
	err = next(c)
	returned = true
	if m.byError && e.recorder.Status() == 0 {
		answerError(c, err)
	}
	return err
}

// answer is the answer of [Deny], nil for that of the throttle.
func (m *middleware) answer(c echo.Context, req *traffik.Request) httptraffik.Answer {
	if m.onDenied == nil && !m.byError {
		return nil
	}
	return func(_ http.ResponseWriter, _ *http.Request, v traffik.Verdict) {
		answerError(c, m.deny(c, req, v))
	}
}

// answerError hands an error to the HTTPErrorHandler unless a response was sent already,
// because not every such handler checks.
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
	// Not returned as an *echo.HTTPError, whose handler would replace the body.
	req.WriteDenied(v)
	return nil
}

// status is the status that the client gets if nothing was sent through the recorder. Echo's
// own is 200 until then, or what the handler has set but never sends. It is 0 if the end of
// ctx kept the handler from its answer.
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

// DeniedError is the error of a denied request under [ByErrorHandler]. Echo's
// HTTPErrorHandler finds it with errors.As.
type DeniedError struct {
	// Verdict is the verdict that denied the request.
	Verdict traffik.Verdict
}

// Error implements error.
func (e *DeniedError) Error() string {
	if e.Verdict.Failed() {
		return fmt.Sprintf("traffikecho: the limit could not be checked: %v", e.Verdict.Err())
	}
	return fmt.Sprintf("traffikecho: the request is over the limit %q", e.Verdict.Tightest().UID())
}

// Deny answers a request that [PassOn] passed on, as the middleware would have, [OnDenied]
// and [ByErrorHandler] included. An error of these goes to echo's HTTPErrorHandler. Deny
// does nothing for a request within its limits, and reports whether it answered.
func Deny(c echo.Context) bool {
	mustContext(c)
	return httptraffik.Deny(c.Response(), c.Request())
}

// VerdictFrom returns the verdict of all middleware that the request has passed, the zero
// Verdict if there was none. It panics if c is nil or has no request, as Deny and Detach
// do.
func VerdictFrom(c echo.Context) traffik.Verdict {
	mustContext(c)
	return httptraffik.VerdictFrom(c.Request().Context())
}

func mustContext(c echo.Context) {
	if c == nil || c.Request() == nil {
		panic("traffikecho: the context is nil or has no request; give the one that the handler was given")
	}
}

// exchange is one allocation for all that a request needs. It is also the source of path
// parameters and of the keys set on the echo context, or else of the values of the
// request's context.
type exchange struct {
	httptraffik.Exchange
	recorder httptraffik.Recorder
	c        echo.Context
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
