// Package traffikecho limits requests to Echo v4 servers:
//
//	items := traffik.MustNew("api:items", "100/min")
//	e.Use(traffikecho.New(items))                       // every route
//	e.Group("/admin", traffikecho.New(admin))           // a group
//	e.GET("/search", search, traffikecho.New(traffik.All(burst, daily)))
//
// Uses nest: a throttle that was charged for a request is not charged again
// further in. The client's address is found by the throttle's identifier, never
// by echo's RealIP, which believes forged headers unless told otherwise.
//
// The route is echo's Path, known in the middleware of Use, of a group and of a
// route, and "" in that of Pre. What echo has no route for has none, or that of its
// group, as "/admin/*"; without one [traffik.ByRoute] is an error, and by default such a
// request gets 503 instead of 404. Path parameters and the keys of the echo context
// serve as identities through [traffik.ByParam] and [traffik.ByValue]; for use
// beyond the handler, as by the messages of a WebSocket connection, take [Detach].
//
// Middleware that turns errors of handlers into other errors or answers belongs behind
// the limit, above all under [CountOnly]: echo's ContextTimeout and Timeout, a mapping of
// the application's own. What it makes of an error is not known further in.
package traffikecho
