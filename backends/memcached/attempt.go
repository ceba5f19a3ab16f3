package traffikmemcached

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

const (
	// maxAttempts is far beyond what processes that take turns by chance need:
	// of P processes at one key each wins one time in P.
	maxAttempts = 32
	// A pause is a random part of firstPause, doubled by each attempt up to
	// longestPause: about a round trip at first, so that the others are done.
	firstPause   = 200 * time.Microsecond
	longestPause = 6400 * time.Microsecond
)

// attempt calls try until it returns anything but errConflict. The error wraps
// [traffik.ErrContention] after too many, or is the cause of ctx's end.
func attempt(ctx context.Context, try func() error) error {
	pause := firstPause
	for range maxAttempts {
		err := try()
		if !errors.Is(err, errConflict) {
			return err
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
	return fmt.Errorf("%w: memcached: %d attempts", traffik.ErrContention, maxAttempts)
}

// wait waits for a random part of most.
func wait(ctx context.Context, most time.Duration) error {
	timer := time.NewTimer(rand.N(most)) //nolint:gosec // chance keeps processes apart, not secrets
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
