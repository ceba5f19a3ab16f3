package traffik

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/traffik-go/traffik/core/internal/clientip"
)

// WithLogger sets where a throttle or a [Memory] logs what an operator must know, at level
// Warn and with the cure:
//
//   - requests without an identity share one counter;
//   - an error policy let a request pass or denied it, even in a throttle that only reports;
//   - a store gave up on a key that too many callers change at once ([ErrContention]);
//   - something that looks like a proxy is not trusted (see [ClientIP]);
//   - a [Memory] is full.
//
// Each throttle logs each kind at most once a minute, and an untrusted proxy only once.
// Records name the throttle, but no identity and no value of a header. The record of a
// proxy on a private network names its address. The default is [slog.Default] at the time
// of the record; there, all throttles that trust the same proxies log an untrusted one
// once. A logger over [slog.DiscardHandler] is silent.
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
		c.err = configError(nilLogger)
	}
	c.logger = o.logger
}

const nilLogger = "WithLogger(nil); give a logger; one over slog.DiscardHandler is silent"

// warning is a kind of record that is logged at most once a minute.
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

// write logs message at level Warn.
func (w *warner) write(ctx context.Context, message string, attrs []slog.Attr) {
	logger := w.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.LogAttrs(ctx, slog.LevelWarn, message, attrs...)
}

// once reports whether a warning of this kind was never logged, and claims it for good.
func (w *warner) once(kind warning) bool {
	return w.last[kind].Load() == 0 && w.last[kind].CompareAndSwap(0, wallNanos())
}

// log writes a record of s.
func (s *settings) log(ctx context.Context, message string, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.String("throttle", s.uid)}, attrs...)
	if s.reportOnly {
		attrs = append(attrs, slog.Bool("report_only", true))
	}
	s.warner.write(ctx, message, attrs)
}

// warnOfAnonymous logs that r counts for the identity shared by all requests without one.
func (s *settings) warnOfAnonymous(r *Request) {
	if s.warner.due(warnAnonymous) {
		s.log(r.context(), "traffik: requests without an identity share one counter; let the identifier fall back on another, "+
			"such as FirstOf(user, ClientIP()), or refuse such requests before the limit", slog.String("identity", s.identifier.scheme))
	}
}

// warnOfDecision logs how an error policy decided about res.Err. The text of an error from
// reading the request may identify the client, so it is not logged.
func (s *settings) warnOfDecision(ctx context.Context, res *Result, reading string) {
	kind, what, cure := warnFailedClosed, "requests are denied", "or let them pass meanwhile with WithErrorPolicy(FailOpen)"
	if res.Outcome == FailedOpen {
		kind, what, cure = warnFailedOpen, "requests pass without a limit", "or deny meanwhile with WithErrorPolicy(FailClosed)"
	}
	switch {
	case !s.warner.due(kind):
	case reading == "":
		s.log(ctx, "traffik: the store failed, and "+what+"; bring it back, "+cure, slog.Any("error", res.Err))
	default:
		s.log(ctx, "traffik: "+what+", because what they count by can't be found out; "+
			"Result.Err and WithErrorFunc tell why", slog.String("reading", reading))
	}
}

// warnOfContention logs that a store gave up on a key.
func (s *settings) warnOfContention(ctx context.Context, err error) {
	if errors.Is(err, ErrContention) && s.warner.due(warnContention) {
		s.log(ctx, "traffik: a store gave up on a key that too many change at once; count by a narrower identity, "+
			"or keep this limit in Redis or in process", slog.Any("error", err))
	}
}

// warnedOf holds the sets of trusted proxies whose throttles have logged one to
// slog.Default: the cure is the same for all throttles that trust the same proxies. It
// grows with what an application configures, not with what clients send.
var warnedOf sync.Map

// warnOfProxy logs that a forwarding header is not believed; header is its number as
// [clientip.Present] returns it. Anybody can write the header's content, and a public
// peer's address may be an identity: neither is logged.
func (s *settings) warnOfProxy(r *Request, header uint8) {
	if !s.warner.once(warnUntrustedProxy) {
		return
	}
	if s.warner.logger == nil {
		if _, told := warnedOf.LoadOrStore(s.identifier.trusts, true); told {
			return
		}
	}
	name := slog.String("header", clientip.Conventions[header-1].Name)
	if peer, ok := clientip.ReadHop(r.RemoteAddr); ok && clientip.IsPrivate(peer) {
		s.log(r.context(), "traffik: a forwarding header from a private peer is ignored, so all clients behind that peer share one limit; "+
			"if the peer is your proxy, name it with ClientIP(WithTrustedProxies(...)), or drop the header before it gets here",
			slog.String("peer", peer.String()), name)
		return
	}
	s.log(r.context(), "traffik: nearly all requests carry a forwarding header, which is ignored, so all clients behind one peer share one limit; "+
		"if the peers are your proxies, name them with ClientIP(WithTrustedProxies(...)), or drop the header before it gets here", name)
}
