package traffikmemcached

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

func TestAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		begin := time.Now()
		err := attempt(t.Context(), func() error { tries++; return errConflict })
		if !errors.Is(err, traffik.ErrContention) || tries != maxAttempts {
			t.Errorf("%d tries end with %v", tries, err)
		}
		if waited := time.Since(begin); waited == 0 || waited > maxAttempts*longestPause {
			t.Errorf("the pauses come to %v", waited)
		}
		other := errors.New("another error")
		if err := attempt(t.Context(), func() error { return other }); err != other { //nolint:errorlint // not even wrapped
			t.Errorf("the error is %v", err)
		}
		left := errors.New("the caller left")
		ctx, cancel := context.WithCancelCause(t.Context())
		tries = 0
		err = attempt(ctx, func() error { tries++; cancel(left); return errConflict })
		if !errors.Is(err, left) || tries > 2 {
			t.Errorf("%d tries end with %v", tries, err)
		}
	})
}
