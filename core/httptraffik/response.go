package httptraffik

import (
	"context"
	"errors"
	"net/http"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// StatusClientGone is the status that [CountOnly] is asked about when the client left
// before the handler wrote anything. Access logs find it when the client left before the
// limit was checked or while the request was held. A client sees it only if the server
// itself cancelled the context.
const StatusClientGone = 499

// ClientGone reports whether nobody is left to answer the request of ctx: the client hung
// up, or something cancelled the context. It is false after a deadline, because the client
// still waits then. If it is true, an adapter answers an error of [Guard.Check] with
// [StatusClientGone], since the server has not failed.
func ClientGone(ctx context.Context) bool {
	err := ctx.Err()
	return err != nil && !errors.Is(err, context.DeadlineExceeded)
}

// RefundPatience is the longest time that a response waits for its refund. A healthy store
// answers within a few milliseconds. A store in trouble delays a response by no more than
// this, which is below the tenth of a second that people notice.
const RefundPatience = 50 * time.Millisecond

// Response decides, for [CountOnly], whether the response to one request counts, and
// refunds the request if it doesn't. Adapters get it from [Guard.Response]. It belongs to
// the goroutine that writes the response.
type Response struct {
	guard   *Guard
	ctx     context.Context // the request's; middleware further in may replace it there
	verdict traffik.Verdict
	done    bool // nothing is left to decide
}

// Response returns the Response to the request of ctx that v admitted or passed on, and
// whether it is needed: if v wrote headers, or for CountOnly. It panics if g or ctx is nil.
func (g *Guard) Response(ctx context.Context, v traffik.Verdict) (r Response, needed bool) {
	if g == nil || ctx == nil {
		panic("traffik: Response without a Guard or a context")
	}
	r = Response{guard: g, ctx: ctx, verdict: v, done: g.CountOnly == nil}
	return r, !r.done || v.HasHeaders()
}

// Reconcile leaves one value of each header of the limits in h. Call it right before a
// response with this status is sent.
func (r *Response) Reconcile(h http.Header, status int) { r.verdict.ReconcileHeaders(h, status) }

// Sent says that a response with this status is on its way to the client, though its
// handler may still run for a long time. It decides at once.
func (r *Response) Sent(status int) { r.End(Ending{Status: status, Written: true}) }

// End decides whether the response counts, unless [Response.Sent] did. If it doesn't, End
// refunds the request and waits up to [RefundPatience] for that. A refund that fails leaves
// the request charged.
func (r *Response) End(e Ending) {
	if r.done {
		return
	}
	r.done = true
	if !r.guard.CountOnly(e.status(r.ctx)) {
		_ = r.verdict.RefundWithin(r.ctx, RefundPatience) // the response is complete: nobody is left to see an error
	}
}

// Ending is how a handler ended.
type Ending struct {
	// Status is the status of the response, 0 or 200 if the handler set none.
	Status int
	// Written means that the status was sent, so that nothing can change it.
	Written bool
	// Returned means that the handler returned; otherwise it panicked.
	Returned bool
}

// status returns the status to decide by.
func (e Ending) status(ctx context.Context) int {
	silent := e.Status == 0 || e.Status == http.StatusOK
	switch {
	case e.Written:
		return e.Status
	case silent && ClientGone(ctx):
		return StatusClientGone
	case silent && ctx.Err() != nil:
		// The middleware that set the deadline answers. net/http's TimeoutHandler and
		// echo's ContextTimeout say 503; chi's Timeout says 504.
		return http.StatusServiceUnavailable
	case e.Returned && silent:
		return http.StatusOK
	case e.Returned:
		return e.Status
	}
	return http.StatusInternalServerError
}
