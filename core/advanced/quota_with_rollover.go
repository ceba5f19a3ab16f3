package advanced

import (
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// QuotaWithRollover is a quota per window of which a part that was left unused
// is added to the next window, once: what was carried does not carry again.
//
// A key that was never seen, or not for two windows, has the carry of an unused
// window. State: the time of the last write, the count and the carry, 25 bytes.
// Bound: m*limit + carry of an unused window, in any m windows in a row.
type QuotaWithRollover struct {
	// Share is the part of the unused units that carries over, rounded down; 0
	// means 50 percent.
	Share PPM
	// Cap is the largest carry in units; 0 means the rate's limit.
	Cap int64
}

// rolloverTag marks the layout t, n, carry.
const rolloverTag = 'R'

// ID implements [traffik.Strategy].
func (QuotaWithRollover) ID() string { return "quota_with_rollover.1" }

// MaxStateBytes implements [traffik.StateSizer].
func (QuotaWithRollover) MaxStateBytes(traffik.Rate) int { return 1 + 3*8 }

// Validate returns an error wrapping [traffik.ErrConfig] unless Share is at most
// the whole and Cap 0 to 2^53.
func (s QuotaWithRollover) Validate() error {
	if s.Cap < 0 || s.Cap > traffik.MaxUnits {
		return fmt.Errorf("%w: QuotaWithRollover.Cap is %d; accepted is 0 (the rate's limit) to 2^53", traffik.ErrConfig, s.Cap)
	}
	return s.Share.check("QuotaWithRollover.Share")
}

// Decide implements [traffik.Strategy].
func (s QuotaWithRollover) Decide(dst, state []byte, d *traffik.Draw) (next []byte, dec traffik.Decision) {
	q := s.read(state, d)
	limit := d.Rate.Limit() + q.carry
	dec = traffik.Decision{Allowed: true, Limit: limit, At: traffik.Instant(q.At(int64(d.Now)))}
	write := q.Repaired
	switch {
	case d.Cost > 0 && !d.Force && d.Cost > limit-q.n:
		dec.Allowed = false
		dec.RetryAfter = s.retryAfter(&q, d)
	case d.Cost > 0:
		q.n = added(q.n, d.Cost)
		write = true
	case d.Cost < 0:
		if refunds(q.Window, d) {
			q.n = max(0, q.n+d.Cost)
		}
		write = true
	}
	dec.Remaining = max(0, limit-q.n)
	if q.n == 0 && q.carry == s.carryOf(0, d.Rate) {
		return dst, dec
	}
	dec.ResetAfter = s.resetAfter(&q, d)
	if write {
		dst = append(dst, rolloverTag)
		dst = count.AppendField(dst, int64(dec.At))
		dst = count.AppendField(dst, q.n)
		dst = count.AppendField(dst, q.carry)
	}
	return dst, dec
}

// quota is the count of a window and what the one before added to it.
type quota struct {
	windowCount
	carry int64
}

func (s QuotaWithRollover) read(state []byte, d *traffik.Draw) (q quota) {
	var t int64
	now, p, most := int64(d.Now), periodMicros(d.Rate), s.carryOf(0, d.Rate)
	ok := count.ReadState(state, rolloverTag, &t, &q.n, &q.carry)
	// A carry is quota and not use: a lowered limit or cap lowers it at once.
	if q.carry = min(q.carry, most); !ok || q.n == 0 && q.carry == most {
		return quota{windowCount{Window: count.WindowAt(now, now, p)}, most}
	}
	q.Window = count.WindowAt(t, now, p)
	switch {
	case q.Rolled == 1:
		q.n, q.carry = 0, s.carryOf(q.n, d.Rate)
	case q.Rolled > 1:
		q.n, q.carry = 0, most
	}
	return q
}

// carryOf is what a window in which n units were used adds to the next. Limit
// and carry together are at most 2^53.
func (s QuotaWithRollover) carryOf(n int64, r traffik.Rate) int64 {
	most := s.Cap
	if most == 0 {
		most = r.Limit()
	}
	carry := s.Share.orElse(Percent(50)).of(max(0, r.Limit()-n))
	return min(carry, most, traffik.MaxUnits-r.Limit())
}

// retryAfter is the end of this window, or that of the next if even what this
// one carries over is too little.
func (s QuotaWithRollover) retryAfter(q *quota, d *traffik.Draw) time.Duration {
	wait := q.End - int64(d.Now)
	switch limit := d.Rate.Limit(); {
	case d.Cost > limit+s.carryOf(0, d.Rate):
		return traffik.Never
	case d.Cost > limit+s.carryOf(q.n, d.Rate):
		wait += periodMicros(d.Rate)
	}
	return micros(wait)
}

// resetAfter is the end of this window, or that of the next if what this one
// carries over is less than an unused one would.
func (s QuotaWithRollover) resetAfter(q *quota, d *traffik.Draw) time.Duration {
	wait := q.End - int64(d.Now)
	if s.carryOf(q.n, d.Rate) < s.carryOf(0, d.Rate) {
		wait += periodMicros(d.Rate)
	}
	return micros(wait)
}

// RolloverInfo describes a key counted by [QuotaWithRollover].
type RolloverInfo struct {
	// WindowInfo is that of the window; its Limit includes Carried.
	traffik.WindowInfo
	// Carried is what the window before left.
	Carried int64
	// Carries is what this window would leave to the next one if it ended now.
	Carries int64
}

// Describe implements [traffik.Describer] with a [RolloverInfo].
func (s QuotaWithRollover) Describe(state []byte, d *traffik.Draw) any {
	q := s.read(state, d)
	return RolloverInfo{
		WindowInfo: windowInfo(q.Window, d.Rate.Limit()+q.carry, q.n),
		Carried:    q.carry, Carries: s.carryOf(q.n, d.Rate),
	}
}
