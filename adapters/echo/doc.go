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
// route. What echo has no route for has that of its group, such as "/admin/*", or shares
// one identity of [traffik.ByRoute] for each method. Middleware given to Pre runs before
// echo routes, which looks the same there for every request: don't limit by route in it.
// Path parameters and the keys of the echo context serve as identities through
// [traffik.ByParam] and [traffik.ByValue]; for use beyond the handler, as by the
// messages of a WebSocket connection, take [Detach].
//
// The Writer of echo's response stands for the one that came: it leaves one value of
// each header of the limit, see [httptraffik.Exchange.Writer].
//
// Middleware that turns errors of handlers into other errors or answers belongs behind
// the limit, above all under [CountOnly]: echo's ContextTimeout and Timeout, a mapping of
// the application's own. What it makes of an error is not known further in.
package traffikecho
