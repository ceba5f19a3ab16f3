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
	maxAttempts = 31
	// A pause is a random part of firstPause, doubled by each pause up to longestPause:
	// about a round trip at first, so that the others are done.
	firstPause   = 200 * time.Microsecond
	longestPause = 6400 * time.Microsecond
)

// Retry calls try until it returns anything but [ErrConflict] or [ErrReread], with random
// pauses in between. The error wraps [traffik.ErrContention] after too many attempts, or is the
// cause of ctx's end.
func Retry(ctx context.Context, try func() error) error {
	pause := firstPause
	for attempt := range maxAttempts {
		err := try()
		switch {
		case errors.Is(err, ErrReread) && attempt%2 == 0: // what was read is new
			continue
		case !errors.Is(err, ErrReread) && !errors.Is(err, ErrConflict):
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
