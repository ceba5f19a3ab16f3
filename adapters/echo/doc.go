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
// route, and "" in that of Pre. Path parameters and the keys of the echo context
// serve as identities through [traffik.ByParam] and [traffik.ByValue]; for use
// beyond the handler, as by the messages of a WebSocket connection, take [Detach].
package traffikecho
