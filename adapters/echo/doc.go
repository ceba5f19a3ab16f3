// Package traffikecho limits requests to Echo v4 servers:
//
//	items := traffik.MustNew("api:items", "100/min")
//	e.Use(traffikecho.New(items))                       // every route
//	e.Group("/admin", traffikecho.New(admin))           // a group
//	e.GET("/search", search, traffikecho.New(traffik.All(burst, daily)))
//
// Uses nest: a throttle charges a request once, even if a group and a route both use it.
// The throttle's identifier finds the client's address; echo's RealIP believes forged
// headers unless configured otherwise.
//
// The route of [traffik.ByRoute] is echo's Path, which is known in the middleware of Use, of
// a group and of a route. Requests without a route have that of their group, such as
// "/admin/*", or share one identity of ByRoute for each method. Middleware given to Pre runs
// before echo routes, so don't limit by route there. Path parameters and the keys of the
// echo context serve as identities through [traffik.ByParam] and [traffik.ByValue]. Use
// [Detach] for work that outlives the handler: the messages of a WebSocket connection, or a
// job that the handler queues.
//
// The Writer of echo's response leaves one value of each header of the limits, see
// [traffik.Verdict.ReconcileHeaders]. See [httptraffik.New] for what else it can do.
//
// Add middleware that turns errors of handlers into other errors or answers after the
// limit, above all under [CountOnly]: echo's ContextTimeout and Timeout, and mappings of
// your application. The limit doesn't see what middleware further out makes of an error.
package traffikecho
