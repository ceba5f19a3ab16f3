package traffikws

import (
	"slices"
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
	next   time.Time // when the peer may be told again
	bursts []burst   // those that have not ended, the latest last
}

// burst is denials of one throttle, of which the peer was told, that no admission has
// ended.
type burst struct {
	uid   string    // "" if a store has failed
	never bool      // the peer was told that no waiting helps
	until time.Time // when the wait that was announced is over
}

// maxBursts is how many bursts are told apart. One that is forgotten costs a notice.
const maxBursts = 16

// knows reports whether the peer is not told of a denial, or not yet. A wait that
// is over and in vain is worth a new notice: another connection of the same
// identity was quicker. A failed store is told once, and not during an announced wait.
func (t *told) knows(p *passage, at time.Time) bool {
	if at.Before(t.next) {
		return true
	}
	i := t.of(p.denier)
	switch {
	case p.verdict.Failed():
		return i >= 0 || slices.ContainsFunc(t.bursts, func(b burst) bool { return at.Before(b.until) })
	case i < 0:
		return false
	case p.wait == traffik.Never:
		return t.bursts[i].never
	}
	return at.Before(t.bursts[i].until)
}

// of returns the place of a throttle's burst, -1 if there is none.
func (t *told) of(uid string) int {
	return slices.IndexFunc(t.bursts, func(b burst) bool { return b.uid == uid })
}

// tell notes that the peer was told of a denial.
func (t *told) tell(p *passage, at time.Time) {
	t.next = at.Add(NoticeInterval)
	b := burst{uid: p.denier}
	if i := t.of(b.uid); i >= 0 {
		b = t.bursts[i]
		t.bursts = slices.Delete(t.bursts, i, i+1)
	} else if len(t.bursts) == maxBursts {
		t.bursts = slices.Delete(t.bursts, 0, 1)
	}
	if b.never = b.never || p.wait == traffik.Never; p.wait != traffik.Never {
		b.until = at.Add(p.wait)
	}
	t.bursts = append(t.bursts, b)
}

// admitted notes that a message got through. That ends the bursts of its limits whose
// announced wait is over; else it was cheaper, and would make notices as frequent as
// itself.
func (t *told) admitted(v traffik.Verdict, at time.Time) {
	if len(t.bursts) == 0 || !v.Tightest().Counted() {
		return
	}
	over := map[string]bool{"": true}
	for _, r := range v.Results() {
		over[r.UID()] = r.Counted()
	}
	t.bursts = slices.DeleteFunc(t.bursts, func(b burst) bool { return over[b.uid] && !at.Before(b.until) })
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
