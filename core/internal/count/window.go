package count

// Window is the aligned window in which a strategy counts at some instant. Windows of
// period p start at the multiples of p since the Unix epoch, in UTC; weeks start on
// Thursday.
type Window struct {
	// Start and End in microseconds: Start <= counted instant < End.
	Start, End int64
	// Rolled is how many windows have begun since the state was written.
	Rolled int64
	// At is the instant under which a draw is recorded: now, or Start if that is later.
	At int64
	// Repaired means that the stored time lay so far ahead of the clock that the state
	// has to be rewritten.
	Repaired bool
}

// WindowAt returns the window that counts at now for a state written at t. A state keeps
// the At of its last write instead of the window's start, so that it keeps its meaning when
// the period changes.
//
// When the clock has stepped back, the counts are kept. After a step into the window
// before, the later window counts on until it ends (hold). After a longer step the counts
// move to the window after now's (repair). So steps of the clock hand out at most two
// limits per period; other rules were measured at 7 to 14.
func WindowAt(t, now, p int64) Window {
	start := now - now%p
	if start <= t && t < start+p { // nearly always, and saves two divisions
		return Window{Start: start, End: start + p, At: now}
	}
	stored := t - t%p
	switch {
	case stored < start:
		return Window{Start: start, End: start + p, At: now, Rolled: (start - stored) / p}
	case stored == start+p:
		return Window{Start: stored, End: stored + p, At: stored}
	default:
		return Window{Start: start + p, End: start + 2*p, At: start + p, Repaired: true}
	}
}

// Refunds reports whether a refund at now of units drawn at takenAt lowers the counts of
// w. A takenAt of 0 or in the future means now.
func (w Window) Refunds(now, takenAt int64) bool {
	return takenAt == 0 || takenAt > now || takenAt >= w.Start
}
