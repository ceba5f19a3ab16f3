package promises

import (
	"fmt"
	"math/big"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

// capacityOf is the documented default of each parameter.
func capacityOf(s traffik.Strategy, r traffik.Rate) int64 {
	orElse := func(n, def int64) int64 {
		if n == 0 {
			return def
		}
		return n
	}
	switch s := s.(type) {
	case traffik.TokenBucket:
		return orElse(s.Burst, r.Limit())
	case traffik.GCRA:
		return orElse(s.Burst, 1)
	case traffik.LeakyBucket:
		return orElse(s.Capacity, r.Limit())
	case traffik.LeakyBucketWithQueue:
		return orElse(s.Capacity, r.Limit())
	case traffik.TokenBucketWithDebt:
		return min(maxUnits, orElse(s.Burst, r.Limit())+s.MaxDebt)
	case advanced.CostBasedTokenBucket:
		return orElse(s.Burst, r.Limit())
	}
	panic(fmt.Sprintf("no capacity of %T is known", s))
}

// perMicro is the rate in units per microsecond.
func perMicro(r traffik.Rate) *big.Rat { return ratio(r.Limit(), r.Period().Microseconds()) }

// boundOfBucket is B + length*L/P. Rounded down that is the documented one:
// only refunds have fractions of a unit.
func boundOfBucket(s traffik.Strategy, r traffik.Rate, length int64) *big.Rat {
	return add(frac(capacityOf(s, r)), mul(frac(length), perMicro(r)))
}

func horizonOfBucket(s traffik.Strategy, r traffik.Rate) horizon {
	h := ceil(new(big.Rat).Quo(frac(capacityOf(s, r)), perMicro(r)))
	return horizon{h, h}
}

// bucket holds level units at the instant at.
type bucket struct {
	level *big.Rat
	at    int64
}

// seen is b as rate r sees it at now. A level is kept in whole parts of the
// rate's denominator, rounded up when that changes.
func (b bucket) seen(now int64, r traffik.Rate) bucket {
	if b.level.Sign() == 0 {
		return bucket{frac(0), now}
	}
	parts := new(big.Rat).SetInt(perMicro(r).Denom())
	level := new(big.Rat).SetInt(ceil(mul(b.level, parts)))
	level.Quo(level, parts)
	return bucket{b.drained(level, now, r), now}
}

func (b bucket) drained(level *big.Rat, now int64, r traffik.Rate) *big.Rat {
	elapsed := max(0, now-b.at)
	return most(frac(0), sub(level, mul(frac(elapsed), perMicro(r))))
}

// refunded is what a refund takes off the level.
func refunded(s traffik.Strategy, d traffik.Draw, level *big.Rat) *big.Rat {
	if _, queues := s.(traffik.LeakyBucketWithQueue); queues && !leavesTheQueue(d, level) {
		return frac(0)
	}
	return least(level, new(big.Rat).SetInt(held(d)))
}

// held is how many units of the draw that d refunds are in use for certain.
func held(d traffik.Draw) *big.Int {
	now, free, rate := int64(d.Now), int64(d.FreeAt), perMicro(d.Rate)
	left := num(0)
	switch at := givenAt(d); {
	case free <= now:
	case at == now:
		left = floor(mul(frac(free-now), rate))
	default:
		// The lowest of the levels that are free at that microsecond and not before: a
		// level is a whole number of parts.
		left = floor(add(mul(frac(free-now-1), rate), new(big.Rat).SetFrac(num(1), rate.Denom())))
	}
	if free == 0 || free == maxUnits {
		alone := new(big.Int).Sub(num(-d.Cost), ceil(mul(frac(now-givenAt(d)), rate)))
		if alone.Cmp(left) > 0 {
			left = alone
		}
	}
	if left.Cmp(num(-d.Cost)) > 0 {
		left = num(-d.Cost)
	}
	return left
}

// leavesTheQueue reports whether the draw that d refunds waits at its end, and leaves it
// as a whole.
func leavesTheQueue(d traffik.Draw, level *big.Rat) bool {
	micros := func(units *big.Rat) *big.Int { return ceil(new(big.Rat).Quo(units, perMicro(d.Rate))) }
	turn := min(maxUnits, int64(d.TakenAt)+d.Delay.Microseconds())
	end := new(big.Int).Add(num(int64(d.Now)), micros(level))
	return int64(d.Now) < turn && perMicro(d.Rate).Cmp(ratio(1, 2)) <= 0 && d.FreeAt < maxUnits && end.Cmp(num(int64(d.FreeAt))) == 0 &&
		micros(frac(-d.Cost)).Cmp(num(int64(d.FreeAt)-turn)) >= 0
}

// bucketAfter replays all that was ever drawn.
func bucketAfter(past []step) bucket {
	b := bucket{level: frac(0)}
	for _, p := range past {
		now := int64(p.draw.Now)
		seen := b.seen(now, p.draw.Rate)
		switch {
		case p.charged() > 0:
			seen.level = least(frac(maxUnits), add(seen.level, frac(min(p.charged(), maxUnits))))
		case p.draw.Cost < 0:
			seen.level = sub(seen.level, refunded(p.strategy, p.draw, seen.level))
		case now >= b.at:
			continue // a look or a denial leaves the bucket alone, or repairs its time
		}
		b = seen
	}
	return b
}

func bucketOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	capacity := capacityOf(s, d.Rate)
	now := int64(d.Now)
	b := bucketAfter(past).seen(now, d.Rate)
	room := func(level *big.Rat) *big.Int { return new(big.Int).Sub(num(capacity), ceil(level)) }
	adm := admission{limit: capacity, fits: func(at, cost int64) bool {
		return room(b.drained(b.level, at, d.Rate)).Cmp(num(cost)) >= 0
	}}
	var a answer
	a.dec.Limit, a.dec.At = capacity, d.Now
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, capacity)
	if _, queues := s.(traffik.LeakyBucketWithQueue); queues && d.Cost > 0 && a.dec.Allowed {
		a.dec.Delay = resetFrom(now, func(at int64) bool { return b.drained(b.level, at, d.Rate).Sign() == 0 })
	}
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		b.level = least(frac(maxUnits), add(b.level, frac(min(d.Cost, maxUnits))))
	case d.Cost < 0:
		gave := refunded(s, d, b.level)
		b.level = sub(b.level, gave)
		a.gave = gave
	}
	if left := room(b.level); left.Sign() > 0 {
		a.dec.Remaining = left.Int64()
	}
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool { return b.drained(b.level, at, d.Rate).Sign() == 0 })
	return a
}
