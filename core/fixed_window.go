package traffik

import (
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// State: the time of the last write and the count, 17 bytes. A call costs one division,
// the first of a window four. count.WindowCount has the arithmetic, and
// docs/design/strategies.md the definition.

// FixedWindow counts in windows aligned to the clock: the limit is full again at each
// multiple of the period since 1970, UTC. It is the default strategy, the cheapest one,
// and the one whose "resets at" is easiest to explain.
//
// It admits the limit in each window, so up to twice the limit in a period that spans a
// boundary; use [SlidingWindowCounter] or [TokenBucket] where that is too much. A refund
// restores a draw until the end of its window.
type FixedWindow struct{}

// fixedTag marks the layout t, n.
const fixedTag = 'F'

// ID implements [Strategy].
func (FixedWindow) ID() string { return "fixed_window.1" }

// MaxStateBytes implements [StateSizer].
func (FixedWindow) MaxStateBytes(Rate) int { return 1 + 2*8 }

// Decide implements [Strategy].
func (FixedWindow) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	var c count.WindowCount
	count.ReadState(state, fixedTag, &c.T, &c.N) // N stays 0 if there is no count
	if drawWindow(&c, d, &dec) {
		dst = count.AppendState(dst, fixedTag, c.T, c.N)
	}
	return dst, dec
}

// Describe implements [Describer] with a [WindowInfo].
func (FixedWindow) Describe(state []byte, d *Draw) any {
	var c count.WindowCount
	count.ReadState(state, fixedTag, &c.T, &c.N)
	w := c.Advance(int64(d.Now), d.Rate.period.Microseconds())
	return windowInfo(w, d.Rate.limit, c.N)
}

// drawWindow decides on c, which becomes the next state, and reports whether that is to be
// written.
func drawWindow(c *count.WindowCount, d *Draw, dec *Decision) (write bool) {
	limit, now := d.Rate.limit, int64(d.Now)
	p := d.Rate.period.Microseconds()
	w := count.WindowOf(now, p)
	if c.In(w) { // most are, and this saves a call and two divisions
		c.T = now
	} else {
		w = c.Advance(now, p)
	}
	if d.Cost > 0 && !d.Force {
		*dec = Decision{}
		admitted := hitWindow(c, w.End-now, d.Cost, limit, dec)
		return admitted || w.Repaired
	}
	c.Charge(w, d.Cost, now, int64(d.TakenAt))
	*dec = Decision{Allowed: true, Limit: limit, Remaining: max(0, limit-c.N), At: Instant(c.T)}
	if c.N == 0 {
		return false
	}
	dec.ResetAfter = micros(w.End - now)
	return d.Cost != 0 || w.Repaired
}

// hitWindow decides a draw of cost units on c, whose window ends in the given number of
// microseconds, answering into the zero dec, and reports whether it is admitted.
func hitWindow(c *count.WindowCount, endsIn, cost, limit int64, dec *Decision) (admitted bool) {
	end, left := micros(endsIn), limit-c.N
	dec.Limit, dec.At = limit, Instant(c.T)
	if cost > left {
		dec.Remaining, dec.RetryAfter = max(0, left), end
		if cost > limit {
			dec.RetryAfter = Never
		}
		if c.N > 0 {
			dec.ResetAfter = end
		}
		return false
	}
	c.N += cost
	dec.Allowed, dec.Remaining, dec.ResetAfter = true, left-cost, end
	return true
}

// WindowInfo describes a key counted by [FixedWindow]; see [Subject.Describe].
type WindowInfo struct {
	// Start and End bound the window that counts now.
	Start, End time.Time
	// Limit is the number of units that the window admits.
	Limit int64
	// Used is the number of units counted in it, above Limit after a forced charge or a
	// lowered limit.
	Used int64
}

func windowInfo(w count.Window, limit, used int64) WindowInfo {
	return WindowInfo{Start: Instant(w.Start).Time(), End: Instant(w.End).Time(), Limit: limit, Used: used}
}
