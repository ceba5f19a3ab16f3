package traffikmemcached

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

const warningInterval = time.Minute

// clockWarner logs that clocks differ, at most once in a warningInterval. It is safe
// for concurrent use.
type clockWarner struct {
	logger *slog.Logger // nil means slog.Default
	next   atomic.Int64 // the uptime from which on it may log again, 0 before the first time
}

// watchClocks logs if op is to be decided further ahead of this server's own time than
// the clocks of the application's servers may differ. Which of them is wrong can't be
// told from here.
func (b *Backend) watchClocks(ctx context.Context, op *traffik.Op, own traffik.Instant) {
	gap := op.Draw.Now.Sub(own)
	if gap <= b.maxSkew {
		return
	}
	now, next := uptime(), b.clocks.next.Load()
	if next != 0 && int64(now) < next || !b.clocks.next.CompareAndSwap(next, int64(now+warningInterval)) {
		return
	}
	logger := b.clocks.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(ctx, slog.LevelWarn,
		"traffik: memcached: a key was written by a server whose clock is ahead of this one's by more than WithMaxSkew allows; "+
			"until this clock gets there, draws on such keys are decided at the later time and may be denied for longer. "+
			"Synchronise the clocks of all application servers, with NTP for example; Reset frees a key at once",
		slog.String("namespace", b.namespace), slog.String("scope", op.Key.Scope.Value()),
		slog.Duration("ahead", gap), slog.Duration("max_skew", b.maxSkew))
}
