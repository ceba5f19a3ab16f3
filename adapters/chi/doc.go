// Package traffikchi limits requests to Chi v5 servers:
//
//	items := traffik.MustNew("api:items", "100/min")
//	r.Use(traffikchi.New(items))                                            // every route
//	r.With(traffikchi.New(traffik.All(burst, daily))).Get("/search", search) // one route
//
// Uses nest: a throttle that was charged for a request is not charged again
// further in. It is the net/http middleware of httptraffik with chi's routes
// and parameters; the client's address is found by the throttle's identifier,
// never by chi's RealIP middleware, which believes forged headers.
//
// The route is chi's pattern. In a middleware given to Use, chi has not routed to the
// end yet: what is missing is looked up when somebody asks for it, which walks that
// part of the routing tree a second time, and path parameters further in are absent.
//
// Middleware that has another path or method routed, as chi's CleanPath, StripSlashes
// and GetHead, belongs before the limit: what it is going to ask for is not known
// earlier. Only a HEAD without a route of its own is taken for the GET in any case.
// Requests without a route, which chi answers with 404 or 405, share one identity of
// [traffik.ByRoute] for each method. Around a chi router, instead of inside it, no route
// is known: [traffik.ByRoute] fails there.
//
// Chi uses its context again for other requests; for use beyond the handler, as by the
// messages of a WebSocket connection or a job that is queued, take [Detach].
package traffikchi
