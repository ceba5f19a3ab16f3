package httptraffik

import (
	"context"
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Guard is the part of a middleware that no framework changes. The adapters
// are made of it; applications use [New].
type Guard struct {
	// Limit judges the requests.
	Limit traffik.Limiter
	// CountPreflight charges CORS preflights too.
	CountPreflight bool
	// MaxHold bounds how long an admitted request is held back when a queueing
	// strategy asks for it; 0 or less holds none.
	MaxHold time.Duration
	// PassOn lets handlers decide on requests over the limit: see [PassOn].
	PassOn bool
	// CountOnly tells by its status whether a response counts, nil if all do: see
	// [CountOnly].
	CountOnly func(status int) bool
}

// Check judges req, sets the headers, and holds an admitted request for as
// long as its strategy asks. While Limit is asked, g is the Holder of req. A request that does not pass (see [Guard.Passes])
// is left to the caller to answer. One that can't be held so long, because ctx ends
// before or a timeout of its [http.Server] passes, is denied at once (see
// [traffik.Request.RefuseDelay]). The error is that of [traffik.Limiter], or the cause
// of the end of ctx while being held. A request that is refused or leaves before its
// turn has its units refunded, for which Check waits for [RefundPatience] at most.
func (g *Guard) Check(ctx context.Context, req *traffik.Request) (traffik.Verdict, error) {
	switch {
	case g == nil || g.Limit == nil:
		return traffik.Verdict{}, fmt.Errorf("%w: the Guard is nil or has no Limit; set a throttle or a gate", traffik.ErrUsage)
	case req == nil:
		req = new(traffik.Request)
	}
	if !g.CountPreflight && req.IsPreflight() {
		return traffik.Verdict{}, nil
	}
	before := req.Holder
	req.Holder = g
	v, err := g.Limit.Admit(ctx, req)
	req.Holder = before // what the handler draws it holds itself
	if err != nil {
		return v, err
	}
	v, turn := g.hold(ctx, req, v)
	writeHeaders(req, g.Passes(v))
	if turn > 0 && v.Allowed() {
		err = wait(ctx, v, turn)
	}
	return v, err
}

// writeHeaders leaves Retry-After to the application where a request passes: ours
// belongs to a denial, which this may not become.
func writeHeaders(req *traffik.Request, passes bool) {
	if req.Writer == nil || !passes || req.Verdict().Allowed() {
		req.WriteHeaders()
		return
	}
	const name = "Retry-After"
	h := req.Writer.Header()
	own, set := h[name]
	req.WriteHeaders()
	if delete(h, name); set {
		h[name] = own
	}
}

// Passes reports whether a request so judged goes on to its handler.
func (g *Guard) Passes(v traffik.Verdict) bool { return g.PassOn || v.Allowed() }
