package traffik

import (
	"fmt"
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// SlidingWindowLog remembers when each unit was drawn and admits the limit in
// any period, wherever it begins: the strictest strategy and the only one whose
// state grows with the limit.
//
// A refund restores a draw for one period after it.
//
// State: 16 bytes for each instant at which something was drawn within the last
// period, MaxEntries instants at most, or one more once they are rounded. A call
// reads all of them. Bound: the limit in any interval shorter than a period, or of exactly
// one period with one end left out. When an entry more than MaxEntries would be
// stored, all instants are rounded up to multiples of period/MaxEntries: nothing
// more is admitted, and units come back that much later at most.
type SlidingWindowLog struct {
	// MaxEntries is the number of instants up to which each is kept to the
	// microsecond; 0 means 8192, which makes states of at most 131,089 bytes.
	MaxEntries int
}

const (
	// logTag marks the layout of entries t, units, from the oldest on, each at
	// an instant of its own.
	logTag        = 'W'
	logEntryBytes = 2 * 8
	// defaultLogEntries keeps a state well below the 1 MiB that Memcached takes
	// by default.
	defaultLogEntries = 8192
	maxLogEntries     = 1 << 20
)

// ID implements [Strategy].
func (SlidingWindowLog) ID() string { return "sliding_window_log.1" }

// Validate returns an error wrapping [ErrConfig] unless MaxEntries is 0 to 2^20.
func (s SlidingWindowLog) Validate() error {
	if s.MaxEntries < 0 || s.MaxEntries > maxLogEntries {
		return fmt.Errorf("%w: SlidingWindowLog.MaxEntries is %d; accepted is 0 (the default, %d) to %d",
			ErrConfig, s.MaxEntries, defaultLogEntries, maxLogEntries)
	}
	return nil
}

// MaxStateBytes implements [StateSizer]. Forced charges can fill the log
// whatever the limit.
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
		l.add(l.now, min(d.Cost, MaxUnits))
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

// entryLog is a log under work, at the end of buf.
type entryLog struct {
	buf   []byte
	front int // where the entries begin in buf
	now   int64
	// period and quantum, the grain of rounded instants, in microseconds.
	period, quantum int64
	// repaired says that entries lay so far ahead of the clock that they became
	// entries of now.
	repaired bool
}

// read copies what counts at d.Now out of state behind dst.
func (s SlidingWindowLog) read(dst, state []byte, d *Draw) entryLog {
	l := entryLog{buf: append(dst, logTag), front: len(dst) + 1, now: int64(d.Now), period: d.Rate.periodMicros()}
	l.quantum = (l.period-1)/int64(s.entries()) + 1
	if !validLog(state) {
		return l
	}
	var ahead int64
	for state = state[1:]; len(state) > 0; state = state[logEntryBytes:] {
		t, _ := count.ReadField(state)
		switch {
		case l.now >= t+l.period:
		case t > l.now+l.quantum:
			units, _ := count.ReadField(state[8:])
			ahead = count.Add(ahead, units)
		default:
			l.buf = append(l.buf, state[:logEntryBytes]...)
		}
	}
	if ahead > 0 {
		l.repaired = true
		l.add(l.now, ahead)
	}
	return l
}

// validLog reports whether state is a log: entries in order, none without units.
func validLog(state []byte) bool {
	if len(state) == 0 || state[0] != logTag || len(state)%logEntryBytes != 1 {
		return false
	}
	last := int64(-1)
	for state = state[1:]; len(state) > 0; state = state[logEntryBytes:] {
		t, ok := count.ReadField(state)
		units, unitsOK := count.ReadField(state[8:])
		if !ok || !unitsOK || t <= last || units == 0 {
			return false
		}
		last = t
	}
	return true
}

func (l *entryLog) len() int { return (len(l.buf) - l.front) / logEntryBytes }

func (l *entryLog) entry(i int) []byte { return l.buf[l.front+i*logEntryBytes:] }

// at and units are of entry i, which was checked by validLog.
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

// total is the number of units that count, at most 2^53.
func (l *entryLog) total() (sum int64) {
	for i := range l.len() {
		sum = count.Add(sum, l.units(i))
	}
	return sum
}

// add enters units at t. Only entries of after a step back, or rounded ones,
// can be later than now, so that the place is near the end.
func (l *entryLog) add(t, units int64) {
	i := l.len()
	for i > 0 && l.at(i-1) >= t {
		i--
	}
	if i < l.len() && l.at(i) == t {
		l.set(i, t, count.Add(l.units(i), units))
		return
	}
	var none [logEntryBytes]byte
	l.buf = append(l.buf, none[:]...)
	copy(l.entry(i+1), l.entry(i))
	l.set(i, t, units)
}

// rounded is t rounded up to a multiple of the quantum.
func (l *entryLog) rounded(t int64) int64 {
	up := t + (l.quantum-t%l.quantum)%l.quantum
	return min(up, MaxUnits)
}

// round rounds all instants up and merges entries that become one. Those ahead
// of the clock become entries of now first.
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

// refund takes units off the entry of the draw at takenAt, which may have been
// rounded since; without such an entry nothing.
func (l *entryLog) refund(takenAt, units int64) {
	if takenAt == 0 {
		takenAt = l.now
	}
	i := l.find(takenAt)
	if i < 0 {
		takenAt = min(takenAt, l.now)
		i = l.find(takenAt)
	}
	// What was never rounded may have expired, and its neighbor is not it.
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

// find returns the place of the entry at t, or -1.
func (l *entryLog) find(t int64) int {
	low, high := 0, l.len()
	for low < high {
		if mid := (low + high) / 2; l.at(mid) < t {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < l.len() && l.at(low) == t {
		return low
	}
	return -1
}

// retryAfter is when the first entry has expired whose units, with those of all
// older ones, are in the way. The cost did not fit.
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

// LogInfo describes a key counted by [SlidingWindowLog].
type LogInfo struct {
	// Limit is the number of units that any period admits.
	Limit int64
	// Used is the number of units drawn within the last period, above Limit
	// after a forced charge or a lowered limit.
	Used int64
	// Entries is the number of instants kept.
	Entries int
	// Oldest and Newest are the first and the last of them, zero without any.
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
