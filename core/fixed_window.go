package traffik

import (
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// State: the time of the last write and the count, 17 bytes. A call costs two divisions.
// docs/design/strategies.md has the definition.

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
	var c fixedCount
	count.ReadState(state, fixedTag, &c.t, &c.n) // n stays 0 if there is no count
	if c.draw(d, &dec) {
		dst = count.AppendState(dst, fixedTag, c.t, c.n)
	}
	return dst, dec
}

// Describe implements [Describer] with a [WindowInfo].
func (FixedWindow) Describe(state []byte, d *Draw) any {
	var c fixedCount
	var dec Decision
	count.ReadState(state, fixedTag, &c.t, &c.n)
	c.draw(&Draw{Rate: d.Rate, Now: d.Now}, &dec)
	w := count.WindowAt(int64(dec.At), int64(d.Now), d.Rate.period.Microseconds())
	return windowInfo(w, d.Rate.limit, c.n)
}

// fixedCount is the state of a FixedWindow: n units, the last of them written at t. With 0
// units it says nothing, whatever t is.
type fixedCount struct{ t, n int64 }

// draw decides on c, which becomes the next state, and reports whether that is to be
// written.
func (c *fixedCount) draw(d *Draw, dec *Decision) (write bool) {
	limit, now, p := d.Rate.limit, int64(d.Now), d.Rate.period.Microseconds()
	w := count.WindowOf(now, p)
	if c.n > 0 && (c.t < w.Start || c.t >= w.End) {
		if w = count.WindowAt(c.t, now, p); w.Rolled > 0 {
			c.n = 0
		}
	}
	if d.Cost > 0 && !d.Force {
		*dec = Decision{}
		admitted := c.hit(w, now, d.Cost, limit, dec)
		return admitted || w.Repaired
	}
	if d.Cost > 0 {
		c.n = count.Add(c.n, d.Cost)
	} else if d.Cost < 0 && w.Refunds(now, int64(d.TakenAt)) {
		c.n = max(0, c.n+d.Cost)
	}
	*dec = Decision{Allowed: true, Limit: limit, Remaining: max(0, limit-c.n), At: Instant(max(now, w.Start))}
	if c.n == 0 {
		return false
	}
	dec.ResetAfter = micros(w.End - now)
	c.t = int64(dec.At)
	return d.Cost != 0 || w.Repaired
}

// hit decides a draw of cost units in w, answering into the zero dec, and reports whether
// it is admitted.
func (c *fixedCount) hit(w count.Window, now, cost, limit int64, dec *Decision) (admitted bool) {
	at, end, left := max(now, w.Start), time.Duration(min(w.End-now, MaxUnits))*time.Microsecond, limit-c.n
	dec.Limit, dec.At = limit, Instant(at)
	if cost > left {
		dec.Remaining, dec.RetryAfter = max(0, left), end
		if cost > limit {
			dec.RetryAfter = Never
		}
		if c.n > 0 {
			dec.ResetAfter = end
			c.t = at
		}
		return false
	}
	c.n, c.t = c.n+cost, at
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
