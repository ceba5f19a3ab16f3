package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

func TestRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		begin := time.Now()
		err := store.Retry(t.Context(), func() error { tries++; return store.ErrConflict })
		if !errors.Is(err, traffik.ErrContention) || tries != store.MaxAttempts {
			t.Errorf("%d tries end with %v", tries, err)
		}
		if waited := time.Since(begin); waited == 0 || waited > store.MaxAttempts*store.LongestPause {
			t.Errorf("the pauses add up to %v", waited)
		}
		other := errors.New("another error")
		if err := store.Retry(t.Context(), func() error { return other }); err != other { //nolint:errorlint // not even wrapped
			t.Errorf("the error is %v", err)
		}
		left := errors.New("the caller left")
		ctx, cancel := context.WithCancelCause(t.Context())
		tries = 0
		err = store.Retry(ctx, func() error { tries++; cancel(left); return store.ErrConflict })
		if !errors.Is(err, left) || tries > 2 {
			t.Errorf("%d tries end with %v", tries, err)
		}
	})
}
