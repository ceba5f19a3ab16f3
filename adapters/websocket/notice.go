package traffikws

import (
	"slices"
	"strconv"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// NoticeInterval is the least time between two notices to one connection. Without it, a peer
// would get an echo of its flood if every other message were admitted.
const NoticeInterval = time.Second

// noticeLog remembers what a peer was told about its denials, so that a burst of them is answered
// once. The zero value is empty. All times are the connection's.
type noticeLog struct {
	next   time.Time // when the next notice may be sent
	bursts []burst   // those that have not ended, the latest last
}

// burst is a run of denials by one throttle that the peer was told about, with nothing admitted in
// between.
type burst struct {
	uid   string    // of the throttle, "" for a failed store
	never bool      // the peer was told that waiting doesn't help
	until time.Time // the end of the announced wait
}

// maxBursts is how many bursts are remembered. Forgetting one costs a notice.
const maxBursts = 16

// due reports whether the peer is told that p is denied, and remembers it. After a wait that did
// not help, because another connection of the same identity was quicker, a new notice is due. A
// failed store is told once, and not during an announced wait.
func (l *noticeLog) due(p *pending) bool {
	at, uid, never := now(), denier(p.verdict), p.wait == traffik.Never
	if at.Before(l.next) {
		return false
	}
	i := slices.IndexFunc(l.bursts, func(b burst) bool { return b.uid == uid })
	b := burst{uid: uid}
	if i >= 0 {
		b = l.bursts[i]
	}
	waiting := func(b burst) bool { return at.Before(b.until) }
	switch {
	case p.verdict.Failed() && (i >= 0 || slices.ContainsFunc(l.bursts, waiting)), never && b.never, !never && waiting(b):
		return false
	case i < 0 && len(l.bursts) == maxBursts:
		i = 0
	}
	if i >= 0 {
		l.bursts = slices.Delete(l.bursts, i, i+1)
	}
	if b.never = b.never || never; !never {
		b.until = at.Add(p.wait)
	}
	l.bursts = append(l.bursts, b)
	l.next = at.Add(NoticeInterval)
	return true
}

// denier returns the uid of the throttle that denies, "" if the store failed. If v admits, that is
// the throttle whose queue is too long.
func denier(v traffik.Verdict) string {
	if v.Failed() {
		return ""
	}
	tightest := v.Tightest()
	for _, r := range v.Results() {
		if v.Allowed() && r.Delay == v.Delay() {
			tightest = r
		}
	}
	return tightest.UID()
}

// admitted notes that a message was admitted. That ends the bursts of its limits, except during an
// announced wait: then the message was cheaper, and there would be as many notices as such messages.
func (l *noticeLog) admitted(v traffik.Verdict) {
	if len(l.bursts) == 0 || !v.Tightest().Counted() {
		return
	}
	at, over := now(), map[string]bool{"": true}
	for _, r := range v.Results() {
		over[r.UID()] = r.Counted()
	}
	l.bursts = slices.DeleteFunc(l.bursts, func(b burst) bool { return over[b.uid] && !at.Before(b.until) })
}

// notice returns the text for a peer whose message was dropped. It holds the wait in milliseconds,
// rounded up, unless waiting doesn't help or the store failed.
func notice(wait time.Duration) []byte {
	text := []byte(`{"type":"rate_limit"`)
	if wait > 0 && wait != traffik.Never {
		text = append(text, `,"retry_after_ms":`...)
		text = strconv.AppendInt(text, int64((wait-1)/time.Millisecond)+1, 10)
	}
	return append(text, '}')
}
