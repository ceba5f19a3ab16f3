package traffik

import (
	"context"
	"net/http"
	"time"
)

// Request is the framework-neutral view of one HTTP request, one connection or one message.
// Adapters fill it. Don't change its fields after you have passed it on, and don't use it
// for another request: it remembers identities and decisions. A Request belongs to one
// goroutine at a time. A nil Request carries nothing and has no Writer.
type Request struct {
	// Context is the native request's context, for identifiers and functions of the
	// application; nil means context.Background. Calls such as Hit take their own.
	Context context.Context
	// Method, Path and RawQuery come from the request line; "" for a plain message.
	Method, Path, RawQuery string
	// Host is the requested host, with its port if one was given.
	Host string
	// Route is the pattern that matched, such as "/users/:id". It is "" if none matched, if
	// the router does not know it yet, or if it finds the route only on demand; see
	// [Request.Pattern].
	Route string
	// RemoteAddr is the peer of the socket as "host:port", or any text or "" if there is no
	// IP address.
	RemoteAddr string
	// Header is the request's header, nil if there is none. It is only read.
	Header http.Header
	// Source gives access to the native context; nil is fine.
	Source Source
	// Writer takes the headers and the denied answer; nil for a message or a plain key.
	Writer http.ResponseWriter
	// Holder says how long a [LeakyBucketWithQueue] can hold the request. A draw whose turn
	// comes later is denied and charged nothing, unless it is late by no more than the time
	// of one unit (period/limit). So compare [Verdict.Delay] too, and refuse a request that
	// is too late with [Verdict.Refund] and [Request.RefuseDelay]. Nil means that the
	// request can be held for ever.
	Holder Holder
	// HasBody says that the request has a body, or may have one: its length is not 0, or is
	// unknown.
	HasBody bool

	perUse bool // see PerUse

	// shared points to the memo of the outermost use, or to own.
	own    requestMemo
	shared *requestMemo
}

// Source is the native context behind a [Request]. A Source that wraps another one may have
// a method Unwrap() Source that returns it, for powers that it doesn't have itself.
type Source interface {
	// Param returns a path parameter, "" if there is none of that name.
	Param(name string) string
	// Value returns what an earlier middleware stored under key in the native context, nil
	// if there is nothing.
	Value(key any) any
}

// Router is an optional power of a [Source] that knows its route; see [ByRoute]. Route
// returns the pattern that matched, "" if none did. It is called on demand, since some
// routers have to look it up. A Source that can't know the route must not be a Router.
type Router interface {
	Route() string
}

// Holder holds requests until their turn. MaxDelay returns how long it can hold the request
// of ctx from now on, 0 or less for not at all. It is called before the store, with the
// context of that call.
type Holder interface {
	MaxDelay(ctx context.Context) time.Duration
}

// Detacher is an optional power of a [Source] whose native context will serve other requests
// later, as contexts of many frameworks do. [Request.Detach] calls it while the request is
// served. Detach returns a Source that keeps what the context knows now.
type Detacher interface {
	Detach() Source
}

// Pattern returns the pattern that matched, from Route or from a Source that is a [Router],
// "" if neither has one.
func (r *Request) Pattern() string {
	r = orEmpty(r)
	if r.Route != "" {
		return r.Route
	}
	if router := routerOf(r.Source); router != nil {
		return router.Route()
	}
	return ""
}

// routerOf returns the Router that a Source is or wraps, nil if there is none.
func routerOf(source Source) Router {
	for source != nil {
		if router, ok := source.(Router); ok {
			return router
		}
		wrapper, ok := source.(interface{ Unwrap() Source })
		if !ok {
			return nil
		}
		source = wrapper.Unwrap()
	}
	return nil
}

// Continue makes r, another view of the same request deeper inside the application, share
// what outer remembers: identities are not computed again, and no throttle is charged
// twice. Adapters call it for a nested use. A nil outer is ignored.
func (r *Request) Continue(outer *Request) {
	if r != nil && outer != nil {
		r.shared = outer.memo()
	}
}

// Detach returns a copy of r for use after the request or beside it, such as by the messages
// of a connection or by a queued job. It remembers the identities found so far, but no
// verdict. It has no Writer and no Holder. Its Source keeps what that of r knows now; see
// [Detacher]. Its Context has the values of r's Context and does not end with it. Call
// Detach while the request is served.
func (r *Request) Detach() *Request {
	if r == nil {
		r = new(Request)
	}
	d := &Request{
		Context: r.Context, Method: r.Method, Path: r.Path, RawQuery: r.RawQuery, HasBody: r.HasBody, Host: r.Host,
		Route: r.Route, RemoteAddr: r.RemoteAddr, Header: r.Header, Source: r.Source,
	}
	if ctx := r.Context; ctx != nil && ctx.Done() != nil {
		d.Context = context.WithoutCancel(ctx)
	}
	if source, ok := r.Source.(Detacher); ok {
		d.Source = source.Detach()
	}
	known := r.memo()
	d.shared = &d.own
	for _, memo := range append(known.identities[:], known.more...) {
		if memo.by != nil && memo.in == nil {
			*d.own.identity(memo.by) = memo
		}
	}
	return d
}

// PerUse makes the answer of an [Identifier] hold for this use of r alone: nested uses and
// detached copies ask again. Call it in the identifier's function if the answer depends on
// something that belongs to one use, such as one message of a connection. Elsewhere it does
// nothing.
func (r *Request) PerUse() {
	if r != nil {
		r.perUse = true
	}
}

// IsPreflight reports whether r is a CORS preflight, which a browser sends by itself before
// the request of a script (WHATWG Fetch, section "CORS-preflight request"). A preflight has
// no body, so a request with one is meant for a handler that takes any method.
func (r *Request) IsPreflight() bool {
	return r != nil && r.Method == http.MethodOptions && !r.HasBody && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != ""
}

// Verdict returns the decision on r so far, by all throttles that it has passed.
func (r *Request) Verdict() Verdict {
	if r == nil {
		return Verdict{}
	}
	return r.memo().verdict
}

func (r *Request) context() context.Context {
	if r.Context == nil {
		return context.Background()
	}
	return r.Context
}
