package advanced

import (
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// micros returns us microseconds as a Duration, at most 2^53 of them.
func micros(us int64) time.Duration {
	return time.Duration(min(us, count.MaxUnits)) * time.Microsecond
}

func periodMicros(r traffik.Rate) int64 { return r.Period().Microseconds() }

// scaled is the rate's limit times p, at least 1.
func scaled(r traffik.Rate, p PPM) int64 { return max(1, p.of(r.Limit())) }

// windowCount is a count with the window that counts now. All strategies but
// CostBasedTokenBucket admit and refund with it; Tiered and TimeOfDay store nothing else.
type windowCount struct {
	count.Window
	count.WindowCount
}

// windowCountBytes is the length of such a state.
const windowCountBytes = 1 + 2*8

// readCount returns the window that counts at d.Now and the count in it.
func readCount(state []byte, tag byte, d *traffik.Draw) (c windowCount) {
	count.ReadState(state, tag, &c.T, &c.N) // N stays 0 if there is no count
	c.Window = c.Advance(int64(d.Now), periodMicros(d.Rate))
	return c
}

// untilEnd is the time until the window ends.
func (c *windowCount) untilEnd(d *traffik.Draw) time.Duration { return micros(c.End - int64(d.Now)) }

// draw decides d under limit, which the count may have passed, and reports whether the
// state is to be written. A denied draw is told to retry when the window ends, and
// ResetAfter is the caller's to fill in.
func (c *windowCount) draw(d *traffik.Draw, limit int64, dec *traffik.Decision) (write bool) {
	*dec = traffik.Decision{Allowed: true, Limit: limit, At: max(d.Now, traffik.Instant(c.Start))}
	if d.Cost > 0 && !d.Force && d.Cost > limit-c.N {
		dec.Allowed = false
		dec.RetryAfter = c.untilEnd(d)
	} else {
		c.Charge(c.Window, d.Cost, int64(d.Now), int64(d.TakenAt))
		write = d.Cost != 0
	}
	dec.Remaining = max(0, limit-c.N)
	return write || c.Repaired
}

// decide is Decide of a strategy whose state is c.
func (c *windowCount) decide(dst []byte, tag byte, d *traffik.Draw, limit int64) (next []byte, dec traffik.Decision) {
	write := c.draw(d, limit, &dec)
	if c.N == 0 {
		return dst, dec
	}
	dec.ResetAfter = c.untilEnd(d)
	if write {
		dst = count.AppendState(dst, tag, int64(dec.At), c.N)
	}
	return dst, dec
}

// windowInfo describes w for dashboards.
func windowInfo(w count.Window, limit, used int64) traffik.WindowInfo {
	return traffik.WindowInfo{
		Start: traffik.Instant(w.Start).Time(), End: traffik.Instant(w.End).Time(), Limit: limit, Used: used,
	}
}
