// Package traffikchi limits requests to chi v5 servers:
//
//	items := traffik.MustNew("api:items", "100/min")
//	r.Use(traffikchi.New(items))                                            // every route
//	r.With(traffikchi.New(traffik.All(burst, daily))).Get("/search", search) // one route
//
// Uses nest: a throttle that charged a request is not charged again further in. The package
// is the net/http middleware of httptraffik with chi's routes and parameters. The throttle's
// identifier finds the client's address; chi's RealIP middleware believes forged headers.
//
// # Routes
//
// The route of [traffik.ByRoute] is chi's pattern. A middleware given to Use runs before chi
// has routed to the end: the adapter then asks chi to find the route, when an identifier
// wants it, which walks the routing tree a second time. Path parameters further in are not
// known there.
//
// Requests without a route, which chi answers with 404 or 405, share one identity of
// ByRoute for each method. Around a chi router, instead of inside it, no route is known and
// ByRoute fails. Some routes are named less exactly than chi would:
//
//   - A mount's own path has the pattern of the mount: "/api" and "/api/" are one route,
//     whatever route in the mount serves them, and also if the mount answers 404 or 405.
//   - A HEAD request belongs to the route of GET if there is one, because GetHead may come
//     later.
//   - Put middleware that has another path or method routed, such as CleanPath and
//     StripSlashes, before the limit. If the limit is in a mount whose pattern holds a
//     regular expression and such middleware is outside of the mount, put the limit outside
//     of it too, or give it to With: a path that is rewritten counts as one without a route
//     otherwise.
//
// Chi reuses its context for other requests. Use [Detach] beyond the handler, for the
// messages of a WebSocket connection or for a job that the handler queues.
package traffikchi
