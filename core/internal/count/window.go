package count

// Window is the aligned window in which a strategy counts at some instant. Windows of
// period p start at the multiples of p since the Unix epoch, in UTC; weeks start on
// Thursday.
type Window struct {
	// Start and End in microseconds: Start <= counted instant < End. A draw is counted at
	// now, or at Start if that is later. A Window has four fields, as many as the compiler
	// keeps in registers.
	Start, End int64
	// Rolled is how many windows have begun since the state was written.
	Rolled int64
	// Repaired means that the stored time lay so far ahead of the clock that the state
	// has to be rewritten.
	Repaired bool
}

// WindowOf returns the window that now lies in.
func WindowOf(now, p int64) Window {
	start := now - now%p
	return Window{Start: start, End: start + p}
}

// WindowAt returns the window that counts at now for a state written at t. A state keeps
// t = max(now, window start) of its last write instead of the window's start, so that it
// keeps its meaning when the period changes.
//
// When the clock has stepped back, the counts are kept. After a step into the window
// before, the later window counts on until it ends (hold). After a longer step the counts
// move to the window after now's (repair). So steps of the clock hand out at most two
// limits per period; other rules were measured at 7 to 14.
func WindowAt(t, now, p int64) Window {
	start := now - now%p
	stored := t - t%p
	switch {
	case stored <= start:
		return Window{Start: start, End: start + p, Rolled: (start - stored) / p}
	case stored == start+p:
		return Window{Start: stored, End: stored + p}
	default:
		return Window{Start: start + p, End: start + 2*p, Repaired: true}
	}
}

// Refunds reports whether a refund at now of units drawn at takenAt lowers the counts of
// w. A takenAt of 0 or in the future means now.
func (w Window) Refunds(now, takenAt int64) bool {
	return takenAt == 0 || takenAt > now || takenAt >= w.Start
}

// WindowCount is the kernel of FixedWindow, Tiered, TimeOfDay, Adaptive, Priority and
// QuotaWithRollover: N units, the last of them written at T. With 0 units T says nothing.
type WindowCount struct{ T, N int64 }

// In reports whether c counts as it is in w, the window that now lies in. Then T = now is
// all that Advance would change.
func (c *WindowCount) In(w Window) bool { return c.N == 0 || w.Start <= c.T && c.T < w.End }

// Advance brings c to now and returns the window of period p that counts then. Only the
// units drawn in that window stay.
func (c *WindowCount) Advance(now, p int64) (w Window) {
	if c.N == 0 {
		c.T = now
	}
	if w = WindowAt(c.T, now, p); w.Rolled > 0 {
		c.N = 0
	}
	c.T = max(now, w.Start)
	return w
}

// Charge adds cost units, stopping at 2^53. A cost below 0 is a refund at now of units
// drawn at takenAt; it takes them off if they were drawn in w.
func (c *WindowCount) Charge(w Window, cost, now, takenAt int64) {
	if cost > 0 {
		c.N = Add(c.N, cost)
	} else if cost < 0 && w.Refunds(now, takenAt) {
		c.N = max(0, c.N+cost)
	}
}
