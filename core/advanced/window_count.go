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

// added is n plus the cost of an admitted draw, at most 2^53.
func added(n, cost int64) int64 { return count.Add(n, min(cost, count.MaxUnits)) }

// refunds reports whether refund d takes units off the counts of w.
func refunds(w count.Window, d *traffik.Draw) bool {
	return w.Refunds(int64(d.Now), int64(d.TakenAt))
}

// windowCount is one count per window, the state t, n of several strategies.
type windowCount struct {
	count.Window
	n int64
}

// windowCountBytes is the length of such a state.
const windowCountBytes = 1 + 2*8

// readCount returns the window that counts at d.Now and the count in it.
func readCount(state []byte, tag byte, d *traffik.Draw) (c windowCount) {
	var t int64
	now, p := int64(d.Now), periodMicros(d.Rate)
	if !count.ReadState(state, tag, &t, &c.n) || c.n == 0 {
		return windowCount{Window: count.WindowAt(now, now, p)}
	}
	if c.Window = count.WindowAt(t, now, p); c.Rolled > 0 {
		c.n = 0
	}
	return c
}

// decide decides d under limit, of which the count may be above. A denied draw
// is to try again when the window ends.
func (c *windowCount) decide(dst []byte, tag byte, d *traffik.Draw, limit int64) (next []byte, dec traffik.Decision) {
	dec = traffik.Decision{Allowed: true, Limit: limit, At: traffik.Instant(c.At(int64(d.Now)))}
	end := micros(c.End - int64(d.Now))
	write := c.Repaired
	switch {
	case d.Cost > 0 && !d.Force && d.Cost > limit-c.n:
		dec.Allowed = false
		dec.RetryAfter = end
	case d.Cost > 0:
		c.n = added(c.n, d.Cost)
		write = true
	case d.Cost < 0:
		if refunds(c.Window, d) {
			c.n = max(0, c.n+d.Cost)
		}
		write = true
	}
	dec.Remaining = max(0, limit-c.n)
	if c.n == 0 {
		return dst, dec
	}
	dec.ResetAfter = end
	if write {
		dst = append(dst, tag)
		dst = count.AppendField(dst, int64(dec.At))
		dst = count.AppendField(dst, c.n)
	}
	return dst, dec
}

// windowInfo describes w for dashboards.
func windowInfo(w count.Window, limit, used int64) traffik.WindowInfo {
	return traffik.WindowInfo{
		Start: traffik.Instant(w.Start).Time(), End: traffik.Instant(w.End).Time(), Limit: limit, Used: used,
	}
}
