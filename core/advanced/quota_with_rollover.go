package advanced

import (
	"errors"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// State: the time of the last write, the count and the carry, 25 bytes.

// QuotaWithRollover is a quota per window. A share of the units left unused is carried into
// the next window, once: carried units don't carry again. A key that was not used for two
// windows, or never, has the carry of an unused window. In any m windows in a row it admits
// m*limit + one carry of an unused window.
type QuotaWithRollover struct {
	// Share is the part of the unused units that carries over, rounded down; 0 means 50
	// percent.
	Share PPM
	// Cap bounds the units carried into a window; 0 means the rate's limit.
	Cap int64
}

// rolloverTag marks the layout t, n, carry.
const rolloverTag = 'R'

// ID implements [traffik.Strategy].
func (QuotaWithRollover) ID() string { return "quota_with_rollover.1" }

// MaxStateBytes implements [traffik.StateSizer].
func (QuotaWithRollover) MaxStateBytes(traffik.Rate) int { return 1 + 3*8 }

// Validate returns an error wrapping [traffik.ErrConfig] unless Share is 0 to the whole and
// Cap 0 to 2^53.
func (s QuotaWithRollover) Validate() error {
	return errors.Join(checkUnits("QuotaWithRollover.Cap", s.Cap), s.Share.check("QuotaWithRollover.Share"))
}

// Decide implements [traffik.Strategy].
func (s QuotaWithRollover) Decide(dst, state []byte, d *traffik.Draw) (next []byte, dec traffik.Decision) {
	q := s.read(state, d)
	write := q.draw(d, d.Rate.Limit()+q.carry, &dec)
	if !dec.Allowed {
		dec.RetryAfter = s.retryAfter(&q, d)
	}
	if q.N == 0 && q.carry == s.carryOf(0, d.Rate) {
		return dst, dec
	}
	dec.ResetAfter = s.resetAfter(&q, d)
	if write {
		dst = count.AppendState(dst, rolloverTag, int64(dec.At), q.N, q.carry)
	}
	return dst, dec
}

// quota is the count of a window and the carry from the one before.
type quota struct {
	windowCount
	carry int64
}

func (s QuotaWithRollover) read(state []byte, d *traffik.Draw) (q quota) {
	now, p, most := int64(d.Now), periodMicros(d.Rate), s.carryOf(0, d.Rate)
	ok := count.ReadState(state, rolloverTag, &q.T, &q.N, &q.carry)
	// A carry is quota, not use: a lowered limit or cap lowers it at once.
	if q.carry = min(q.carry, most); !ok || q.N == 0 && q.carry == most {
		q.T, q.N, q.carry = now, 0, most
	}
	q.Window = count.WindowAt(q.T, now, p)
	switch {
	case q.Rolled == 1:
		q.N, q.carry = 0, s.carryOf(q.N, d.Rate)
	case q.Rolled > 1:
		q.N, q.carry = 0, most
	}
	return q
}

// carryOf returns what a window that used n units adds to the next. Limit and carry
// together are at most 2^53.
func (s QuotaWithRollover) carryOf(n int64, r traffik.Rate) int64 {
	carry, most := orElse(s.Share, Percent(50)).of(max(0, r.Limit()-n)), orElse(s.Cap, r.Limit())
	return min(carry, most, traffik.MaxUnits-r.Limit())
}

// retryAfter is the time until this window ends, or the next one if even the carry of this
// one is too little.
func (s QuotaWithRollover) retryAfter(q *quota, d *traffik.Draw) time.Duration {
	wait := q.End - int64(d.Now)
	switch limit := d.Rate.Limit(); {
	case d.Cost > limit+s.carryOf(0, d.Rate):
		return traffik.Never
	case d.Cost > limit+s.carryOf(q.N, d.Rate):
		wait += periodMicros(d.Rate)
	}
	return micros(wait)
}

// resetAfter is the time until this window ends, or the next one if this one carries less
// than an unused one.
func (s QuotaWithRollover) resetAfter(q *quota, d *traffik.Draw) time.Duration {
	wait := q.End - int64(d.Now)
	if s.carryOf(q.N, d.Rate) < s.carryOf(0, d.Rate) {
		wait += periodMicros(d.Rate)
	}
	return micros(wait)
}

// RolloverInfo describes a key counted by [QuotaWithRollover]; see
// [traffik.Subject.Describe].
type RolloverInfo struct {
	// WindowInfo describes the window; its Limit includes Carried.
	traffik.WindowInfo
	// Carried is the carry from the window before.
	Carried int64
	// Carries is the carry that the next window would get if this one ended now.
	Carries int64
}

// Describe implements [traffik.Describer] with a [RolloverInfo].
func (s QuotaWithRollover) Describe(state []byte, d *traffik.Draw) any {
	q := s.read(state, d)
	return RolloverInfo{
		WindowInfo: windowInfo(q.Window, d.Rate.Limit()+q.carry, q.N),
		Carried:    q.carry, Carries: s.carryOf(q.N, d.Rate),
	}
}
