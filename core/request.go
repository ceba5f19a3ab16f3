package traffik

import (
	"context"
	"net/http"
	"time"
)

// Request says who asks and for what: the framework-neutral view of one HTTP
// request, one connection or one message. Adapters fill it; everything right of
// them reads it. Its fields are not changed after it has been handed over, and
// it is not used again for another request: it remembers who asked and how that
// was judged. A Request belongs to one goroutine at a time. Of a nil Request nothing is
// known, and it has no Writer.
type Request struct {
	// Context is the native request's context; nil means context.Background.
	// It is here for identifiers and functions of the application; calls such
	// as Hit take their own.
	Context context.Context
	// Method, Path and RawQuery are those of the request line, "" for a plain
	// message.
	Method, Path, RawQuery string
	// Host is the requested host, with its port if one was given.
	Host string
	// Route is the pattern that matched, as "/users/:id", "" where the router
	// does not know it (yet), has none that matches, or tells it on demand only: see
	// [Request.Pattern].
	Route string
	// RemoteAddr is the peer of the socket as "host:port", "" or anything else
	// where there is no IP address.
	RemoteAddr string
	// Header is the request's header, nil if there is none. It is read only.
	Header http.Header
	// Source gives access to what only the native context knows; nil is fine.
	Source Source
	// Writer takes the headers and the denied answer; nil for a message or a
	// plain key.
	Writer http.ResponseWriter
	// Holder is asked how long the request can be held, where a [LeakyBucketWithQueue]
	// counts: a draw whose turn comes later is denied and charged nothing, unless it comes
	// within one unit's time (period/limit) of that. Compare [Verdict.Delay], and refuse what
	// is too late by [Verdict.Refund] and [Request.RefuseDelay]. Nil means that the request
	// can be held for any time.
	Holder Holder
	// HasBody tells that a body comes with the request, or may: its length is not 0
	// or not known.
	HasBody bool

	perUse bool // see PerUse

	// own is the memory of this request; shared points to that of the outermost
	// use, or to own.
	own    requestMemo
	shared *requestMemo
}

// Source is the native context behind a [Request]. One that stands for another may lead
// to it by a method Unwrap() Source, for the powers that it doesn't have itself.
type Source interface {
	// Param returns a path parameter, "" if there is none of that name.
	Param(name string) string
	// Value returns what an earlier middleware stored under key in the native
	// context, nil if nothing.
	Value(key any) any
}

// Router is an optional power of a [Source] whose router tells routes: the pattern that
// matched, "" if none did, see [ByRoute]. It is asked on demand, for routers that have
// to look it up. A Source that can't tell is no Router.
type Router interface {
	Route() string
}

// Holder holds requests until their turn. MaxDelay returns how long it can hold the
// request of ctx from now on, 0 or less for not at all. It is called before the store is
// asked, with the context of that call.
type Holder interface {
	MaxDelay(ctx context.Context) time.Duration
}

// Detacher is an optional power of a [Source] over a native context that serves
// other requests later, as those of many frameworks do. Detach returns what that
// context knows now, as a Source that stays so; it is called while the request is
// being served, by [Request.Detach].
type Detacher interface {
	Detach() Source
}

// Pattern returns the pattern that matched, from Route or from a Source that is
// a [Router], "" if neither knows one.
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

// routerOf returns the Router that a Source is or leads to, nil if there is none.
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

// Continue makes r, a view of the same request taken deeper inside the
// application, share what outer knows: identities are not computed again, and
// a throttle that was charged already is not charged twice. Adapters call it
// for a nested use. A nil outer is ignored.
func (r *Request) Continue(outer *Request) {
	if r != nil && outer != nil {
		r.shared = outer.memo()
	}
}

// Detach returns a copy of r with a memory of its own, for use after the request
// or beside it, as by the messages of a connection or a job that was queued:
// identities found so far are known to it, the verdict is not. It has no Writer and no Holder, and
// its Source is that of r as it stands; see [Detacher]. Its Context has the values of
// that of r and does not end with it. Call it while the request is being served.
func (r *Request) Detach() *Request {
	r = orEmpty(r)
	d := &Request{
		Context: endless(r.Context), Method: r.Method, Path: r.Path, RawQuery: r.RawQuery, HasBody: r.HasBody, Host: r.Host,
		Route: r.Route, RemoteAddr: r.RemoteAddr, Header: r.Header, Source: r.Source,
	}
	if source, ok := r.Source.(Detacher); ok {
		d.Source = source.Detach()
	}
	known := r.memo()
	d.shared = &d.own
	for _, memo := range append(known.identities[:], known.more...) {
		if memo.by != nil && memo.in == nil {
			d.own.remember(memo)
		}
	}
	return d
}

// endless returns ctx without its end, which is ctx itself if it has none.
func endless(ctx context.Context) context.Context {
	if ctx == nil || ctx.Done() == nil {
		return ctx
	}
	return context.WithoutCancel(ctx)
}

// PerUse tells, from within the function of an [Identifier], that its answer
// holds for this use of r alone: nested uses and detached copies ask again. It is
// called by what hands out a thing that belongs to one use only, such as one
// message of a connection. Elsewhere it does nothing.
func (r *Request) PerUse() {
	if r != nil {
		r.perUse = true
	}
}

// Verdict returns how the request was judged so far, by all throttles it has
// passed.
func (r *Request) Verdict() Verdict { return orEmpty(r).memo().verdict }

func (r *Request) context() context.Context {
	if r.Context == nil {
		return context.Background()
	}
	return r.Context
}
