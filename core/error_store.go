package traffik

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// storeTimeout bounds looks, resets and refunds. Draws have the bound of the store or of
// their context, since a timer for each would cost more than the draw.
const storeTimeout = 5 * time.Second

// bounded returns ctx bounded by storeTimeout. In-process stores need no bound.
func (s *settings) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if s.memory != nil {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, storeTimeout)
}

// afterwards returns a context for refunds and other calls that outlive a request. It
// doesn't end with ctx, and is bounded by storeTimeout unless all stores concerned are in
// process.
func afterwards(ctx context.Context, inProcess bool) (context.Context, context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	if inProcess {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, storeTimeout)
}

// storeError interprets err, the error of a store call that began before the end of ctx. If
// the caller has cancelled ctx meanwhile, that is not a failure: callersEnd is true, and
// the error is the cause. A deadline that has passed is a failure, because the store was
// too slow: the error wraps both ErrBackend and context.DeadlineExceeded. The error policy
// then decides about the request; see ErrorPolicy.
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
