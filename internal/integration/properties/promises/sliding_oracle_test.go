package promises

import (
	"math/big"
	"slices"

	traffik "github.com/traffik-go/traffik/core"
)

// boundOfSliding is the limit in each aligned window, and 2L - ceil(L/P) in one
// period laid anywhere, both ends included.
func boundOfSliding(_ traffik.Strategy, r traffik.Rate, length int64) *big.Rat {
	p := r.Period().Microseconds()
	most := boundOfWindows(nil, r, length)
	if 0 < length && length <= p {
		least := new(big.Rat).SetInt(ceil(ratio(r.Limit(), p)))
		return sub(most, least)
	}
	return most
}

// slid is both counts, written at the instant at under the period p.
type slid struct {
	at, p     int64
	cur, prev *big.Int
}

func saturated(a *big.Int) *big.Int { return num(bounded(a)) }

// seen is where the counts are at now under the period p.
func (s slid) seen(now, p int64) (placed, slid) {
	if s.cur == nil || s.cur.Sign() == 0 && s.prev.Sign() == 0 {
		return placed{number: now / p}, slid{now, p, num(0), num(0)}
	}
	cur, prev := s.cur, s.prev
	if p != s.p {
		// All of prev was drawn just before the window that followed it.
		was := floor(ratio(s.at/s.p*s.p-1, p)).Int64()
		switch here := s.at / p; {
		case was < here-1:
			prev = num(0)
		case was == here:
			cur, prev = saturated(new(big.Int).Add(cur, prev)), num(0)
		}
		if cur.Sign() == 0 && prev.Sign() == 0 {
			return placed{number: now / p}, slid{now, p, cur, prev}
		}
	}
	pl := place(s.at, now, p)
	switch {
	case pl.rolled == 1:
		cur, prev = num(0), cur
	case pl.rolled > 1:
		cur, prev = num(0), num(0)
	}
	return pl, slid{pl.at(now, p), p, cur, prev}
}

// used is what counts at now in the window pl.
func (s slid) used(pl placed, now int64) *big.Int {
	elapsed := max(0, now-pl.number*s.p)
	weighted := ceil(mul(new(big.Rat).SetInt(s.prev), ratio(s.p-elapsed, s.p)))
	return weighted.Add(weighted, s.cur)
}

func (s slid) empty() bool { return s.cur.Sign() == 0 && s.prev.Sign() == 0 }

// given is s after a refund, and what it took off.
func (s slid) given(pl placed, d traffik.Draw) (slid, *big.Rat) {
	take := func(n *big.Int) (left *big.Int, gave *big.Rat) {
		left = new(big.Int).Add(n, num(d.Cost))
		if left.Sign() < 0 {
			left = num(0)
		}
		return left, new(big.Rat).SetInt(new(big.Int).Sub(n, left))
	}
	var gave *big.Rat
	switch pl.givenIn(d, s.p) {
	case pl.number:
		s.cur, gave = take(s.cur)
	case pl.number - 1:
		s.prev, gave = take(s.prev)
	}
	return s, gave
}

func slidAfter(past []step) slid {
	var s slid
	for _, st := range past {
		now, p := int64(st.draw.Now), st.draw.Rate.Period().Microseconds()
		pl, seen := s.seen(now, p)
		switch {
		case st.charged() > 0:
			seen.cur = saturated(new(big.Int).Add(seen.cur, num(st.charged())))
		case st.draw.Cost < 0:
			seen, _ = seen.given(pl, st.draw)
		case !pl.ahead:
			continue
		}
		s = seen
	}
	return s
}

func slidingOracle(_ traffik.Strategy, past []step, d traffik.Draw) answer {
	now, p, limit := int64(d.Now), d.Rate.Period().Microseconds(), d.Rate.Limit()
	pl, s := slidAfter(past).seen(now, p)
	adm := admission{fits: func(at, cost int64) bool {
		pl, later := s.seen(at, p)
		used := later.used(pl, at)
		return used.Add(used, num(cost)).Cmp(num(limit)) <= 0
	}}
	var a answer
	a.dec.Limit, a.dec.At = limit, traffik.Instant(pl.at(now, p))
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, limit)
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		s.cur = saturated(new(big.Int).Add(s.cur, num(d.Cost)))
	case d.Cost < 0:
		s, a.gave = s.given(pl, d)
	}
	if left := new(big.Int).Sub(num(limit), s.used(pl, now)); left.Sign() > 0 {
		a.dec.Remaining = left.Int64()
	}
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool {
		_, later := s.seen(at, p)
		return later.empty()
	})
	return a
}

// drawn is an entry of the log.
type drawn struct{ at, units int64 }

