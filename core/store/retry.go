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
	// maxAttempts suits 16 processes on one key, where a write succeeds one time in 16.
	maxAttempts = 48
	// A pause is random, at most firstPause. That bound doubles with each pause, up to
	// longestPause.
	firstPause   = 200 * time.Microsecond
	longestPause = 12_800 * time.Microsecond
)

// Retry calls try until it returns anything but [ErrConflict], with random pauses in
// between. After 48 attempts its error wraps [traffik.ErrContention]. If ctx ends during a
// pause, it returns the cause.
func Retry(ctx context.Context, try func() error) error {
	pause := firstPause
	for range maxAttempts {
		err := try()
		if !errors.Is(err, ErrConflict) {
			return err
		}
		select {
		case <-time.After(rand.N(pause)): //nolint:gosec // chance keeps processes apart, not secrets
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause = min(2*pause, longestPause)
	}
	return fmt.Errorf("%w: %d attempts", traffik.ErrContention, maxAttempts)
}
