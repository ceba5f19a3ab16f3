package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

const (
	// maxAttempts is what 16 processes at one key need, which a write wins one time in 16.
	maxAttempts = 48
	// A pause is a random part of firstPause, doubled by each pause up to longestPause:
	// about a round trip at first, so that the others are done.
	firstPause   = 200 * time.Microsecond
	longestPause = 12_800 * time.Microsecond
)

// Retry calls try until it returns anything but [ErrConflict], with random
// pauses in between. The error wraps [traffik.ErrContention] after too many attempts, or is the
// cause of ctx's end.
func Retry(ctx context.Context, try func() error) error {
	pause := firstPause
	for range maxAttempts {
		err := try()
		if !errors.Is(err, ErrConflict) {
			return err
		}
		if err := rest(ctx, rand.N(pause)); err != nil { //nolint:gosec // chance keeps processes apart, not secrets
			return err
		}
		pause = min(2*pause, longestPause)
	}
	return fmt.Errorf("%w: %d attempts", traffik.ErrContention, maxAttempts)
}

func rest(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
