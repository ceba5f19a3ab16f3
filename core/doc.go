// Package traffik limits how often something may happen: how many requests a
// client sends, how many messages a connection carries, how many logins fail.
//
// Four ideas make a limit. A [Rate] says how much is too much, a [Strategy]
// how to count, a [Backend] where the score is kept, and an [Identifier] who
// is who. A [Throttle] is the four of them under a name:
//
//	items, err := traffik.New("api:items", "100/min")
//	res, err := items.Key("user:42").Hit(ctx)
//	if !res.Allowed {
//		// come back in res.RetryAfter
//	}
//
// Several throttles over one request are joined with [All], which charges
// every one of them or none. Web frameworks are served by thin adapters, in
// modules of their own, that turn a native context into a [Request]; net/http
// by the httptraffik package of this module.
//
// A programmer's mistake that the first test run shows, such as a method of a nil or zero
// [Throttle] or [Gate] or a call with a nil context, is an error wrapping [ErrUsage] where
// there is an error to return, whatever the error policy, and else a panic that says what to
// do. A wrong configuration is an error of [New]. Where a zero value means something, its type
// says so: the zero [Verdict] allows, and of a nil [Request] nothing is known.
//
// Without [WithBackend] all throttles share one bounded in-process store. The
// package imports the standard library only.
package traffik
