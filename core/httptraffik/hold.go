package httptraffik

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// DefaultMaxHold is the longest time that a request is held for a queueing strategy, unless
// [MaxHold] says otherwise.
const DefaultMaxHold = 30 * time.Second

// refuse denies a request that can't be held for its delay, and refunds it. It returns how
// long to hold the request.
func (g *Guard) refuse(ctx context.Context, req *traffik.Request, v traffik.Verdict, delay time.Duration) (traffik.Verdict, time.Duration) {
	switch longest := longestHold(ctx, untilDeadline(ctx)); {
	case !v.Allowed():
		return v, 0
	case delay > longest && ctx.Err() == nil: // an ended context ends the hold at once
		refund(ctx, v)
		return req.RefuseDelay(v, max(longest, 0)), 0
	}
	return v, delay
}

// MaxDelay implements [traffik.Holder] for requests that [Guard.Check] checks: it returns
// how long a request can be held and still be answered. It returns no bound if MaxHold ends
// the hold earlier, or if the Guard is nil. A tenth of the time until a deadline is reserved
// for the store: a draw that comes back too late has taken a turn that another request could
// have used.
func (g *Guard) MaxDelay(ctx context.Context) time.Duration {
	if g == nil {
		return math.MaxInt64
	}
	left := untilDeadline(ctx)
	if longest := longestHold(ctx, left-left/10); longest < g.MaxHold {
		return longest
	}
	return math.MaxInt64
}

// hold makes the request of ctx wait for d. The error is the cause of the end of ctx.
func hold(ctx context.Context, v traffik.Verdict, d time.Duration) error {
	if e := exchangeFrom(ctx); e != nil && e.handed != nil {
		e.held += d
		if readsAhead(e.handed) {
			e.handed.Body = readAhead(e.handed)
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		refund(ctx, v)
		return context.Cause(ctx)
	}
}

// refund refunds a request that never started.
func refund(ctx context.Context, v traffik.Verdict) {
	_ = v.RefundWithin(ctx, RefundPatience) // what fails stays charged: nobody is left to see the error
}

// untilDeadline returns how long ctx lasts.
func untilDeadline(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return math.MaxInt64
	}
	return time.Until(deadline) - 1 //nolint:forbidigo // a context's deadline is a time of day; at it, it is too late
}

// longestHold returns how long the request of ctx can be held and still be answered: until
// its deadline, and within the timeouts of its server, which cut the connection without a
// word. These run since the server read the head of the request, a moment that is not known
// here. So a tenth of them is kept for what came before the limit and for the handler, and
// the time that outer uses have held the request for is subtracted.
func longestHold(ctx context.Context, longest time.Duration) time.Duration {
	server, _ := ctx.Value(http.ServerContextKey).(*http.Server)
	if server == nil {
		return longest
	}
	held, bodyWaits := time.Duration(0), false
	if e := exchangeFrom(ctx); e != nil && e.handed != nil {
		held, bodyWaits = e.held, e.Request.HasBody && !readsAhead(e.handed)
	}
	if server.WriteTimeout > 0 {
		longest = min(longest, server.WriteTimeout-server.WriteTimeout/10-held)
	}
	if server.ReadTimeout > 0 && bodyWaits { // the handler reads it after the hold
		longest = min(longest, server.ReadTimeout-server.ReadTimeout/10-held)
	}
	return longest
}

// maxReadAhead is the longest body that is read while its request is held: that of a form
// or a small JSON document.
const maxReadAhead = 16 << 10

// readsAhead reports whether the body of r is read while r is held. Over HTTP/1, net/http
// notices that a client left only once the body was read (golang/go#23262). A client that
// expects 100 Continue sends its body when the handler asks for it.
func readsAhead(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.Body != nil && r.ContentLength > 0 && r.ContentLength <= maxReadAhead && r.Header.Get("Expect") == ""
}

// ahead is a body that a goroutine reads, which ends with the body or the connection.
type ahead struct {
	io.ReadCloser
	done     chan struct{} // closed when the rest is set
	text     bytes.Buffer
	err      error
	panicked any // what reading panicked with
}

func readAhead(r *http.Request) *ahead {
	a := &ahead{ReadCloser: r.Body, done: make(chan struct{})}
	a.text.Grow(int(r.ContentLength) + bytes.MinRead)
	go a.fill(r.ContentLength)
	return a
}

func (a *ahead) fill(length int64) {
	defer close(a.done)
	defer func() { a.panicked = recover() }()
	_, a.err = a.text.ReadFrom(io.LimitReader(a.ReadCloser, length))
}

// Read implements io.Reader. It waits for the goroutine.
func (a *ahead) Read(p []byte) (int, error) {
	<-a.done
	switch {
	case a.text.Len() > 0:
		return a.text.Read(p)
	case a.panicked != nil:
		panic(a.panicked)
	case a.err != nil:
		return 0, a.err
	}
	return a.ReadCloser.Read(p)
}
