package traffikws

import (
	"strconv"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// NoticeInterval is the least time between two notices to one connection, so
// that a peer whose every other message is admitted is not echoed either.
const NoticeInterval = time.Second

// told remembers what a peer was told of its denials, so that a burst of them is
// answered once. The zero value has told nothing. All times are the
// connection's own.
type told struct {
	denial bool      // of a denial that was not followed by an admission
	never  bool      // that no waiting helps
	until  time.Time // when the wait that was announced is over
	next   time.Time // when the peer may be told again
}

// knows reports whether the peer is not told of a denial, or not yet. A wait that
// is over and in vain is worth a new notice: another connection of the same
// identity was quicker.
func (t *told) knows(p *passage, at time.Time) bool {
	if at.Before(t.next) {
		return true
	}
	never := p.wait == traffik.Never
	return t.denial && (p.verdict.Failed() || t.never && never || !never && at.Before(t.until))
}

// tell notes that the peer was told of a denial.
func (t *told) tell(p *passage, at time.Time) {
	t.denial, t.next = true, at.Add(NoticeInterval)
	if p.wait == traffik.Never {
		t.never = true
		return
	}
	t.until = at.Add(p.wait)
}

// admitted notes that a message got through. That ends a burst if the announced
// wait is over; else it was cheaper, or free, or had a limit of its own, and
// would make notices as frequent as itself.
func (t *told) admitted(v traffik.Verdict, at time.Time) {
	if v.Shown().Counted() && !at.Before(t.until) {
		t.denial, t.never, t.until = false, false, time.Time{}
	}
}

// notice is the message to a peer whose message was dropped. The wait is in
// milliseconds, rounded up; it is left out when no waiting helps or the store
// failed.
func notice(wait time.Duration) []byte {
	text := []byte(`{"type":"rate_limit"`)
	if wait > 0 && wait != traffik.Never {
		text = append(text, `,"retry_after_ms":`...)
		text = strconv.AppendInt(text, int64((wait-1)/time.Millisecond)+1, 10)
	}
	return append(text, '}')
}
