package promises

import (
	"math/big"

	traffik "github.com/traffik-go/traffik/core"
)

// boundOfWindows is the limit for each window that an interval of length can
// touch.
func boundOfWindows(_ traffik.Strategy, r traffik.Rate, length int64) *big.Rat {
	return mul(frac(r.Limit()), touched(length, r.Period().Microseconds()))
}

// touched is how many windows of p microseconds can have an instant in an
// interval from a to a+length: the one of a, and one more for each period begun
// after it.
func touched(length, p int64) *big.Rat {
	n := new(big.Rat).SetInt(ceil(ratio(length, p)))
	return n.Add(n, frac(1))
}

// horizonOfWindows is so many periods, and one more after a step back.
func horizonOfWindows(periods int64) func(traffik.Strategy, traffik.Rate) horizon {
	return func(_ traffik.Strategy, r traffik.Rate) horizon {
		p := num(r.Period().Microseconds())
		return horizon{
			steady:  new(big.Int).Mul(p, num(periods)),
			stepped: new(big.Int).Mul(p, num(periods+1)),
		}
	}
}

// placed is where a stored time lies, seen at now under the period p: the
// number of the window that counts, since 1970, and of those begun since.
type placed struct {
	number, rolled int64
	ahead          bool // further than one window: to be repaired
}

func place(stored, now, p int64) placed {
	then, today := stored/p, now/p
	switch {
	case then <= today:
		return placed{number: today, rolled: today - then}
	case then == today+1:
		return placed{number: then}
	}
	return placed{number: today + 1, ahead: true}
}

// at is the instant under which a draw at now is recorded.
func (pl placed) at(now, p int64) int64 { return max(now, pl.number*p) }

// givenIn is the number of the window whose units a refund restores.
func (pl placed) givenIn(d traffik.Draw, p int64) int64 {
	if d.TakenAt == 0 || d.TakenAt > d.Now {
		return pl.number // now is counted there
	}
	return int64(d.TakenAt) / p
}

// counted is n units, written at the instant at.
type counted struct{ at, n int64 }

func (c counted) seen(now, p int64) (placed, int64) {
	if c.n == 0 {
		return placed{number: now / p}, 0
	}
	pl := place(c.at, now, p)
	if pl.rolled > 0 {
		return pl, 0
	}
	return pl, c.n
}

func countAfter(past []step) counted {
	var c counted
	for _, s := range past {
		now, p := int64(s.draw.Now), s.draw.Rate.Period().Microseconds()
		pl, n := c.seen(now, p)
		switch {
		case s.charged() > 0:
			n = bounded(new(big.Int).Add(num(n), num(s.charged())))
		case s.draw.Cost < 0:
			if pl.givenIn(s.draw, p) == pl.number {
				n = max(0, n+s.draw.Cost)
			}
		case !pl.ahead:
			continue
		}
		c = counted{pl.at(now, p), n}
	}
	return c
}

func fixedOracle(_ traffik.Strategy, past []step, d traffik.Draw) answer {
	return countOracle(past, d, d.Rate.Limit())
}

// countOracle decides by one count per window with the given limit.
func countOracle(past []step, d traffik.Draw, limit int64) answer {
	now, p := int64(d.Now), d.Rate.Period().Microseconds()
	c := countAfter(past)
	pl, n := c.seen(now, p)
	c = counted{pl.at(now, p), n} // seen again later, as if repaired
	adm := admission{limit: limit, fits: func(at, cost int64) bool {
		_, used := c.seen(at, p)
		return new(big.Int).Add(num(used), num(cost)).Cmp(num(limit)) <= 0
	}}
	var a answer
	a.dec.Limit, a.dec.At = limit, traffik.Instant(pl.at(now, p))
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, limit)
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		c.n = bounded(new(big.Int).Add(num(n), num(d.Cost)))
	case d.Cost < 0 && pl.givenIn(d, p) == pl.number:
		c.n = max(0, n+d.Cost)
		a.gave = frac(n - c.n)
	}
	a.dec.Remaining = max(0, limit-c.n)
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool { _, used := c.seen(at, p); return used == 0 })
	return a
}
