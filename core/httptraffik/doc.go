// Package httptraffik limits requests to any net/http handler:
//
//	items := traffik.MustNew("api:items", "100/min")
//	mux.Handle("/items", httptraffik.New(items)(handler))
//
// It needs no framework. The adapters for chi, gin and echo are built on its [Exchange],
// [Guard] and [Recorder]. The example of Guard is an adapter for another framework.
package httptraffik