func entriesOf(s traffik.Strategy) int {
	if n := s.(traffik.SlidingWindowLog).MaxEntries; n > 0 {
		return n
	}
	return 8192
}

// grain is ceil(P/K).
func grain(s traffik.Strategy, r traffik.Rate) int64 {
	return ceil(ratio(r.Period().Microseconds(), int64(entriesOf(s)))).Int64()
}

// boundOfLog is the limit for each period and the one begun.
func boundOfLog(_ traffik.Strategy, r traffik.Rate, length int64) *big.Rat {
	return mul(frac(r.Limit()), frac(length/r.Period().Microseconds()+1))
}

func horizonOfLog(s traffik.Strategy, r traffik.Rate) horizon {
	h := num(r.Period().Microseconds() + grain(s, r))
	return horizon{h, h}
}

func roundUp(t, to int64) int64 { return min(lastInstant, (t+to-1)/to*to) }

// logSeen is what counts at now, and whether entries were moved to now.
func logSeen(log []drawn, s traffik.Strategy, r traffik.Rate, now int64) (seen []drawn, moved bool) {
	p, q := r.Period().Microseconds(), grain(s, r)
	for _, e := range log {
		if e.at > now+q {
			e.at, moved = now, true
		}
		if now < e.at+p {
			seen = entered(seen, e)
		}
	}
	return seen, moved
}

// entered is log with e, merged with another at its instant.
func entered(log []drawn, e drawn) []drawn {
	e.units = min(e.units, maxUnits)
	for i := range log {
		if log[i].at == e.at {
			log = slices.Clone(log)
			log[i].units = bounded(new(big.Int).Add(num(log[i].units), num(e.units)))
			return log
		}
	}
	log = append(slices.Clone(log), e)
	slices.SortFunc(log, func(a, b drawn) int { return int(a.at - b.at) })
	return log
}

// logWith is log after a charge, and the instant that it is entered under.
func logWith(log []drawn, s traffik.Strategy, r traffik.Rate, now, cost int64) ([]drawn, int64) {
	log = entered(log, drawn{now, cost})
	if len(log) <= entriesOf(s) {
		return log, now
	}
	var rounded []drawn
	q := grain(s, r)
	for _, e := range log {
		rounded = entered(rounded, drawn{roundUp(min(e.at, now), q), e.units})
	}
	return rounded, roundUp(now, q)
}

// logWithout is log after a refund.
func logWithout(log []drawn, s traffik.Strategy, d traffik.Draw) ([]drawn, *big.Rat) {
	at := givenAt(d)
	candidates := []int64{int64(d.TakenAt), at}
	if int64(d.Now) < at+d.Rate.Period().Microseconds() {
		candidates = append(candidates, roundUp(at, grain(s, d.Rate)))
	}
	for _, candidate := range candidates {
		for i, e := range log {
			if e.at != candidate || d.TakenAt == 0 && candidate < at {
				continue
			}
			log = slices.Clone(log)
			gave := min(-d.Cost, e.units)
			if log[i].units -= gave; log[i].units == 0 {
				log = slices.Delete(log, i, i+1)
			}
			return log, frac(gave)
		}
	}
	return log, nil
}

func logOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	var log []drawn
	for _, p := range past {
		seen, moved := logSeen(log, p.strategy, p.draw.Rate, int64(p.draw.Now))
		switch {
		case p.charged() > 0:
			log, _ = logWith(seen, p.strategy, p.draw.Rate, int64(p.draw.Now), p.charged())
		case p.draw.Cost < 0:
			log, _ = logWithout(seen, p.strategy, p.draw)
		case moved:
			log = seen
		}
	}
	now, limit, period := int64(d.Now), d.Rate.Limit(), d.Rate.Period().Microseconds()
	log, _ = logSeen(log, s, d.Rate, now)
	used := func(at int64) *big.Int {
		sum := num(0)
		for _, e := range log {
			if at < e.at+period {
				sum.Add(sum, num(e.units))
			}
		}
		return sum
	}
	adm := admission{fits: func(at, cost int64) bool {
		sum := used(at)
		return sum.Add(sum, num(cost)).Cmp(num(limit)) <= 0
	}}
	var a answer
	a.dec.Limit, a.dec.At = limit, d.Now
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, limit)
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		var at int64
		log, at = logWith(log, s, d.Rate, now, d.Cost)
		a.dec.At = traffik.Instant(at)
	case d.Cost < 0:
		log, a.gave = logWithout(log, s, d)
	}
	if left := new(big.Int).Sub(num(limit), used(now)); left.Sign() > 0 {
		a.dec.Remaining = left.Int64()
	}
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool { return used(at).Sign() == 0 })
	return a
}
