package httptraffik

import (
	"context"
	"io"
	"math"
	"net/http"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// DefaultMaxHold bounds how long a request is held for a queueing strategy.
const DefaultMaxHold = 30 * time.Second

// hold makes an admitted request wait for its turn. What can't wait that long is denied
// instead, at once, and so is what ends while it waits, by the error: either way its units
// are refunded as far as that is possible.
func (g *Guard) hold(ctx context.Context, req *traffik.Request, v traffik.Verdict) (traffik.Verdict, time.Duration) {
	turn := min(v.Delay(), g.MaxHold)
	if turn <= 0 || !v.Allowed() || ctx.Err() != nil {
		return v, turn // an ended context ends the wait at once
	}
	if longest := longestHold(ctx, untilDeadline(ctx)); turn > longest {
		giveBack(ctx, v)
		return req.RefuseDelay(v, max(longest, 0)), 0
	}
	return v, turn
}

// MaxDelay implements [traffik.Holder] for requests that [Guard.Check] judges: how long
// they can be held and still be answered, any time if MaxHold ends the hold before that
// or the Guard is nil. A tenth of the time left until a deadline is reserved for the store: a
// draw that comes back too late has taken a place that another request could have used.
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

// wait holds the request of ctx for d. The error is the cause of ctx's end.
func wait(ctx context.Context, v traffik.Verdict, d time.Duration) error {
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
		giveBack(ctx, v)
		return context.Cause(ctx)
	}
}

// giveBack returns what a request took that never started.
func giveBack(ctx context.Context, v traffik.Verdict) {
	_ = v.RefundWithin(ctx, RefundPatience) // what fails stays charged: there is nobody to tell
}

// untilDeadline is how long ctx lasts.
func untilDeadline(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return math.MaxInt64
	}
	return time.Until(deadline) - 1 //nolint:forbidigo // a context's deadline is a time of day; at it, it is too late
}

// longestHold is how long the request of ctx can wait and still be answered: for longest,
// because of its deadline, and within the timeouts of its server, which end the connection
// without a word once they have passed. They count from when the server has read the head of the
// request, which is not known here; a tenth of them is kept for what came before the
// limit, its store included, and for the handler. What uses further out have held the
// request for is taken off.
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
	if server.ReadTimeout > 0 && bodyWaits { // the handler reads it after that
		longest = min(longest, server.ReadTimeout-server.ReadTimeout/10-held)
	}
	return longest
}

// maxReadAhead is the longest body that is read while its request is held: as much as a
// form or a small JSON document has, a few of the connection's own buffers.
const maxReadAhead = 16 << 10

// readsAhead reports whether the body of r is read while it is held. Net/http notices a
// client that is gone only once the body has been read (golang/go#23262); over HTTP/2 it
// does so anyway. A client that expects 100 Continue sends its body when it is asked for
// it, which is the handler's business.
func readsAhead(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.Body != nil && r.ContentLength > 0 && r.ContentLength <= maxReadAhead && r.Header.Get("Expect") == ""
}

// ahead is a body whose beginning is read by a goroutine, which ends with the body or
// the connection.
type ahead struct {
	io.ReadCloser
	done chan struct{} // closed once the rest is set
	text []byte
	err  error
	// panicked is what reading panicked with, for who reads.
	panicked any
}

func readAhead(r *http.Request) *ahead {
	a := &ahead{ReadCloser: r.Body, done: make(chan struct{})}
	go a.fill(int(r.ContentLength))
	return a
}

func (a *ahead) fill(length int) {
	defer close(a.done)
	defer func() { a.panicked = recover() }()
	text, n := make([]byte, length), 0
	for n < length && a.err == nil {
		var more int
		more, a.err = a.ReadCloser.Read(text[n:])
		n += more
		a.text = text[:n]
	}
}

// Read implements io.Reader. It waits for what is read ahead.
func (a *ahead) Read(p []byte) (int, error) {
	<-a.done
	switch {
	case len(a.text) > 0:
		n := copy(p, a.text)
		a.text = a.text[n:]
		return n, nil
	case a.panicked != nil:
		panic(a.panicked)
	case a.err != nil:
		return 0, a.err
	}
	return a.ReadCloser.Read(p)
}
