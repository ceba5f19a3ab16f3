// Package store helps authors of backends. It makes a [traffik.Backend] of any store that can
// read a value and replace it if nobody changed it since.
//
// Write a type with the two methods of [Store] and give it to [New]:
//
//	backend := store.New(myStore, store.Options{})
//	logins, err := traffik.New("login", "5/min", traffik.WithBackend(backend))
//
// The [Backend] decides with any strategy, draws several limits all or nothing, retries after
// a conflict, decides callers of one process on one key together, and lets a caller leave
// when its context ends. The traffik backends for Redis and Memcached are made of it. The
// example of this package is a complete store over a map.
//
// Smaller parts are here too. [CheckOps] and [DecideAll] are what every Take begins with and
// how it decides. [Parts] takes ops that lie on several servers, and refunds when one of them
// denies. [Retry] repeats a compare-and-swap.
//
// Test a backend with [github.com/traffik-go/traffik/core/backendtest.Run].
package store
