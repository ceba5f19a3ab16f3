package traffik

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// WithLogger sets where a throttle or a [Memory] logs what an operator should know:
// decisions that an error policy made, an anonymous identity that many requests share,
// a store that is full. Each kind is logged at most once a minute for a throttle, and
// each record names the cure. The default is [slog.Default] as it stands when a record
// is written; a logger over [slog.DiscardHandler] silences it. A nil logger is an error
// wrapping [ErrConfig].
func WithLogger(logger *slog.Logger) LoggerOption { return LoggerOption{logger: logger} }

// LoggerOption configures [New] and [NewMemory]; see [WithLogger].
type LoggerOption struct{ logger *slog.Logger }

func (o LoggerOption) apply(s *settings) {
	if o.logger == nil {
		s.refuse(nilLogger)
		return
	}
	s.warner.logger = o.logger
}

func (o LoggerOption) applyMemory(c *memoryConfig) {
	if o.logger == nil {
		c.err = fmt.Errorf("%w: "+nilLogger, ErrConfig)
	}
	c.logger = o.logger
}

const nilLogger = "WithLogger(nil); give a logger; one over slog.DiscardHandler is silent"

// warning is a kind of record that is logged once a minute at most.
type warning uint8

const (
	warnAnonymous warning = iota
	warnFailedOpen
	warnFailedClosed
	warnContention
	warnUntrustedProxy
	warnFull
	warnings // how many kinds there are
)

const warningInterval = time.Minute

// warner logs warnings, each kind at most once in a warningInterval. The zero warner
// logs to slog.Default. It is safe for concurrent use.
type warner struct {
	logger *slog.Logger // nil means slog.Default
	last   [warnings]atomic.Int64
}

// due reports whether a warning of this kind may be logged now, and claims it.
func (w *warner) due(kind warning) bool {
	now, last := wallNanos(), w.last[kind].Load()
	if last != 0 && now >= last && now-last < int64(warningInterval) {
		return false
	}
	return w.last[kind].CompareAndSwap(last, now)
}

// warn logs message if a warning of this kind is due.
func (w *warner) warn(ctx context.Context, kind warning, message string, attrs ...slog.Attr) {
	if !w.due(kind) {
		return
	}
	logger := w.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(ctx, slog.LevelWarn, message, attrs...)
}
