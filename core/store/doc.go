// Package store helps authors of backends. It makes a [traffik.Backend] from any store that
// can read a value and replace it if nobody has changed it since.
//
// Write a type with the two methods of [Store] and give it to [New]:
//
//	backend := store.New(myStore, store.Options{})
//	logins, err := traffik.New("login", "5/min", traffik.WithBackend(backend))
//
// The Backend works with any strategy, draws several limits all or nothing, and retries after
// a conflict. It decides calls of one process on one key together, and a call returns when
// its context ends. The backends for Redis and Memcached are built on it. The example of this
// package is a complete store over a map.
//
// The package also has smaller parts. Every Take begins with [CheckOps] and decides with
// [DecideAll]. [Parts] takes ops on several servers, and refunds if one of them denies.
// [Retry] repeats a compare-and-swap.
//
// Test a backend with [github.com/traffik-go/traffik/core/backendtest.Run].
package store
