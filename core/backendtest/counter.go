package backendtest

import (
	"encoding/binary"

	traffik "github.com/traffik-go/traffik/core"
)

// counter is the simplest custom strategy: it counts and never expires while a test runs. It
// lets cases see exactly which bytes a backend keeps:
//
//   - Class repairClass: a look or a denied draw appends a state with the mark set,
//     as a strategy does whose stored time lay ahead of the clock;
//   - pad makes the state long.
type counter struct{ pad int }

const (
	counterHead = 9 // count and mark
	repairClass = "repair"
	repaired    = 1
)

func (counter) ID() string { return "backendtest_counter.1" }

func (c counter) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	n, mark, intact := c.read(state)
	limit := d.Rate.Limit()
	denied := d.Cost > 0 && d.Cost > limit-n && !d.Force
	dec := traffik.Decision{Allowed: !denied, Limit: limit, At: d.Now}
	switch {
	case !denied:
		n = max(0, n+d.Cost)
	case d.Cost > limit:
		dec.RetryAfter = traffik.Never
	default:
		dec.RetryAfter = forever
	}
	repair := d.Class == repairClass && (d.Cost == 0 || denied)
	if repair {
		mark = repaired
	}
	dec.Remaining = max(0, limit-n)
	if n > 0 {
		dec.ResetAfter = forever
	}
	if !intact {
		// A state cut short or altered by the store must not pass for a good one.
		dec.Remaining = 0
		dec.Limit = -1
	}
	if repair || d.Cost != 0 && !denied && n > 0 {
		dst = c.append(dst, n, mark)
	}
	return dst, dec
}

// append writes the count, the mark and the padding. Each byte of the padding differs from
// its neighbors, so that a moved or truncated state shows.
func (c counter) append(dst []byte, n int64, mark byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(n))
	dst = append(dst, mark)
	for i := range c.pad {
		dst = append(dst, byte(i))
	}
	return dst
}

// read also reports whether state is exactly as append wrote it.
func (c counter) read(state []byte) (n int64, mark byte, intact bool) {
	if len(state) == 0 {
		return 0, 0, true
	}
	if len(state) != counterHead+c.pad {
		return 0, 0, false
	}
	for i, b := range state[counterHead:] {
		if b != byte(i) {
			return 0, 0, false
		}
	}
	return int64(binary.LittleEndian.Uint64(state)), state[8], true
}
