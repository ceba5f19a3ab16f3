// Package traffikredis stores the counts of limits in Redis 6.2 or later, or in a
// compatible server. One script call decides a Take, all or nothing, by the clock of
// Redis.
//
//	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
//	backend, err := traffikredis.New(client, traffikredis.WithNamespace("myapp"))
//	items, err := traffik.New("api:items", "100/min", traffik.WithBackend(backend))
//
// The client is any UniversalClient of go-redis v9: for one server, Cluster, Sentinel or
// Ring. It stays yours: close the backend first, then the client.
//
// # What is atomic
//
// On one server every Take is atomic. On a Cluster or Ring a Take is atomic within a slot.
// The slot of a key is that of its identity or of [WithSlot], so all throttles of one
// caller share a slot. While a slot moves to another server and its keys lie at both, only
// a Take of one key is atomic.
//
// A Take over several slots draws in all of them at once. If one of them denies or fails,
// what the others drew is refunded exactly once. Until then, for a round trip, other
// callers find those units taken. If the refund fails, they stay taken until they expire.
// Refunds and forced charges of such a Take are made only after all draws have succeeded.
// If one of those fails, the Take fails, but the others are made already.
//
// The script decides the eight strategies of package traffik exactly as Go does. A
// [Scripted] strategy brings a script. All other strategies, such as those of package
// advanced, take two round trips: their states are read, decided in Go, and written if
// nobody changed them in between. Takes of one process on one key are decided together. A
// key that other processes change all the time ends in [traffik.ErrContention].
//
// # Many callers at once
//
// Takes that arrive while round trips are in flight are sent together with the next one,
// up to 512 ops in a script. Equal keys are drawn on in order of arrival, unless a Take has
// to be sent again, for example because Redis has forgotten a script. A single caller
// waits for nobody.
//
// A caller leaves as soon as its context ends. A Take that was still waiting for a round
// trip is not drawn. One that was in flight is drawn, or refunded if only Go decides its
// strategy.
//
// Each server of a Cluster or Ring has a queue of at most 65,536 Takes. With
// [WithoutCoalescing] each Take is a round trip, as many at once as the client has
// connections; further Takes wait.
//
// Redis does nothing else while a script runs. Most draws take microseconds, 512 of them in
// one script 7 ms at most. A denial by a [traffik.SlidingWindowLog] reads the whole log: 1
// ms for a thousand entries, 50 ms for the 65,535 of the longest. Fewer of those share a
// script, and the longest go alone.
//
// A draw whose answer is lost may be sent again, up to the client's MaxRetries, on a
// Cluster its MaxRedirects. It then costs its caller twice, and the limit holds. A refund
// is sent again only if a server said that it did not run it.
//
// # Failures
//
// [ErrUnreachable], [ErrTimeout], [ErrMemory], [ErrReadOnly], [ErrPermission] and
// [ErrScript] are kinds of [traffik.ErrBackend]. The error policy of a throttle says what
// happens to the request. A call without an answer fails after five seconds, or earlier
// when its context ends.
package traffikredis
