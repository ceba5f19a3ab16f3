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
// caller share a slot. While a slot moves to another server and both have keys of it, only
// a Take of one key is atomic.
//
// A Take over several slots draws in all of them at once. If one of them denies or fails,
// the draws of the others are refunded exactly once. Until then, for one round trip, other
// callers find those units taken. If the refund fails, they stay taken until they expire.
// Such a Take makes refunds and forced charges only after all its draws have succeeded. If
// one of these fails, the Take fails, but those before it stay made.
//
// The script decides the eight strategies of package traffik exactly as Go does. A
// [Scripted] strategy brings a script. All other strategies, such as those of package
// advanced, take two round trips: the backend reads their states, decides in Go, and writes
// if nobody changed them in between. Takes of one process on one key are decided together.
// If other processes keep changing a key, the error is [traffik.ErrContention].
//
// # Many callers at once
//
// Takes that arrive while round trips are in flight are sent together with the next one, up
// to 512 ops in a script. Draws on one key are made in order of arrival, unless a Take has
// to be sent again, for example because Redis has forgotten a script. A single caller waits
// for nobody.
//
// A caller leaves as soon as its context ends. A Take that was still waiting for a round
// trip is not drawn. One that was in flight is drawn, or refunded if only Go decides its
// strategy.
//
// Each server of a Cluster or Ring has a queue of at most 65,536 Takes. With
// [WithoutCoalescing] each Take is a round trip, as many at once as the client has
// connections; further Takes wait.
//
// Redis does nothing else while a script runs. Most draws take microseconds, and 512 of
// them in one script take at most 7 ms. A denial by a [traffik.SlidingWindowLog] reads the
// whole log, which takes 1 ms for a thousand entries and 50 ms for the longest log of
// 65,535. Fewer such draws share a script, and those on the longest logs run alone.
//
// A draw whose answer is lost may be sent again, up to the client's MaxRetries times, or
// MaxRedirects on a Cluster. It may then charge its caller twice, but never admits more
// than the limit. A refund is sent again only if a server said that it did not run it.
//
// # Failures
//
// [ErrUnreachable], [ErrTimeout], [ErrMemory], [ErrReadOnly], [ErrPermission] and
// [ErrScript] are kinds of [traffik.ErrBackend]. The error policy of a throttle says what
// happens to the request. A call without an answer fails after five seconds, or earlier
// when its context ends.
package traffikredis
