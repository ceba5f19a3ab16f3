package httptraffik

import (
	"context"
	"errors"
	"net/http"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// StatusClientGone is what [CountOnly] is asked about a request whose client was
// gone before the handler had written anything, and what an access log finds where the
// client left before the limit was known or while it was held. A client sees it only
// if the server itself cancelled the context. A
// deadline is no such end: its client still waits, and the request counts as 503.
const StatusClientGone = 499

// ClientGone reports whether a request with the context ctx has nobody left to answer: its
// client hung up, or the context was cancelled otherwise. Adapters answer the errors of
// [Guard.Check] with [StatusClientGone] and nothing else then, since that is no failure of
// the server.
func ClientGone(ctx context.Context) bool {
	err := ctx.Err()
	return err != nil && !errors.Is(err, context.DeadlineExceeded)
}

// Ending is how a handler came to its end.
type Ending struct {
	// Status is that of the response, 0 or 200 if none was set.
	Status int
	// Written tells that it was sent, so that nothing can change it.
	Written bool
	// Returned tells that the handler returned; otherwise it panicked, or never
	// ran.
	Returned bool
}

// status is what the response counts as.
func (e Ending) status(ctx context.Context) int {
	silent := e.Status == 0 || e.Status == http.StatusOK
	switch {
	case e.Written:
		return e.Status
	case silent && ctx.Err() != nil:
		return ended(ctx)
	case e.Returned && silent:
		return http.StatusOK
	case e.Returned:
		return e.Status
	}
	return http.StatusInternalServerError
}

// ended is what a request counts as whose context came to its end before anything
// was written. On a deadline the client gets what its owner says, and 503 is what
// net/http's TimeoutHandler says, as does echo's ContextTimeout; chi's Timeout says 504.
func ended(ctx context.Context) int {
	if ClientGone(ctx) {
		return StatusClientGone
	}
	return http.StatusServiceUnavailable
}

// RefundPatience is how long a response waits at most for its charge to be given
// back. A store at hand answers within a few milliseconds, so that the client finds
// the refund done; one that takes longer is in trouble, and a wait of this length,
// below the tenth of a second that people notice, is all that it adds to responses.
const RefundPatience = 50 * time.Millisecond

// Settle gives the charges of v back if the response of the request with the
// context ctx does not count. It waits for [RefundPatience] at most. A store that
// fails leaves them as they are.
func (g *Guard) Settle(ctx context.Context, v traffik.Verdict, e Ending) {
	if g == nil || ctx == nil {
		panic("traffik: Settle without a Guard or a context")
	}
	if g.CountOnly != nil && !g.CountOnly(e.status(ctx)) {
		_ = v.RefundWithin(ctx, RefundPatience) // the response is made: there is nobody to tell
	}
}
