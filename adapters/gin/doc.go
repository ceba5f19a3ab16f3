// Package traffikgin limits requests to Gin servers:
//
//	items := traffik.MustNew("api:items", "100/min")
//	router.Use(traffikgin.New(items))                      // every route
//	router.Group("/admin").Use(traffikgin.New(admin))      // a group
//	router.GET("/search", traffikgin.New(traffik.All(burst, daily)), search)
//
// Uses nest: a throttle that was charged for a request is not charged again
// further in. The client's address is found by the throttle's identifier, never
// by gin's ClientIP, which believes forged headers unless told otherwise.
//
// The route is gin's FullPath, known at every level of use. What gin has no route for
// and answers with 404 or 405 shares one identity of [traffik.ByRoute] for each method.
// Path parameters and the keys of the gin context serve as identities through
// [traffik.ByParam] and [traffik.ByValue]; for use beyond the handler, as by the
// messages of a WebSocket connection, take [Detach].
//
// Handlers get a gin.ResponseWriter that stands for the one that came: it leaves one
// value of each header of the limit, see [httptraffik.Exchange.Writer].
package traffikgin
