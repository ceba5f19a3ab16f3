package traffik

import (
	"cmp"
	"sort"
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// State: 16 bytes for each instant at which something was drawn within the last period, up
// to MaxEntries instants, or one more once they are rounded. A call reads all of them.
// When one entry too many would be stored, all instants are rounded up to multiples of
// period/MaxEntries: that admits nothing more, and units come back that much later at
// most. docs/design/strategies.md has the definition.

// SlidingWindowLog remembers when each unit was drawn and admits the limit in any period,
// wherever it begins. It is the strictest strategy and the only one whose state and cost
// grow with the limit: 16 bytes for each instant of the last period, MaxEntries at most.
//
// It admits the limit in any interval shorter than a period, or of one period with one
// end left out. A refund restores a draw for one period after it.
type SlidingWindowLog struct {
	// MaxEntries is how many instants are kept to the microsecond; 0 means 8192, which
	// makes states of at most 131,089 bytes. Beyond it they are rounded up to multiples
	// of period/MaxEntries.
	MaxEntries int
}

const (
	// logTag marks the layout of entries t, units, from the oldest on, one for each
	// instant.
	logTag        = 'W'
	logEntryBytes = 2 * 8
	// defaultLogEntries keeps a state well below Memcached's default limit of 1 MiB.
	defaultLogEntries = 8192
	maxLogEntries     = 1 << 20
)

// ID implements [Strategy].
func (SlidingWindowLog) ID() string { return "sliding_window_log.1" }

// Validate returns an error wrapping [ErrConfig] unless MaxEntries is 0 to 2^20.
func (s SlidingWindowLog) Validate() error {
	if s.MaxEntries < 0 || s.MaxEntries > maxLogEntries {
		return configError("SlidingWindowLog.MaxEntries is %d; accepted is 0 (the default, %d) to %d", s.MaxEntries, defaultLogEntries, maxLogEntries)
	}
	return nil
}

// MaxStateBytes implements [StateSizer]. Forced charges can fill the log at any limit.
func (s SlidingWindowLog) MaxStateBytes(Rate) int {
	// Rounded instants lie in a period and up to one quantum ahead of now.
	return 1 + (s.entries()+1)*logEntryBytes
}

func (s SlidingWindowLog) entries() int {
	if s.MaxEntries == 0 {
		return defaultLogEntries
	}
	return s.MaxEntries
}

// Decide implements [Strategy].
func (s SlidingWindowLog) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	l := s.read(dst, state, d)
	dec = Decision{Allowed: true, Limit: d.Rate.limit, At: d.Now}
	write := l.repaired
	switch {
	case d.Cost > 0 && !d.Force && d.Cost > dec.Limit-l.total():
		dec.Allowed = false
		dec.RetryAfter = l.retryAfter(d.Cost, dec.Limit)
	case d.Cost > 0:
		l.add(l.now, d.Cost)
		if l.len() > s.entries() {
			l.round()
			dec.At = Instant(l.rounded(l.now))
		}
		write = true
	case d.Cost < 0:
		l.refund(int64(d.TakenAt), -d.Cost)
		write = true
	}
	dec.Remaining = max(0, dec.Limit-l.total())
	if l.len() == 0 {
		return dst, dec
	}
	dec.ResetAfter = micros(l.at(l.len()-1) + l.period - l.now)
	if !write {
		return dst, dec
	}
	return l.buf, dec
}

// entryLog is a log that is being decided on, at the end of buf.
type entryLog struct {
	buf   []byte
	front int // where the entries begin in buf
	now   int64
	// period and quantum, the grain of rounded instants, in microseconds.
	period, quantum int64
	// repaired means that entries lay so far ahead of the clock that they became entries
	// of now.
	repaired bool
}

// read appends the part of state that counts at d.Now to dst: nothing if state is no log,
// which has entries in order and none without units.
func (s SlidingWindowLog) read(dst, state []byte, d *Draw) entryLog {
	l := entryLog{buf: append(dst, logTag), front: len(dst) + 1, now: int64(d.Now), period: d.Rate.period.Microseconds()}
	l.quantum = (l.period-1)/int64(s.entries()) + 1
	if len(state) == 0 || state[0] != logTag || len(state)%logEntryBytes != 1 {
		return l
	}
	last, ahead := int64(-1), int64(0)
	for entries := state[1:]; len(entries) > 0; entries = entries[logEntryBytes:] {
		t, ok := count.ReadField(entries)
		units, unitsOK := count.ReadField(entries[8:])
		switch {
		case !ok || !unitsOK || t <= last || units == 0:
			l.buf = l.buf[:l.front]
			return l
		case l.now >= t+l.period:
		case t > l.now+l.quantum:
			ahead = count.Add(ahead, units)
		default:
			l.buf = append(l.buf, entries[:logEntryBytes]...)
		}
		last = t
	}
	if ahead > 0 {
		l.repaired = true
		l.add(l.now, ahead)
	}
	return l
}

