package httptraffik

import (
	"context"
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Guard is the part of a middleware that is the same in every framework. Adapters are built
// on it; applications use [New]. It is safe for concurrent use as long as nobody changes
// its fields.
type Guard struct {
	// Limit is the limit of the requests.
	Limit traffik.Limiter
	// CountPreflight charges CORS preflights too.
	CountPreflight bool
	// MaxHold bounds how long an admitted request is held when a queueing strategy asks
	// for it; 0 or less holds none.
	MaxHold time.Duration
	// PassOn lets handlers decide on requests over the limit: see [PassOn].
	PassOn bool
	// CountOnly reports whether a response with this status counts; nil counts all: see
	// [CountOnly].
	CountOnly func(status int) bool
}

// Check asks Limit about req, writes the headers, and holds an admitted request for as long
// as its strategy asks. The caller answers a request that doesn't pass; see [Guard.Passes].
//
// Check denies a request at once if ctx or a timeout of its [http.Server] would end before
// its turn; see [traffik.Request.RefuseDelay]. The error is that of [traffik.Limiter], or
// the cause if ctx ended while the request was held. If a request is refused or leaves
// before its turn, Check refunds it and waits up to [RefundPatience] for that.
//
// A nil req is an empty request. For a nil Guard, or one without a Limit, the error wraps
// [traffik.ErrUsage].
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
	outer := req.Holder
	req.Holder = g
	v, err := g.Limit.Admit(ctx, req)
	req.Holder = outer // the handler holds what it draws
	if err != nil {
		return v, g.fail(ctx, v, err)
	}
	delay := min(v.Delay(), g.MaxHold)
	if delay > 0 {
		v, delay = g.refuse(ctx, req, v, delay)
	}
	if !g.Passes(v) {
		req.WriteHeaders()
		return v, nil
	}
	req.WriteLimitHeaders()
	if delay > 0 {
		if err := hold(ctx, v, delay); err != nil {
			return v, g.fail(ctx, v, err)
		}
	}
	return v, nil
}

// fail decides whether a request counts although err keeps it from its handler.
func (g *Guard) fail(ctx context.Context, v traffik.Verdict, err error) error {
	if ctx != nil {
		response, _ := g.Response(ctx, v)
		response.End(Ending{})
	}
	return err
}

// Passes reports whether a request with the verdict v goes on to its handler.
func (g *Guard) Passes(v traffik.Verdict) bool { return g.PassOn || v.Allowed() }
