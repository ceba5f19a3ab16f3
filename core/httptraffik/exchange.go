package httptraffik

import (
	"context"
	"net/http"
	"reflect"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Exchange is one HTTP request on its way through a middleware: core's view of it, and the
// context that carries that view to nested uses and to handlers. One struct holds both, so
// that they cost one allocation. Adapters embed it and call [Exchange.Begin];
// applications use [New].
type Exchange struct {
	// Request is core's view. An adapter sets Route and Source before the limit is
	// checked.
	Request traffik.Request

	carrier carrier
	native  *http.Request
	handed  *http.Request // the copy of native that goes down the chain
	held    time.Duration // by this use and those further out

	passed bool // the request was passed on over its limit
	answer Answer
}

// Answer answers a request over its limit; see [OnDenied].
type Answer = func(w http.ResponseWriter, r *http.Request, v traffik.Verdict)

// carrier is the request's context with the Exchange in it.
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

const errNilRequest = "traffik: the request is nil; give the one that the handler was given"

// Begin prepares a zero Exchange for r and returns the request to hand down the chain in
// place of r. Call [Exchange.End] when the chain has returned. Begin panics if r is nil.
//
// It continues the Exchange of an outer use of the same request or of a shallow copy, such
// as one by [http.Request.WithContext]. A request that a handler makes with the context of
// the request it serves, such as a part of a batch, counts as another request. So does a
// copy by [http.Request.Clone]. Route and path parameters are those of http.ServeMux, which
// are known once the mux has routed; adapters for other routers set theirs.
func (e *Exchange) Begin(w http.ResponseWriter, r *http.Request) *http.Request {
	if r == nil {
		panic(errNilRequest)
	}
	ctx := r.Context()
	req := &e.Request
	req.Context = ctx
	req.Method, req.Path, req.RawQuery, req.Host = r.Method, r.URL.Path, r.URL.RawQuery, r.Host
	req.Route = r.Pattern
	req.HasBody = r.ContentLength != 0 || len(r.TransferEncoding) > 0
	req.RemoteAddr, req.Header = r.RemoteAddr, r.Header
	req.Source, req.Writer = source{r}, w
	if outer, _ := ctx.Value(contextKey{}).(*Exchange); outer != nil && sameRequest(outer.native, r) {
		req.Continue(&outer.Request)
		e.passed, e.answer, e.held = outer.passed, outer.answer, outer.held
	}
	if r.Trailer == nil && len(r.TransferEncoding) > 0 {
		// The server adds trailers that were not announced to the request that it made.
		// A copy finds them if both share the map already.
		r.Trailer = http.Header{}
	}
	e.native = r
	e.carrier = carrier{Context: ctx, exchange: e}
	e.handed = r.WithContext(&e.carrier)
	return e.handed
}

// sameRequest reports whether inner is outer further down the chain. Middleware copies
// requests and rewrites the URL and the address, but keeps the header map that the server
// made. Only a request that a server has read has a RequestURI.
func sameRequest(outer, inner *http.Request) bool {
	return outer == inner || inner.Header != nil &&
		reflect.ValueOf(outer.Header).Pointer() == reflect.ValueOf(inner.Header).Pointer() &&
		(outer.RequestURI == "") == (inner.RequestURI == "")
}

// PassOn notes that the adapter passes the request on over its limit, and the answer that
// [Deny] gives, nil for that of the throttle. The outermost use decides, since without
// PassOn it would have answered.
func (e *Exchange) PassOn(answer Answer) {
	if !e.passed {
		e.passed, e.answer = true, answer
	}
}

// End copies the notes that routers and handlers made in the request handed down back to
// the original request. Outer middleware looks there for the pattern and the forms, and the
// server for uploaded files to remove. End writes only fields that have changed, since
// other goroutines may be reading the rest. Path parameters stay behind, because net/http
// can't list them.
func (e *Exchange) End() {
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

// NewRequest returns core's view of r outside of any middleware; see [Exchange.Begin]. It
// panics if r is nil.
func NewRequest(w http.ResponseWriter, r *http.Request) *traffik.Request {
	if r == nil {
		panic(errNilRequest)
	}
	e := new(Exchange)
	e.Begin(w, r.WithContext(r.Context())) // Begin may write to the request that it is given
	return &e.Request
}

// Detach returns a request that outlives the handler of r, for the messages of a WebSocket
// connection or a job that the handler queues. It counts for the same client. It knows the
// path parameters of [http.ServeMux] and the identities that middleware found, and has no
// charges yet. Its context has the values of r's context and does not end with it. Detach
// panics if r is nil. The adapters for other routers have their own Detach.
func Detach(r *http.Request) *traffik.Request { return NewRequest(nil, r).Detach() }

// source reads what http.ServeMux and the request's context know.
type source struct{ r *http.Request }

func (s source) Param(name string) string { return s.r.PathValue(name) }
func (s source) Value(key any) any        { return s.r.Context().Value(key) }

// RequestFrom returns the request that a middleware attached to ctx, nil if none did. Use
// it only while the handler runs; [traffik.Request.Detach] makes one that you may keep. It
// panics if ctx is nil, as VerdictFrom does.
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

// VerdictFrom returns the verdict of all middleware that the request of ctx has passed, the
// zero Verdict if there was none.
func VerdictFrom(ctx context.Context) traffik.Verdict {
	if req := RequestFrom(ctx); req != nil {
		return req.Verdict()
	}
	return traffik.Verdict{}
}

// Deny answers a request that [PassOn] passed on, as the middleware would have: with
// Retry-After and the answer of its [OnDenied], or else of the throttle that denied. It
// does nothing for a request within its limits, and reports whether it answered. It panics
// if r is nil.
func Deny(w http.ResponseWriter, r *http.Request) bool {
	if r == nil {
		panic(errNilRequest)
	}
	outer := exchangeFrom(r.Context())
	if outer == nil || outer.Request.Verdict().Allowed() {
		return false
	}
	req := NewRequest(w, r) // w may be that of a middleware further in
	req.Route, req.Source = outer.Request.Route, outer.Request.Source
	req.Continue(&outer.Request)
	req.WriteHeaders()
	if outer.answer != nil {
		outer.answer(w, r, req.Verdict())
	} else {
		req.WriteDenied(req.Verdict())
	}
	return true
}