func (l *entryLog) len() int { return (len(l.buf) - l.front) / logEntryBytes }

func (l *entryLog) entry(i int) []byte { return l.buf[l.front+i*logEntryBytes:] }

// at and units return the fields of entry i, which read has checked.
func (l *entryLog) at(i int) int64 {
	t, _ := count.ReadField(l.entry(i))
	return t
}

func (l *entryLog) units(i int) int64 {
	units, _ := count.ReadField(l.entry(i)[8:])
	return units
}

func (l *entryLog) set(i int, t, units int64) {
	count.PutField(l.entry(i), t)
	count.PutField(l.entry(i)[8:], units)
}

// total returns the number of units that count, at most 2^53.
func (l *entryLog) total() (sum int64) {
	for i := range l.len() {
		sum = count.Add(sum, l.units(i))
	}
	return sum
}

// add enters units at t. Only entries from before a step back and rounded ones can be
// later than now, so the index is near the end.
func (l *entryLog) add(t, units int64) {
	i := l.len()
	for i > 0 && l.at(i-1) >= t {
		i--
	}
	if i < l.len() && l.at(i) == t {
		l.set(i, t, count.Add(l.units(i), units))
		return
	}
	l.buf = append(l.buf, make([]byte, logEntryBytes)...)
	copy(l.entry(i+1), l.entry(i))
	l.set(i, t, min(units, MaxUnits))
}

// rounded returns t rounded up to a multiple of the quantum.
func (l *entryLog) rounded(t int64) int64 {
	up := t + (l.quantum-t%l.quantum)%l.quantum
	return min(up, MaxUnits)
}

// round rounds all instants up and merges entries that become one. Those ahead of the
// clock become entries of now first.
func (l *entryLog) round() {
	last := -1
	for i := range l.len() {
		t, units := l.rounded(min(l.at(i), l.now)), l.units(i)
		if last >= 0 && l.at(last) == t {
			units = count.Add(l.units(last), units)
		} else {
			last++
		}
		l.set(last, t, units)
	}
	l.buf = l.buf[:l.front+(last+1)*logEntryBytes]
}

// refund takes units off the entry of the draw at takenAt, which may have been rounded
// since. Without such an entry it does nothing.
func (l *entryLog) refund(takenAt, units int64) {
	if takenAt == 0 {
		takenAt = l.now
	}
	i := l.find(takenAt)
	if i < 0 {
		takenAt = min(takenAt, l.now)
		i = l.find(takenAt)
	}
	// An entry that was never rounded may have expired; its neighbor is another draw's.
	if i < 0 && l.now < takenAt+l.period {
		i = l.find(l.rounded(takenAt))
	}
	if i < 0 {
		return
	}
	if left := l.units(i) - units; left > 0 {
		l.set(i, l.at(i), left)
		return
	}
	copy(l.entry(i), l.entry(i+1))
	l.buf = l.buf[:len(l.buf)-logEntryBytes]
}

// find returns the index of the entry at t, or -1.
func (l *entryLog) find(t int64) int {
	i, found := sort.Find(l.len(), func(i int) int { return cmp.Compare(t, l.at(i)) })
	if !found {
		return -1
	}
	return i
}

// retryAfter is the time until the first entry has expired that, with all older ones,
// makes room for the cost, which did not fit.
func (l *entryLog) retryAfter(cost, limit int64) time.Duration {
	if cost > limit {
		return Never
	}
	i := l.len() - 1
	for kept := int64(0); i > 0; i-- {
		if kept = count.Add(kept, l.units(i)); kept > limit-cost {
			break
		}
	}
	return micros(l.at(i) + l.period - l.now)
}

// LogInfo describes a key counted by [SlidingWindowLog]; see [Subject.Describe].
type LogInfo struct {
	// Limit is the number of units that any period admits.
	Limit int64
	// Used is the number of units drawn within the last period, above Limit after a
	// forced charge or a lowered limit.
	Used int64
	// Entries is the number of instants kept.
	Entries int
	// Oldest and Newest are the first and the last of them, zero if there is none.
	Oldest, Newest time.Time
}

// Describe implements [Describer] with a [LogInfo].
func (s SlidingWindowLog) Describe(state []byte, d *Draw) any {
	l := s.read(nil, state, d)
	info := LogInfo{Limit: d.Rate.limit, Used: l.total(), Entries: l.len()}
	if info.Entries > 0 {
		info.Oldest, info.Newest = Instant(l.at(0)).Time(), Instant(l.at(info.Entries-1)).Time()
	}
	return info
}
