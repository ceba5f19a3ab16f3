package httptraffik

import (
	"context"
	"net/http"
	"reflect"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Exchange is one HTTP request on its way through a middleware: core's view of
// it, and the context that carries that view to nested uses and to handlers.
// They are one struct because they are one allocation. Adapters are made of it;
// applications use [New].
type Exchange struct {
	// Request is core's view. An adapter may set Route and Source before it is
	// judged.
	Request traffik.Request

	carrier carrier
	out     serverHTTP1
	native  *http.Request
	handed  *http.Request // the copy of native that went down the chain
	held    time.Duration // for queueing strategies, by this use and those further out

	// passed tells that the request was handed on over its limit, and answer what
	// answers it if its handler denies, nil for the throttle's own.
	passed bool
	answer func(http.ResponseWriter, *http.Request, traffik.Verdict)
}

// carrier is the request's context with core's view in it.
type carrier struct {
	context.Context
	exchange *Exchange
}

// Value implements context.Context.
func (c *carrier) Value(key any) any {
	if key == (contextKey{}) {
		return c.exchange
	}
	return c.Context.Value(key)
}

type contextKey struct{}

// Begin makes the exchange of r, continuing that of an outer use of the same
// request. A request that a handler makes with http.NewRequestWithContext and
// the context of the one it serves, as to dispatch the parts of a batch, is
// judged on its own; so is a copy made by http.Request.Clone. A shallow copy, as
// http.Request.WithContext makes, is the request itself. The route and the path parameters are
// those of http.ServeMux, known once the mux has routed; adapters for other
// routers set their own.
func Begin(w http.ResponseWriter, r *http.Request) *Exchange {
	e := new(Exchange)
	e.Begin(w, r)
	return e
}

// Begin makes a zero Exchange, such as one inside a struct of an adapter, that
// of r; see the function of that name.
func (e *Exchange) Begin(w http.ResponseWriter, r *http.Request) {
	mustRequest(r)
	ctx := r.Context()
	req := &e.Request
	req.Context = ctx
	req.Method, req.Path, req.RawQuery, req.Host = r.Method, r.URL.Path, r.URL.RawQuery, r.Host
	req.Route = r.Pattern
	req.HasBody = r.ContentLength != 0 || len(r.TransferEncoding) > 0
	req.RemoteAddr, req.Header = r.RemoteAddr, r.Header
	req.Source, req.Writer = source{r}, w
	if outer := exchangeFrom(ctx); outer != nil && sameRequest(outer.native, r) {
		req.Continue(&outer.Request)
		e.passed, e.answer, e.held = outer.passed, outer.answer, outer.held
	}
	e.native = r
	e.carrier = carrier{Context: ctx, exchange: e}
}

// sameRequest reports whether inner is outer further down the chain. Middleware
// copies requests and rewrites the URL and the address, but keeps the header map
// that the server made. Only what a server has read has a RequestURI.
func sameRequest(outer, inner *http.Request) bool {
	return outer == inner || inner.Header != nil &&
		reflect.ValueOf(outer.Header).Pointer() == reflect.ValueOf(inner.Header).Pointer() &&
		(outer.RequestURI == "") == (inner.RequestURI == "")
}

// Native returns the request with the exchange in its context, which is to go
// down the chain in place of the one that came. Call [Exchange.End] once the
// chain has returned.
func (e *Exchange) Native() *http.Request {
	if e == nil || e.native == nil {
		panic("traffik: the Exchange is nil or zero; call Begin before Native")
	}
	if r := e.native; r.Trailer == nil && len(r.TransferEncoding) > 0 {
		// The server puts trailers that were not announced into the request that it
		// made. A copy finds them if both have the map already.
		r.Trailer = http.Header{}
	}
	e.handed = e.native.WithContext(&e.carrier)
	return e.handed
}

// Writer returns the writer to hand down the chain in place of w, for a request judged
// with v: what a handler adds to the headers of the limits, as a reverse proxy does with
// those of its upstream, is reconciled before the response is sent (see
// [traffik.Verdict.ReconcileHeaders]). It has the abilities of w; where no header was
// told it is w.
func (e *Exchange) Writer(v traffik.Verdict, w http.ResponseWriter) http.ResponseWriter {
	if !v.TellsHeaders() {
		return w
	}
	out := &e.out.recorder
	out.ResponseWriter, out.told, out.status, out.touched = w, v, 0, false
	return e.out.writer()
}

// PassOn is told by an adapter that hands the request on over its limit, with what
// [Deny] is to answer it with, nil for the answer of the throttle. Of several uses
// the outermost decides: without [PassOn] it would have answered.
func (e *Exchange) PassOn(answer func(w http.ResponseWriter, r *http.Request, v traffik.Verdict)) {
	if !e.passed {
		e.passed, e.answer = true, answer
	}
}

// End tells the request that came what routers and handlers noted in the one
// that they were handed: outer middleware looks for the pattern and the forms
// there, and the server for the uploaded files that it is to remove. Only what
// is new is written, as without a middleware; others may be reading the rest.
// The values of path parameters stay behind, as net/http can't list them.
func (e *Exchange) End() {
	e.out.finish()
	came, handed := e.native, e.handed
	if handed == nil {
		return
	}
	if came.Pattern != handed.Pattern {
		came.Pattern = handed.Pattern
	}
	if came.Form == nil && handed.Form != nil {
		came.Form = handed.Form
	}
	if came.PostForm == nil && handed.PostForm != nil {
		came.PostForm = handed.PostForm
	}
	if came.MultipartForm != handed.MultipartForm {
		came.MultipartForm = handed.MultipartForm
	}
}

// NewRequest is core's view of r outside of any middleware; see [Begin].
func NewRequest(w http.ResponseWriter, r *http.Request) *traffik.Request {
	return &Begin(w, r).Request
}

// Detach returns who sent r, for use beyond its handler: for the messages of a
// WebSocket connection accepted in it, for a job that it queues. Path parameters are
// those of http.ServeMux, identities that middleware has found are known, and nothing
// is charged yet. Its context has the values of r's and does not end with it. The
// adapters for other routers have a Detach of their own.
func Detach(r *http.Request) *traffik.Request {
	mustRequest(r)
	return NewRequest(nil, r.WithContext(context.WithoutCancel(r.Context()))).Detach()
}

// source reads what http.ServeMux and the request's context know.
type source struct{ r *http.Request }

func (s source) Param(name string) string { return s.r.PathValue(name) }
func (s source) Value(key any) any        { return s.r.Context().Value(key) }

// RequestFrom returns the request that a middleware attached to ctx, nil if
// none did. It serves as long as the handler runs; [traffik.Request.Detach] makes one
// that may be kept.
func RequestFrom(ctx context.Context) *traffik.Request {
	if e := exchangeFrom(ctx); e != nil {
		return &e.Request
	}
	return nil
}

func exchangeFrom(ctx context.Context) *Exchange {
	if ctx == nil {
		panic("traffik: the context is nil; give that of a request")
	}
	e, _ := ctx.Value(contextKey{}).(*Exchange)
	return e
}

// VerdictFrom returns how the request of ctx was judged by all middleware it
// has passed, the zero Verdict if by none.
func VerdictFrom(ctx context.Context) traffik.Verdict {
	if req := RequestFrom(ctx); req != nil {
		return req.Verdict()
	}
	return traffik.Verdict{}
}

func mustRequest(r *http.Request) {
	if r == nil {
		panic("traffik: the request is nil; give the one that the handler was given")
	}
}
