package traffik

import (
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// WindowInfo describes a key counted in windows aligned to the clock.
type WindowInfo struct {
	// Start and End bound the window that counts now.
	Start, End time.Time
	// Limit is the number of units that the window admits.
	Limit int64
	// Used is the number of units counted in it, above Limit after a forced
	// charge or a lowered limit.
	Used int64
}

func windowInfo(w count.Window, limit, used int64) WindowInfo {
	return WindowInfo{Start: Instant(w.Start).Time(), End: Instant(w.End).Time(), Limit: limit, Used: used}
}
