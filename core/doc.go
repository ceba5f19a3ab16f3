// Package traffik limits how often something may happen: how many requests a client sends,
// how many messages a connection carries, how many logins fail.
//
// A [Throttle] is a named limit with four parts: a [Rate] says how much is too much, a
// [Strategy] says how to count, a [Backend] stores the counters, and an [Identifier] says
// which client a request counts for.
//
//	items, err := traffik.New("api:items", "100/min")
//	res, err := items.Key("user:42").Hit(ctx)
//	if !res.Allowed {
//		// retry after res.RetryAfter
//	}
//
// # For applications
//
//   - What is allowed: [ParseRate], [Per], [Unlimited]
//   - The limit: [New], [MustNew] and the options With…; [All] joins several in a [Gate]
//   - How to count: [FixedWindow] (the default), [SlidingWindowCounter], [SlidingWindowLog],
//     [TokenBucket], [TokenBucketWithDebt], [LeakyBucket], [LeakyBucketWithQueue], [GCRA],
//     and package advanced
//   - Which client: [ClientIP] (the default), [ByHeader], [ByCookie], [ByQuery], [ByParam],
//     [ByValue], [ByRoute], [Shared], [Identify], [FirstOf], [Combine]
//   - The answer: [Result] of one throttle, [Verdict] of a gate, [Outcome]
//   - What the client is told: [HeaderSet], [WithHeaders], [WithDeniedHandler]
//   - When something fails: [ErrorPolicy], [WithErrorPolicy], [WithLogger]
//   - The store in process: [Memory], [NewMemory]
//
// Adapters for web frameworks are separate modules that turn a native context into a
// [Request]; package httptraffik serves net/http.
//
// # For authors of backends, strategies and adapters
//
//   - A backend: [Backend], [Op], [Key], [Draw], [Decision], the optional powers
//     [StateReader], [NamespaceResetter], [StateBounder] and [PolicySetter], and package
//     store
//   - A strategy: [Strategy], the optional powers [Validator], [Describer], [Classer] and
//     [StateSizer]
//   - An adapter: [Request], [Holder], [Source] and its optional powers [Router] and
//     [Detacher]
//
// # Mistakes
//
// [New] reports a wrong configuration, such as a nil option, as an error that wraps
// [ErrConfig]. Some mistakes show in the first test run, such as a call of a nil or zero
// [Throttle], or with a nil context. They give an error that wraps [ErrUsage], whatever the
// error policy. A call that returns no error panics instead. The zero [Verdict] allows, and
// a nil [Request] is an empty one.
//
// Without [WithBackend] all throttles share one bounded in-process store. The package
// imports the standard library only.
package traffik
