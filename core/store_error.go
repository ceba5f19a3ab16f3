package traffik

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// storeTimeout is core's own bound on calls of a store that are not worth waiting longer
// for: looks, resets and refunds. Draws have the bound of the store or of their context,
// since a timer for each would cost more than the draw.
const storeTimeout = 5 * time.Second

// bounded is ctx with the bound of storeTimeout. In-process stores need none.
func (s *settings) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.memory != nil {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, storeTimeout)
}

// afterwards is the context of calls that finish a request's business once the request
// itself may be gone: without the end of ctx, but with the bound of storeTimeout unless all
// stores concerned are in process.
func afterwards(ctx context.Context, inProcess bool) (context.Context, context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	if inProcess {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, storeTimeout)
}

// storeError tells what err means, the answer of a store that was asked while ctx had
// not ended. If the caller has given up meanwhile that is no failure: callersEnd, with the
// cause. A deadline that has passed is one, since the store was too slow: the error wraps
// both ErrBackend and context.DeadlineExceeded.
func storeError(ctx context.Context, err error) (callersEnd bool, _ error) {
	ended := ctx.Err()
	late := errors.Is(ended, context.DeadlineExceeded)
	switch {
	case ended != nil && !late:
		return true, context.Cause(ctx)
	case errors.Is(err, ErrUsage), errors.Is(err, ErrRate), errors.Is(err, errors.ErrUnsupported):
		return false, err
	case late && !errors.Is(err, context.DeadlineExceeded):
		return false, fmt.Errorf("%w: no answer before the deadline of the call (%w): %w", ErrBackend, ended, err)
	case late:
		return false, fmt.Errorf("%w: no answer before the deadline of the call: %w", ErrBackend, err)
	case errors.Is(err, ErrBackend):
		return false, err
	case errors.Is(err, context.DeadlineExceeded):
		return false, fmt.Errorf("%w: no answer within %v: %w", ErrBackend, storeTimeout, err)
	}
	return false, fmt.Errorf("%w: %w", ErrBackend, err)
}
