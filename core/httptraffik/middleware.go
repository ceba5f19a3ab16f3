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
	convert  func(*Exchange, *http.Request)
	onDenied func(http.ResponseWriter, *http.Request, traffik.Verdict)
	onError  func(http.ResponseWriter, *http.Request, error)
}

type optionFunc func(c *config)

func (f optionFunc) apply(c *config) { f(c) }

// OnDenied answers denied requests instead of the throttle's own handler or the
// problem+json default. Headers are set already; [traffik.Verdict.Status] is
// the status to send. A nil handler keeps the default.
func OnDenied(answer func(w http.ResponseWriter, r *http.Request, v traffik.Verdict)) Option {
	return optionFunc(func(c *config) { c.onDenied = answer })
}

// OnError answers requests that could not be judged: errors under the policy
// Propagate, and the cause of a deadline of the request's context that had passed before.
// The default is 503 with a problem+json body. A nil handler keeps it. It is not called
// where the client is gone: an access log finds status 499 then, and no body is written.
func OnError(answer func(w http.ResponseWriter, r *http.Request, err error)) Option {
	return optionFunc(func(c *config) { c.onError = answer })
}

// CountPreflight charges CORS preflights, which pass uncounted by default if they
// have no body. Give it where a handler that takes any method does its work for
// OPTIONS as well, or let no preflight get that far.
func CountPreflight() Option {
	return optionFunc(func(c *config) { c.guard.CountPreflight = true })
}

// MaxHold bounds how long a request is held when its strategy asks for a delay,
// instead of [DefaultMaxHold]; 0 or less holds none, and the handler finds the
// delay in the verdict. A request whose context or whose server's timeouts end before
// is denied at once instead, see [Guard.Check].
func MaxHold(d time.Duration) Option {
	return optionFunc(func(c *config) { c.guard.MaxHold = d })
}

// CountOnly counts only requests whose response has a status that the function
// accepts, as a limit of failed logins does:
//
//	httptraffik.CountOnly(func(status int) bool { return status == http.StatusUnauthorized })
//
// Every request is charged before its handler runs, so that no more of them are
// under way at once than the limit has room for, and the charge is given back
// afterwards if the response does not count. That happens also when the handler
// panics or the client is gone. What a handler that panics did not write counts as
// 500, what it did not write for a client that is gone as 499, or before a deadline
// of middleware further out as 503, a connection that it took over as 101.
//
// A response that is flushed, as events are, and a connection that is taken over are
// judged there and then: their charge does not stay for as long as they live. That
// of any other response stays until the handler has returned.
//
// Giving back is waited for, so that the client's next request finds it done, but
// for [RefundPatience] at most: a store that is slower finishes on a context of its
// own, of five seconds, while the response goes out. What fails stays charged.
//
// A charge that an outer use has made stays: give the option there. A nil
// function counts every request.
func CountOnly(counts func(status int) bool) Option {
	return optionFunc(func(c *config) { c.guard.CountOnly = counts })
}

// PassOn lets the handler decide on requests over the limit, as to serve a
// cached page instead of a 429. They are counted as ever, and [VerdictFrom] tells
// the handler how they were judged; [Deny] answers one as the middleware would
// have, [OnDenied] included. Retry-After is not set before that; one that the
// application has set stays.
func PassOn() Option {
	return optionFunc(func(c *config) { c.guard.PassOn = true })
}

// ConvertWith completes the exchange of each request by a function, for routers
// that keep route and parameters elsewhere than net/http does. It sets Route and
// Source of e.Request; a nil function keeps those of net/http.
func ConvertWith(convert func(e *Exchange, r *http.Request)) Option {
	return optionFunc(func(c *config) { c.convert = convert })
}

// New returns a middleware that lets through what limit admits. It panics if
// limit is nil or zero, and the middleware if its handler is nil, as net/http does. A nil option changes
// nothing.
//
// Handlers get a writer with the abilities of the one that came, so that flushing,
// hijacking, pushing and http.ResponseController work as without the middleware. It
// leaves one value of each header of the limit, see [Exchange.Writer]. It closes the
// connection of an HTTP/1 request whose body is answered with 413, which is what
// http.MaxBytesReader asks net/http's own writer for. Without headers to look after,
// under [traffik.NoHeaders], the writer is the one that came. The request goes on as a
// copy; what routers and handlers note in it comes back, see [Exchange.End].
func New(limit traffik.Limiter, opts ...Option) func(http.Handler) http.Handler {
	MustLimiter(limit)
	c := &config{guard: Guard{Limit: limit, MaxHold: DefaultMaxHold}}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(c)
		}
	}
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("traffik: the middleware was given a nil handler; give the one that comes after the limit")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c.serve(w, r, next)
		})
	}
}

// MustLimiter panics if limit is nil, a nil pointer, or a zero Throttle or Gate, with a hint
// at the likely cause.
func MustLimiter(limit traffik.Limiter) {
	if v := reflect.ValueOf(limit); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("traffik: the middleware was given a nil limiter; check the error that traffik.New returned")
	}
	traffik.All(limit) // panics for what neither New nor All has made
}

func (c *config) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	e := Begin(w, r)
	if c.convert != nil {
		c.convert(e, r)
	}
	req := &e.Request
	r = e.Native()
	defer e.End()
	v, err := c.guard.Check(r.Context(), req)
	switch {
	case err != nil:
		c.guard.Settle(r.Context(), v, Ending{})
		c.fail(w, r, req, err)
	case c.guard.Passes(v):
		if !v.Allowed() {
			e.PassOn(c.onDenied)
		}
		c.pass(w, e, v, next)
	case c.onDenied != nil:
		c.onDenied(w, r, v)
	default:
		req.WriteDenied(v)
	}
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

// pass serves the request, and looks at the response if that is asked for.
func (c *config) pass(w http.ResponseWriter, e *Exchange, v traffik.Verdict, next http.Handler) {
	// Over HTTP/2 there is no connection to close.
	e.out.closes = e.Request.HasBody && e.native.ProtoMajor == 1
	if c.guard.CountOnly == nil {
		next.ServeHTTP(e.Writer(v, w), e.handed) // End does the rest
		return
	}
	watch := c.guard.Watch(e.handed.Context(), v, w)
	watch.recorder.closes = e.out.closes
	returned := false
	defer func() { // also when the handler panics
		watch.End(Ending{Status: watch.Status(), Written: watch.Status() != 0, Returned: returned})
	}()
	next.ServeHTTP(watch.Writer(), e.handed)
	watch.recorder.finish()
	returned = true
}
