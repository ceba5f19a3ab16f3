package traffikmemcached

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// wallClock is the clock of this server. A round trip costs a thousand readings of it.
type wallClock struct{}

// Now implements [traffik.Clock].
func (wallClock) Now() traffik.Instant { return traffik.InstantOf(time.Now()) }

// wallSeconds is the time by which Memcached reads dates, even if a test has set another
// clock.
func wallSeconds() int64 { return time.Now().Unix() }

// wallNow is the time by which generations are numbered.
func wallNow() time.Time { return time.Now() }

var started = time.Now()

// uptime only ever grows, whatever happens to the wall clock.
func uptime() time.Duration { return time.Since(started) }

const warningInterval = time.Minute

// clockWarner logs that clocks differ, at most once in a warningInterval. It is safe for
// concurrent use.
type clockWarner struct {
	logger *slog.Logger // nil means slog.Default
	next   atomic.Int64 // the uptime from which on it may log again, 0 before the first time
}

// watchClocks logs if e lies further ahead of this server's own time than the clocks of
// the application's servers may differ. Nothing here can tell which of them is wrong.
func (s *items) watchClocks(ctx context.Context, e *store.Entry, now traffik.Instant) {
	ahead := e.Latest.Sub(now)
	if ahead <= s.maxSkew {
		return
	}
	at, next := uptime(), s.clocks.next.Load()
	if next != 0 && int64(at) < next || !s.clocks.next.CompareAndSwap(next, int64(at+warningInterval)) {
		return
	}
	logger := s.clocks.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(ctx, slog.LevelWarn,
		"traffik: memcached: a key was written by a server whose clock is ahead of this one's by more than WithMaxSkew allows; "+
			"until this clock gets there, draws on such keys are decided at the later time and may be denied for longer. "+
			"Synchronise the clocks of all application servers, with NTP for example; Reset frees a key at once",
		slog.String("namespace", s.namespace), slog.String("scope", e.Key.Scope.Value()),
		slog.Duration("ahead", ahead), slog.Duration("max_skew", s.maxSkew))
}
