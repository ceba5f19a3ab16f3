package advanced

import (
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// The bucket kernel on a slowed clock. State: 41 bytes and 8 for each remembered draw.

// CostBasedTokenBucket is a [traffik.TokenBucket] that refills more slowly while recent
// draws are expensive: at the rate divided by the mean cost of the last Window draws, but
// never more slowly than Floor. Cheap draws bring the full rate back, and so does a full
// bucket, which forgets its history. It admits at most Burst + floor(length*limit/period)
// units in any interval.
//
// A refund restores only the units that its draw certainly still holds: once others have
// drawn, the draw may have leaked at any speed from Floor to the full rate.
type CostBasedTokenBucket struct {
	// Burst is the capacity of the bucket in units; 0 means the rate's limit. A cost above
	// it is never admitted.
	Burst int64
	// Window is the number of draws whose mean cost counts, 1 to 1024; 0 means 16.
	Window int
	// Floor is the slowest refill, as a part of the rate; 0 means 10 percent.
	Floor PPM
}

const (
	// costTag marks the layout t, n, r, p of the bucket kernel, s, and then the costs from
	// the oldest on.
	costTag = 'C'
	// costFront is the length of what comes before the costs.
	costFront     = 1 + 5*8
	defaultWindow = 16
	maxWindow     = 1024
	// maxRecorded keeps sums of costs exact: one is recorded as at most 2^32.
	maxRecorded = 1 << 32
)

// ID implements [traffik.Strategy].
func (CostBasedTokenBucket) ID() string { return "cost_based_token_bucket.1" }

// MaxStateBytes implements [traffik.StateSizer].
func (s CostBasedTokenBucket) MaxStateBytes(traffik.Rate) int { return costFront + 8*s.window() }

// Validate returns an error wrapping [traffik.ErrConfig] unless Burst is 0 to 2^53, Window 0
// to 1024 and Floor 0 to the whole.
func (s CostBasedTokenBucket) Validate() error {
	if err := checkUnits("CostBasedTokenBucket.Burst", s.Burst); err != nil {
		return err
	}
	if s.Window < 0 || s.Window > maxWindow {
		return fmt.Errorf("%w: CostBasedTokenBucket.Window is %d; accepted is 0 (the default, %d) to %d",
			traffik.ErrConfig, s.Window, defaultWindow, maxWindow)
	}
	return s.Floor.check("CostBasedTokenBucket.Floor")
}

func (s CostBasedTokenBucket) window() int { return orElse(s.Window, defaultWindow) }

// floor is the slowest refill.
func (s CostBasedTokenBucket) floor() PPM { return orElse(s.Floor, Percent(10)) }

func (s CostBasedTokenBucket) capacity(r traffik.Rate) int64 { return orElse(s.Burst, r.Limit()) }

// Decide implements [traffik.Strategy].
func (s CostBasedTokenBucket) Decide(dst, state []byte, d *traffik.Draw) (next []byte, dec traffik.Decision) {
	b, costs := s.capacity(d.Rate), costHistory{buf: dst, front: len(dst) + costFront}
	k := s.read(state, d, &costs)
	dec = traffik.Decision{Allowed: true, Limit: b, At: d.Now}
	write := k.repaired
	switch {
	case d.Cost > 0 && !d.Force && d.Cost > b-k.level.Used():
		dec.Allowed = false
		dec.RetryAfter = traffik.Never
		if d.Cost <= b {
			dec.RetryAfter = k.real(k.level.WaitMicros(d.Cost, b, k.l))
		}
	case d.Cost > 0:
		k.level.Take(d.Cost)
		costs.record(d.Cost, s.window())
		write = true
	case d.Cost < 0:
		granted := k.held(d, s.floor())
		k.level.Refund(granted)
		costs.shrink(granted)
		write = true
	}
	dec.Remaining = max(0, b-k.level.Used())
	if k.level.Empty() {
		return dst, dec
	}
	k.mu = s.speed(&costs)
	dec.ResetAfter = k.real(k.level.ResetMicros(k.l))
	if !write {
		return dst, dec
	}
	k.write(costs.buf[len(dst):])
	return costs.buf, dec
}

// slowed is the bucket kernel on a clock that runs at mu millionths.
type slowed struct {
	level    count.Bucket
	l        int64 // units per level.P microseconds
	mu       PPM
	part     int64 // of the slow clock's next microsecond that has passed, in ppm
	wrote    int64 // when the state was written, at most now
	repaired bool
}

// read returns the kernel as state says at d.Now and fills costs.
func (s CostBasedTokenBucket) read(state []byte, d *traffik.Draw, costs *costHistory) (k slowed) {
	now := int64(d.Now)
	l, p := d.Rate.Fraction()
	if !k.decode(state, p) || !costs.decode(state[costFront:], s.window()) {
		k = slowed{level: count.Bucket{T: now, P: p}}
		costs.reset()
	}
	k.l, k.mu = l, s.speed(costs)
	if now < k.level.T {
		k.level.T, k.wrote, k.repaired = now, now, true
		return k
	}
	k.wrote = k.level.T
	// From here on the kernel counts time of the slow clock.
	shown, part := count.MulDivMod(now-k.level.T, int64(k.mu), k.part, int64(Whole))
	k.level.T, k.part = 0, part
	k.level.Leak(shown, l)
	k.level.T = now
	if k.level.Empty() {
		k.part = 0
		costs.reset()
		k.mu = Whole
	}
	return k
}

// decode reads all but the costs.
func (k *slowed) decode(state []byte, p int64) bool {
	level := &k.level
	if len(state) < costFront || !count.ReadState(state[:costFront], costTag, &level.T, &level.N, &level.R, &level.P, &k.part) {
		return false
	}
	level.Adopt(0, p)
	return k.part < int64(Whole) && !level.Empty()
}

// write puts all but the costs to the front of state.
func (k *slowed) write(state []byte) {
	count.AppendState(state[:0], costTag, k.level.T, k.level.N, k.level.R, k.level.P, k.part)
}

// real returns how long the slow clock takes for us microseconds.
func (k *slowed) real(us int64) time.Duration {
	return micros(count.MulDivCeil(us-1, int64(Whole), int64(Whole)-k.part, int64(k.mu)))
}

// held returns how many of the units that d refunds its draw is sure to hold, if the
// speed was slowest or more.
//
// If nobody has drawn since, the state tells: units leak in the order in which they were
// drawn, so what is left is the last draw's first. Otherwise, with R the time from the
// draw to FreeAt, the level after the draw took more than (R-1)*slowest of slow time, and
// it was at least the units. Since then no more has leaked than all of the time up to the
// last write and the present speed's part of the time after it.
func (k *slowed) held(d *traffik.Draw, slowest PPM) int64 {
	now, takenAt, freeAt, units := int64(d.Now), int64(d.TakenAt), int64(d.FreeAt), -d.Cost
	known := freeAt > 0 && freeAt < count.MaxUnits
	switch {
	case known && freeAt <= now:
		return 0
	case takenAt == 0 || takenAt >= now:
		return units
	case takenAt == k.wrote && d.Now.Add(k.real(k.level.ResetMicros(k.l))) == d.FreeAt && known:
		return min(units, k.level.N)
	}
	had, _ := count.MulDivMod(units, k.level.P, 0, k.l) // microseconds of slow time
	if freeAt > takenAt {
		slow, _ := count.MulDivMod(freeAt-takenAt-1, int64(slowest), 0, int64(Whole))
		had = max(had, slow)
	}
	gone := max(0, k.wrote-takenAt) + count.MulDivCeil(now-max(k.wrote, takenAt), int64(k.mu), 0, int64(Whole))
	if gone >= had {
		return 0
	}
	left, _ := count.MulDivMod(had-gone, k.l, 0, k.level.P)
	return min(units, left)
}

// speed returns one part in the mean of the costs, floor at least.
func (s CostBasedTokenBucket) speed(costs *costHistory) PPM {
	n, sum := int64(costs.len()), costs.sum()
	if n == 0 {
		return Whole
	}
	mu, _ := count.MulDivMod(n, int64(Whole), 0, sum)
	return min(Whole, max(s.floor(), PPM(mu)))
}

// costHistory is the costs of the last draws, at the end of buf.
type costHistory struct {
	buf   []byte
	front int // where the costs begin in buf
}

// decode reads the newest costs, at most window of them, from the end of a state, and
// reports whether all are costs.
func (c *costHistory) decode(costs []byte, window int) bool {
	if len(costs)%8 != 0 {
		return false
	}
	for at := 0; at < len(costs); at += 8 {
		if v, ok := count.ReadField(costs[at:]); !ok || v < 1 || v > maxRecorded {
			return false
		}
	}
	c.reset()
	c.buf = append(c.buf, costs[max(0, len(costs)-8*window):]...)
	return true
}

// reset forgets all costs.
func (c *costHistory) reset() {
	var front [costFront]byte
	c.buf = append(c.buf[:c.front-costFront], front[:]...)
}

func (c *costHistory) len() int { return (len(c.buf) - c.front) / 8 }

func (c *costHistory) cost(i int) int64 {
	v, _ := count.ReadField(c.buf[c.front+8*i:])
	return v
}

func (c *costHistory) sum() (sum int64) {
	for i := range c.len() {
		sum += c.cost(i) // 2^42 at most
	}
	return sum
}

// record enters a cost and drops the oldest beyond window.
func (c *costHistory) record(cost int64, window int) {
	if c.len() >= window {
		copy(c.buf[c.front:], c.buf[c.front+8:])
		c.buf = c.buf[:len(c.buf)-8]
	}
	c.buf = count.AppendField(c.buf, min(cost, maxRecorded))
}

// shrink takes what was refunded off the newest costs. A cost recorded as the largest may
// have been larger, so it absorbs the rest.
func (c *costHistory) shrink(granted int64) {
	for i := c.len() - 1; i >= 0 && granted > 0; i-- {
		cost := c.cost(i)
		if granted < cost {
			count.PutField(c.buf[c.front+8*i:], cost-granted)
			return
		}
		c.buf = c.buf[:len(c.buf)-8]
		if granted -= cost; cost == maxRecorded {
			return
		}
	}
}

// CostInfo describes a key counted by [CostBasedTokenBucket]; see
// [traffik.Subject.Describe].
type CostInfo struct {
	// BucketInfo describes the bucket; EmptyAt assumes that Refill stays as it is.
	traffik.BucketInfo
	// Refill is the speed of the refill, as a part of the rate.
	Refill PPM
	// Recent are the remembered costs, oldest first, each at most 2^32.
	Recent []int64
}

// Describe implements [traffik.Describer] with a [CostInfo].
func (s CostBasedTokenBucket) Describe(state []byte, d *traffik.Draw) any {
	costs := costHistory{front: costFront}
	k := s.read(state, d, &costs)
	b := s.capacity(d.Rate)
	info := CostInfo{
		BucketInfo: traffik.BucketInfo{Capacity: b, Level: k.level.Used(), Tokens: b - k.level.Used(), EmptyAt: d.Now.Time()},
		Refill:     k.mu,
	}
	if !k.level.Empty() {
		info.EmptyAt = d.Now.Add(k.real(k.level.ResetMicros(k.l))).Time()
	}
	for i := range costs.len() {
		info.Recent = append(info.Recent, costs.cost(i))
	}
	return info
}
