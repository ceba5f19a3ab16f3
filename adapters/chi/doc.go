// Package traffikchi limits requests to chi v5 servers:
//
//	items := traffik.MustNew("api:items", "100/min")
//	r.Use(traffikchi.New(items))                                            // every route
//	r.With(traffikchi.New(traffik.All(burst, daily))).Get("/search", search) // one route
//
// Uses nest: a throttle charges a request once, even if a router and a route both use it.
// The package is the net/http middleware of [httptraffik] with chi's routes and parameters.
// The throttle's identifier finds the client's address; chi's RealIP middleware believes
// forged headers.
//
// # Routes
//
// The route of [traffik.ByRoute] is chi's pattern. A middleware given to Use runs before chi
// has found the route. If an identifier wants the route there, the adapter asks chi for it,
// which walks the routing tree a second time. Such a middleware doesn't know path parameters
// further in.
//
// Requests without a route, which chi answers with 404 or 405, share one identity of
// ByRoute for each method. Around a chi router, instead of inside it, no route is known and
// ByRoute fails. Some routes differ from chi's:
//
//   - A mount's own path has the pattern of the mount: "/api" and "/api/" are one route,
//     whatever route in the mount serves them, even if the mount answers 404 or 405.
//   - A HEAD request belongs to the route of GET if there is one, because GetHead may come
//     later.
//   - Add middleware that changes the path or method to route, such as CleanPath and
//     StripSlashes, before the limit. Suppose that the limit is in a mount whose pattern
//     contains a regular expression, and such middleware is outside the mount. Then put the
//     limit outside too, or give it to With. Otherwise a rewritten path counts as one
//     without a route.
//
// Chi reuses its context for other requests. Use [Detach] for work that outlives the
// handler: the messages of a WebSocket connection, or a job that the handler queues.
package traffikchi
