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
// only gifts have fractions of a unit.
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

// given is what a gift may take off.
func given(d traffik.Draw, capacity int64, level *big.Rat) *big.Rat {
	at := givenAt(d)
	grant := frac(-d.Cost)
	if at < int64(d.Now) {
		leaked := new(big.Rat).SetInt(floor(mul(frac(int64(d.Now)-at), perMicro(d.Rate))))
		grant = least(grant, most(frac(0), sub(frac(capacity), leaked)))
	}
	return least(grant, level)
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
			seen.level = sub(seen.level, given(p.draw, capacityOf(p.strategy, p.draw.Rate), seen.level))
		case now >= b.at:
			continue // a look or a denial leaves the bucket alone, or heals its time
		}
		b = seen
	}
	return b
}

func linearOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
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
		gave := given(d, capacity, b.level)
		b.level = sub(b.level, gave)
		a.gave = gave
	}
	if left := room(b.level); left.Sign() > 0 {
		a.dec.Remaining = left.Int64()
	}
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool { return b.drained(b.level, at, d.Rate).Sign() == 0 })
	return a
}
