package traffik

import (
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// State: the time of the last write, both counts and the period, 33 bytes. A call costs
// three divisions. The weighting is that of Cloudflare's rate limiting, "How we built rate
// limiting capable of scaling to millions of domains", 2017. docs/design/strategies.md has
// the definition.

// SlidingWindowCounter smooths [FixedWindow]: it counts the current window and, of the
// window before, the share that a period ending now still overlaps.
//
// It admits the limit in each aligned window, and up to 2*limit - ceil(limit/period in µs)
// in a period that spans a boundary. An adversary reaches that; evenly spread traffic
// stays near the limit. Use [SlidingWindowLog] where the limit must hold in any period. A
// refund restores a draw until the end of the window after its own.
type SlidingWindowCounter struct{}

// slidingTag marks the layout t, cur, prev, p.
const slidingTag = 'S'

// ID implements [Strategy].
func (SlidingWindowCounter) ID() string { return "sliding_window_counter.1" }

// MaxStateBytes implements [StateSizer].
func (SlidingWindowCounter) MaxStateBytes(Rate) int { return 1 + 4*8 }

// Decide implements [Strategy].
func (SlidingWindowCounter) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	var s sliding
	s.read(state, d)
	limit, now := d.Rate.limit, int64(d.Now)
	dec = Decision{Allowed: true, Limit: limit, At: Instant(max(now, s.w.Start))}
	write := s.w.Repaired
	switch {
	case d.Cost > 0 && !d.Force && d.Cost > limit-s.cur-s.weighted(now):
		dec.Allowed = false
		dec.RetryAfter = s.retryAfter(d.Cost, limit, now)
	case d.Cost > 0:
		s.cur = count.Add(s.cur, d.Cost)
		write = true
	case d.Cost < 0:
		s.refund(d)
		write = true
	}
	dec.Remaining = max(0, limit-s.cur-s.weighted(now))
	if s.cur == 0 && s.prev == 0 {
		return dst, dec
	}
	dec.ResetAfter = s.resetAfter(now)
	if write {
		dst = count.AppendState(dst, slidingTag, int64(dec.At), s.cur, s.prev, s.p)
	}
	return dst, dec
}

// sliding is the counts of the window w, of period p, and of the window before.
type sliding struct {
	w            count.Window
	cur, prev, p int64
}

// read sets s to what state says at d.Now.
func (s *sliding) read(state []byte, d *Draw) {
	var t, was int64
	now := int64(d.Now)
	s.p = d.Rate.period.Microseconds()
	if !count.ReadState(state, slidingTag, &t, &s.cur, &s.prev, &was) || was == 0 {
		s.cur, s.prev = 0, 0
	} else if was != s.p {
		s.rebase(t, was)
	}
	if s.cur == 0 && s.prev == 0 {
		t = now
	}
	s.w = count.WindowAt(t, now, s.p)
	switch {
	case s.w.Rolled == 1:
		s.cur, s.prev = 0, s.cur
	case s.w.Rolled > 1:
		s.cur, s.prev = 0, 0
	}
}

// rebase turns counts written at t in windows of the period p into counts in windows of
// s.p. All of the previous window counts as drawn in its last microsecond, the latest that
// it can have been.
func (s *sliding) rebase(t, p int64) {
	last := t - t%p - 1
	window := t / s.p
	switch {
	case last < 0 || last/s.p < window-1:
		s.prev = 0
	case last/s.p == window:
		s.cur, s.prev = count.Add(s.cur, s.prev), 0
	}
}

// elapsed is the time since the window began, 0 when the clock stepped back to before
// that.
func (s *sliding) elapsed(now int64) int64 { return max(0, now-s.w.Start) }

// weighted is the share of the previous window that still counts, rounded up.
func (s *sliding) weighted(now int64) int64 {
	return count.MulDivCeil(s.prev, s.p-s.elapsed(now), 0, s.p)
}

// retryAfter is the time until cost fits: within this window if the previous one is in
// the way, otherwise within the next, where this one is the previous.
func (s *sliding) retryAfter(cost, limit, now int64) time.Duration {
	if cost > limit {
		return Never
	}
	if room := limit - s.cur - cost; room >= 0 {
		early, _ := count.MulDivMod(room, s.p, 0, s.prev)
		return micros(s.w.End - now - early)
	}
	early, _ := count.MulDivMod(limit-cost, s.p, 0, s.cur)
	return micros(s.w.End + s.p - now - early)
}

// resetAfter is the time until neither count weighs any more; one of them is not 0.
func (s *sliding) resetAfter(now int64) time.Duration {
	if s.cur > 0 {
		return micros(s.w.End + s.p - now)
	}
	return micros(s.w.End - now)
}

// refund takes the units of d off the count of the window in which they were drawn.
func (s *sliding) refund(d *Draw) {
	takenAt := int64(d.TakenAt)
	switch {
	case s.w.Refunds(int64(d.Now), takenAt):
		s.cur = max(0, s.cur+d.Cost)
	case takenAt >= s.w.Start-s.p:
		s.prev = max(0, s.prev+d.Cost)
	}
}

// SlidingWindowInfo describes a key counted by [SlidingWindowCounter]; see
// [Subject.Describe].
type SlidingWindowInfo struct {
	// WindowInfo is that of the aligned window. Its Used is Current and the weighted part
	// of Previous.
	WindowInfo
	// Current and Previous are the counts of the window and of the one before.
	Current, Previous int64
}

// Describe implements [Describer] with a [SlidingWindowInfo].
func (SlidingWindowCounter) Describe(state []byte, d *Draw) any {
	var s sliding
	s.read(state, d)
	used := count.Add(s.cur, s.weighted(int64(d.Now)))
	return SlidingWindowInfo{WindowInfo: windowInfo(s.w, d.Rate.limit, used), Current: s.cur, Previous: s.prev}
}
