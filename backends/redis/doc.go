// Package traffikredis stores the counts of limits in Redis, 6.2 or later, or a
// server that is compatible: one script call decides a Take, all or nothing,
// by Redis' own clock.
//
//	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
//	backend, err := traffikredis.New(client, traffikredis.WithNamespace("myapp"))
//	items, err := traffik.New("api:items", "100/min", traffik.WithBackend(backend))
//
// The client is any UniversalClient of go-redis v9: one server, Cluster, Sentinel
// or Ring. It stays its maker's, who closes it after the backend.
//
// # What is atomic
//
// Off Cluster and Ring every Take is atomic. There, keys have a slot, that of
// the identity or of [WithSlot], and a Take is atomic within one: all throttles of
// one caller are, unless that slot is on its way to another server, with keys at
// both: then each key is a slot. A Take over several slots draws in all of them
// at once, and refunds, exactly once, what was drawn where another slot denies or
// fails. Until then, for a round trip, others find the units taken; and where the
// refund fails, they stay taken until they expire. Refunds and charges by force of
// such a Take are made only after all draws have succeeded; where one of several slots
// fails at them, those of the others are made already, though the Take failed.
//
// The eight strategies of package traffik are decided in Lua, identical to Go to
// the microsecond, and a [Scripted] strategy by its own script. All others, those
// of package advanced among them, are read, decided in Go, and written if nobody
// changed them meanwhile: two round trips, and [traffik.ErrContention] if a key
// never rests.
//
// # Many callers at once
//
// Takes that come while round trips are under way are sent together with the next
// one, at most 512 ops in a script, equal keys in order of arrival but for what has to
// be sent again, as when Redis has forgotten the script of one of them. A lone caller
// waits for nobody, and one whose context ends leaves at once; what still waited for
// a round trip then is not drawn, and what a round trip has taken up is. Each server
// of a Cluster or Ring has a queue of its own, of at most 65,536 Takes.
// [WithoutCoalescing] turns this off: then as many round trips are under way as the
// client has connections, and the others wait.
//
// Redis does nothing else while a script runs. Most draws take it microseconds, 512
// of them in one script, at their worst, some 7 ms. A denied one of a
// [traffik.SlidingWindowLog] walks the log: 1 ms for a thousand entries, some 50 ms for
// the 65,535 of the longest. Fewer of those go together, the longest alone.
//
// A draw whose answer is lost may be sent again, as often as the client's
// MaxRetries says, for a Cluster its MaxRedirects, and then costs its caller twice:
// the limit holds. What refunds units is sent again only if a server said that it
// was not run.
//
// # Failures
//
// [ErrUnreachable], [ErrTimeout], [ErrMemory], [ErrReadOnly], [ErrPermission] and
// [ErrScript] are kinds of [traffik.ErrBackend]; a throttle's error policy says
// what becomes of the request. A call without an answer fails after five seconds, if
// its context lets it.
package traffikredis
