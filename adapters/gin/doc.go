// Package traffikgin limits requests to Gin servers:
//
//	items := traffik.MustNew("api:items", "100/min")
//	router.Use(traffikgin.New(items))                      // every route
//	router.Group("/admin").Use(traffikgin.New(admin))      // a group
//	router.GET("/search", traffikgin.New(traffik.All(burst, daily)), search)
//
// Uses nest: a throttle charges a request once, even if a group and a route both use it.
// The throttle's identifier finds the client's address; gin's ClientIP believes forged
// headers unless configured otherwise.
//
// The route of [traffik.ByRoute] is gin's FullPath, which is known at every level of use.
// Requests without a route, which gin answers with 404 or 405, share one identity of ByRoute
// for each method. Path parameters and the keys of the gin context serve as identities
// through [traffik.ByParam] and [traffik.ByValue]. Use [Detach] for work that outlives the
// handler: the messages of a WebSocket connection, or a job that the handler queues.
//
// Handlers get a gin.ResponseWriter that leaves one value of each header of the limits, see
// [traffik.Verdict.ReconcileHeaders].
package traffikgin
