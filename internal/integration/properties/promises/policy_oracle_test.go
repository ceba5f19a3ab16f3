package promises

import (
	"math/big"
	"slices"
	"time"
	_ "time/tzdata" // the zones of the tests are those of every machine

	"pgregory.net/rapid"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

// partOf is floor(n * millionths / 10^6).
func partOf(n int64, millionths advanced.PPM) int64 {
	return bounded(floor(mul(frac(n), ratio(int64(millionths), 1_000_000))))
}

func orDefault(p, def advanced.PPM) advanced.PPM {
	if p == 0 {
		return def
	}
	return p
}

// Tiered.

func tierLimit(s traffik.Strategy, r traffik.Rate, class string) int64 {
	tiers := s.(advanced.Tiered)
	for _, name := range []string{class, tiers.Default} {
		if m, ok := tiers.Tiers[name]; ok {
			return max(1, partOf(r.Limit(), m))
		}
	}
	return r.Limit()
}

func tieredOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	return countOracle(past, d, tierLimit(s, d.Rate, d.Class))
}

func boundOfTiers(s traffik.Strategy, r traffik.Rate, length int64) *big.Rat {
	most := max(tierLimit(s, r, ""), tierLimit(s, r, "free"), tierLimit(s, r, "pro"))
	return mul(frac(most), touched(length, r.Period().Microseconds()))
}

// TimeOfDay.

var zones = func() (all []*time.Location) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			panic(err)
		}
		all = append(all, zone)
	}
	return append(all, nil)
}()

func someTimeOfDay(t *rapid.T, _ traffik.Rate) traffik.Strategy {
	cuts := rapid.SliceOfNDistinct(rapid.IntRange(0, 23), 1, 4, rapid.ID[int]).Draw(t, "cuts")
	slices.Sort(cuts)
	s := advanced.TimeOfDay{Location: rapid.SampledFrom(zones).Draw(t, "zone")}
	for i, from := range cuts {
		factor := rapid.SampledFrom([]int64{1, 100_000, 333_333, 500_000, 1_000_000, 2_000_000}).Draw(t, "factor")
		s.Hours = append(s.Hours, advanced.Hours{From: from, To: cuts[(i+1)%len(cuts)], Factor: advanced.PPM(factor)})
	}
	return s
}

// beforeClockChanges are instants some hours before the clocks of Berlin, New York
// and Lord Howe Island change, to summer time and back, and before the end of a leap
// year, about which time.Time.ZoneBounds is mistaken.
func beforeClockChanges() (starts []int64) {
	for _, change := range []time.Time{
		time.Date(2026, time.March, 29, 1, 0, 0, 0, time.UTC), time.Date(2026, time.October, 25, 1, 0, 0, 0, time.UTC),
		time.Date(2026, time.March, 8, 7, 0, 0, 0, time.UTC), time.Date(2026, time.November, 1, 6, 0, 0, 0, time.UTC),
		time.Date(2026, time.October, 3, 15, 30, 0, 0, time.UTC), time.Date(2026, time.April, 4, 15, 0, 0, 0, time.UTC),
		time.Date(2028, time.December, 31, 4, 0, 0, 0, time.UTC),
	} {
		starts = append(starts, change.Add(-3*time.Hour).UnixMicro())
	}
	return starts
}

func limitOfHour(s traffik.Strategy, r traffik.Rate, at int64) int64 {
	tod := s.(advanced.TimeOfDay)
	zone := tod.Location
	if zone == nil {
		zone = time.UTC
	}
	hour := time.UnixMicro(at).In(zone).Hour()
	for _, h := range tod.Hours {
		for i := range 24 { // walk through the hours, over midnight
			if i > 0 && (h.From+i)%24 == h.To%24 {
				break
			}
			if (h.From+i)%24 == hour {
				return max(1, partOf(r.Limit(), h.Factor))
			}
		}
	}
	panic("an hour is missing")
}

func largestHour(s traffik.Strategy, r traffik.Rate) (most int64) {
	for _, h := range s.(advanced.TimeOfDay).Hours {
		most = max(most, max(1, partOf(r.Limit(), h.Factor)))
	}
	return most
}

func boundOfTimeOfDay(s traffik.Strategy, r traffik.Rate, length int64) *big.Rat {
	return mul(frac(largestHour(s, r)), touched(length, r.Period().Microseconds()))
}

const twoDays = 49 * 3_600_000_000

func horizonOfTimeOfDay(_ traffik.Strategy, r traffik.Rate) horizon {
	p := num(r.Period().Microseconds())
	steady := new(big.Int).Add(p, num(twoDays))
	return horizon{steady, new(big.Int).Add(steady, p)}
}

// timeOfDayOracle tries every quarter of an hour: zones change at one.
func timeOfDayOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	now, p := int64(d.Now), d.Rate.Period().Microseconds()
	limit := limitOfHour(s, d.Rate, now)
	pl, n := countAfter(past).seen(now, p)
	look := d
	if d.Cost > 0 && !d.Force && d.Cost > limit-n {
		look.Cost = 0
	}
	a := countOracle(past, look, limit)
	if look.Cost == d.Cost {
		return a
	}
	a.dec.Allowed, a.dec.RetryAfter = false, traffik.Never
	if d.Cost > largestHour(s, d.Rate) {
		return a
	}
	end := (pl.number + 1) * p
	fits := func(at int64) bool {
		used := n
		if at >= end {
			used = 0
		}
		return at > now && d.Cost <= limitOfHour(s, d.Rate, at)-used
	}
	for _, from := range []int64{now, end} {
		const quarter = 900_000_000
		if fits(from) {
			a.dec.RetryAfter = cutMicros(from - now)
			return a
		}
		for at := (from/quarter + 1) * quarter; at < from+twoDays && (from == end || at < end); at += quarter {
			if fits(at) {
				a.dec.RetryAfter = cutMicros(at - now)
				return a
			}
		}
	}
	panic("no hour has room")
}

func cutMicros(us int64) time.Duration { return time.Duration(min(us, maxUnits)) * time.Microsecond }

// Adaptive.

func adaptiveDefaults(s traffik.Strategy) advanced.Adaptive {
	p := s.(advanced.Adaptive)
	return advanced.Adaptive{
		Threshold: orDefault(p.Threshold, 800_000), Reduction: orDefault(p.Reduction, 500_000),
		Recovery: orDefault(p.Recovery, 100_000), Floor: orDefault(p.Floor, 100_000),
	}
}

func horizonOfAdaptive(s traffik.Strategy, r traffik.Rate) horizon {
	p := adaptiveDefaults(s)
	windows := ceil(ratio(int64(1_000_000-p.Floor), int64(p.Recovery)))
	windows.Add(windows, num(1))
	period := num(r.Period().Microseconds())
	steady := new(big.Int).Mul(windows, period)
	return horizon{steady, new(big.Int).Add(steady, period)}
}

// loaded is n units of a window with the factor f, written at the instant at.
type loaded struct {
	at, n int64
	f     advanced.PPM
}

func (l loaded) empty() bool { return l.n == 0 && l.f == 1_000_000 }

func factorLimit(r traffik.Rate, f advanced.PPM) int64 { return max(1, partOf(r.Limit(), f)) }

// seen lives through the first window that ended since, and the idle ones after
// it, each of which adds the recovery.
func (l loaded) seen(s traffik.Strategy, r traffik.Rate, now int64) (placed, loaded) {
	period, p := r.Period().Microseconds(), adaptiveDefaults(s)
	l.f = max(l.f, p.Floor)
	if l.empty() {
		return placed{number: now / period}, loaded{now, 0, 1_000_000}
	}
	pl := place(l.at, now, period)
	if idle := num(pl.rolled - 1); idle.Sign() >= 0 {
		f := num(int64(l.f))
		if l.n > partOf(factorLimit(r, l.f), p.Threshold) {
			f = num(max(int64(p.Floor), partOf(int64(l.f), p.Reduction)))
		} else {
			f.Add(f, num(int64(p.Recovery)))
		}
		f.Add(f, idle.Mul(idle, num(int64(p.Recovery))))
		if f.Cmp(num(1_000_000)) > 0 {
			f = num(1_000_000)
		}
		l.n, l.f = 0, advanced.PPM(f.Int64())
	}
	l.at = pl.at(now, period)
	return pl, l
}

func adaptiveOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	l := loaded{0, 0, 1_000_000}
	for _, st := range past {
		period := st.draw.Rate.Period().Microseconds()
		pl, seen := l.seen(st.strategy, st.draw.Rate, int64(st.draw.Now))
		switch {
		case st.charged() > 0:
			seen.n = bounded(new(big.Int).Add(num(seen.n), num(st.charged())))
		case st.draw.Cost < 0:
			if pl.givenIn(st.draw, period) == pl.number {
				seen.n = max(0, seen.n+st.draw.Cost)
			}
		case !pl.ahead:
			continue
		}
		l = seen
	}
	now, period := int64(d.Now), d.Rate.Period().Microseconds()
	pl, l := l.seen(s, d.Rate, now)
	limit := factorLimit(d.Rate, l.f)
	adm := admission{fits: func(at, cost int64) bool {
		_, later := l.seen(s, d.Rate, at)
		return new(big.Int).Add(num(later.n), num(cost)).Cmp(num(factorLimit(d.Rate, later.f))) <= 0
	}}
	var a answer
	a.dec.Limit, a.dec.At = limit, traffik.Instant(pl.at(now, period))
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, d.Rate.Limit())
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		l.n = bounded(new(big.Int).Add(num(l.n), num(d.Cost)))
	case d.Cost < 0 && pl.givenIn(d, period) == pl.number:
		left := max(0, l.n+d.Cost)
		a.gave, l.n = frac(l.n-left), left
	}
	a.dec.Remaining = max(0, limit-l.n)
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool {
		_, later := l.seen(s, d.Rate, at)
		return later.empty()
	})
	return a
}

// Priority.

var levelNames = []string{"LOW", "NORMAL", "HIGH", "CRITICAL"}

func levelNumber(class string) int {
	if i := slices.Index(levelNames, class); i >= 0 {
		return i
	}
	return 1
}

func priorityOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	p := s.(advanced.Priority)
	shares := []advanced.PPM{orDefault(p.Low, 500_000), orDefault(p.Normal, 750_000), orDefault(p.High, 900_000), 1_000_000}
	// Each level has a separate count, but all are written together.
	var at int64
	var counts [4]int64
	seen := func(now, period int64) (pl placed, n [4]int64) {
		if counts == [4]int64{} {
			return placed{number: now / period}, counts
		}
		if pl = place(at, now, period); pl.rolled > 0 {
			return pl, [4]int64{}
		}
		return pl, counts
	}
	give := func(pl placed, n *[4]int64, d traffik.Draw) (gave *big.Rat) {
		if pl.givenIn(d, d.Rate.Period().Microseconds()) != pl.number {
			return nil
		}
		level := levelNumber(d.Class)
		left := max(0, n[level]+d.Cost)
		gave, n[level] = frac(n[level]-left), left
		return gave
	}
	for _, st := range past {
		now, period := int64(st.draw.Now), st.draw.Rate.Period().Microseconds()
		pl, n := seen(now, period)
		level := levelNumber(st.draw.Class)
		switch {
		case st.charged() > 0:
			n[level] = bounded(new(big.Int).Add(num(n[level]), num(st.charged())))
		case st.draw.Cost < 0:
			give(pl, &n, st.draw)
		case !pl.ahead:
			continue
		}
		counts, at = n, pl.at(now, period)
	}
	now, period := int64(d.Now), d.Rate.Period().Microseconds()
	pl, n := seen(now, period)
	counts, at = n, pl.at(now, period)
	level := levelNumber(d.Class)
	room := func(n [4]int64) *big.Int {
		least := num(maxUnits)
		for k := level; k < 4; k++ {
			left := num(max(1, partOf(d.Rate.Limit(), shares[k])))
			for _, used := range n[:k+1] {
				left.Sub(left, num(used))
			}
			if left.Cmp(least) < 0 {
				least = left
			}
		}
		return least
	}
	limit := max(1, partOf(d.Rate.Limit(), shares[level]))
	adm := admission{fits: func(at, cost int64) bool {
		_, later := seen(at, period)
		return num(cost).Cmp(room(later)) <= 0
	}}
	var a answer
	a.dec.Limit, a.dec.At = limit, traffik.Instant(at)
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, limit)
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		counts[level] = bounded(new(big.Int).Add(num(counts[level]), num(d.Cost)))
	case d.Cost < 0:
		a.gave = give(pl, &counts, d)
	}
	if left := room(counts); left.Sign() > 0 {
		a.dec.Remaining = left.Int64()
	}
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool {
		_, later := seen(at, period)
		return later == [4]int64{}
	})
	return a
}

// QuotaWithRollover.

// carries is what a window with n units used leaves to the next.
func carries(s traffik.Strategy, r traffik.Rate, n int64) int64 {
	p := s.(advanced.QuotaWithRollover)
	most := p.Cap
	if most == 0 {
		most = r.Limit()
	}
	return min(most, maxUnits-r.Limit(), partOf(max(0, r.Limit()-n), orDefault(p.Share, 500_000)))
}

func boundOfRollover(s traffik.Strategy, r traffik.Rate, length int64) *big.Rat {
	return add(boundOfWindows(s, r, length), frac(carries(s, r, 0)))
}

type rolled struct {
	at, n, carry int64
	known        bool
}

func (q rolled) seen(s traffik.Strategy, r traffik.Rate, now int64) (placed, rolled) {
	period, most := r.Period().Microseconds(), carries(s, r, 0)
	if !q.known || q.n == 0 && q.carry >= most {
		return placed{number: now / period}, rolled{now, 0, most, true}
	}
	q.carry = min(q.carry, most)
	pl := place(q.at, now, period)
	for range min(2, pl.rolled) {
		q.n, q.carry = 0, carries(s, r, q.n)
	}
	q.at = pl.at(now, period)
	return pl, q
}

func rolloverOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	var q rolled
	for _, st := range past {
		pl, seen := q.seen(st.strategy, st.draw.Rate, int64(st.draw.Now))
		switch {
		case st.charged() > 0:
			seen.n = bounded(new(big.Int).Add(num(seen.n), num(st.charged())))
		case st.draw.Cost < 0:
			if pl.givenIn(st.draw, st.draw.Rate.Period().Microseconds()) == pl.number {
				seen.n = max(0, seen.n+st.draw.Cost)
			}
		case !pl.ahead:
			continue
		}
		// A state equal to untouched is none.
		seen.known = seen.n > 0 || seen.carry != carries(st.strategy, st.draw.Rate, 0)
		q = seen
	}
	now, period := int64(d.Now), d.Rate.Period().Microseconds()
	pl, q := q.seen(s, d.Rate, now)
	limit := d.Rate.Limit() + q.carry
	adm := admission{fits: func(at, cost int64) bool {
		_, later := q.seen(s, d.Rate, at)
		return new(big.Int).Add(num(later.n), num(cost)).Cmp(num(d.Rate.Limit()+later.carry)) <= 0
	}}
	var a answer
	a.dec.Limit, a.dec.At = limit, traffik.Instant(pl.at(now, period))
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, d.Rate.Limit()+carries(s, d.Rate, 0))
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		q.n = bounded(new(big.Int).Add(num(q.n), num(d.Cost)))
	case d.Cost < 0 && pl.givenIn(d, period) == pl.number:
		left := max(0, q.n+d.Cost)
		a.gave, q.n = frac(q.n-left), left
	}
	a.dec.Remaining = max(0, limit-q.n)
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool {
		_, later := q.seen(s, d.Rate, at)
		return later.n == 0 && later.carry == carries(s, d.Rate, 0)
	})
	return a
}

// CostBasedTokenBucket.

func horizonOfCosts(s traffik.Strategy, r traffik.Rate) horizon {
	floorOf := orDefault(s.(advanced.CostBasedTokenBucket).Floor, 100_000)
	slow := mul(perMicro(r), ratio(int64(floorOf), 1_000_000))
	h := ceil(new(big.Rat).Quo(frac(capacityOf(s, r)), slow))
	h.Add(h, ceil(ratio(1_000_000, int64(floorOf)))) // the slow clock shows whole microseconds
	return horizon{h, h}
}

// costed is a bucket on a slow clock, with the costs that slow it down.
type costed struct {
	bucket
	part  *big.Rat // of the slow clock's microsecond
	costs []int64
}

// speed of the slow clock, and the costs that count for it.
func (c costed) speed(s traffik.Strategy) (*big.Rat, []int64) {
	p := s.(advanced.CostBasedTokenBucket)
	window := p.Window
	if window == 0 {
		window = 16
	}
	costs := c.costs[max(0, len(c.costs)-window):]
	if len(costs) == 0 {
		return frac(1), costs
	}
	sum := num(0)
	for _, cost := range costs {
		sum.Add(sum, num(cost))
	}
	mean := new(big.Rat).SetFrac(sum, num(int64(len(costs))))
	millionths := floor(new(big.Rat).Quo(frac(1_000_000), mean)).Int64()
	millionths = min(1_000_000, max(int64(orDefault(p.Floor, 100_000)), millionths))
	return ratio(millionths, 1_000_000), costs
}

func (c costed) seen(s traffik.Strategy, r traffik.Rate, now int64) costed {
	if c.level.Sign() == 0 {
		return costed{bucket: bucket{frac(0), now}, part: frac(0)}
	}
	var speed *big.Rat
	speed, c.costs = c.speed(s)
	shown := add(mul(frac(max(0, now-c.at)), speed), c.part)
	whole := floor(shown)
	// The bucket sees as many microseconds as the slow clock has shown.
	c.bucket = bucket{c.level, 0}.seen(whole.Int64(), r)
	c.part, c.at = sub(shown, new(big.Rat).SetInt(whole)), now
	if c.level.Sign() == 0 {
		c.part, c.costs = frac(0), nil
	}
	return c
}

func (c costed) charged(cost int64) costed {
	c.level = least(frac(maxUnits), add(c.level, frac(min(cost, maxUnits))))
	c.costs = append(slices.Clone(c.costs), min(cost, 1<<32))
	return c
}

// held is how many units of the draw that d refunds are in use for certain, on the
// bucket that c was when it was last written. c.seen is what it is now.
func (c costed) held(s traffik.Strategy, d traffik.Draw) *big.Int {
	now, at, free := int64(d.Now), givenAt(d), int64(d.FreeAt)
	known, seen, wrote := free > 0 && free < maxUnits, c.seen(s, d.Rate, now), min(c.at, now)
	switch {
	case known && free <= now:
		return num(0)
	case at == now:
		return num(-d.Cost)
	case seen.level.Sign() == 0:
		return num(0)
	case known && at == wrote && resetFrom(now, func(later int64) bool { return c.seen(s, d.Rate, later).level.Sign() == 0 }).Microseconds() == free-now:
		return smaller(num(-d.Cost), floor(seen.level))
	}
	// In microseconds of the slow clock, which stop at 2^53.
	had := smaller(num(maxUnits), floor(new(big.Rat).Quo(frac(-d.Cost), perMicro(d.Rate))))
	if slow := floor(mul(frac(free-at-1), ratio(int64(orDefault(s.(advanced.CostBasedTokenBucket).Floor, 100_000)), 1_000_000))); slow.Cmp(had) > 0 {
		had = slow
	}
	speed, _ := c.speed(s)
	gone := ceil(mul(frac(now-max(wrote, at)), speed))
	gone.Add(gone, num(max(0, wrote-at)))
	left := new(big.Int).Sub(had, gone)
	if left.Sign() <= 0 {
		return num(0)
	}
	return smaller(num(-d.Cost), floor(mul(new(big.Rat).SetInt(left), perMicro(d.Rate))))
}

func smaller(a, b *big.Int) *big.Int {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

// refunded is what c, as it was when it was last written, is after the refund d.
func (c costed) refunded(s traffik.Strategy, d traffik.Draw) (costed, *big.Rat) {
	units := c.held(s, d)
	c = c.seen(s, d.Rate, int64(d.Now))
	gave := least(c.level, new(big.Rat).SetInt(units))
	c.level = sub(c.level, gave)
	c.costs = slices.Clone(c.costs)
	left := bounded(units)
	for i := len(c.costs) - 1; i >= 0 && left > 0; i-- {
		took := min(left, c.costs[i])
		most := c.costs[i] == 1<<32
		if c.costs[i] -= took; c.costs[i] > 0 {
			break
		}
		c.costs = c.costs[:i]
		if left -= took; most {
			break
		}
	}
	return c, gave
}

func costOracle(s traffik.Strategy, past []step, d traffik.Draw) answer {
	c := costed{bucket: bucket{level: frac(0)}}
	for _, st := range past {
		now := int64(st.draw.Now)
		seen := c.seen(st.strategy, st.draw.Rate, now)
		switch {
		case st.charged() > 0:
			seen = seen.charged(st.charged())
		case st.draw.Cost < 0:
			seen, _ = c.refunded(st.strategy, st.draw)
		case now >= c.at:
			continue
		}
		_, seen.costs = seen.speed(st.strategy)
		c = seen
	}
	now, capacity := int64(d.Now), capacityOf(s, d.Rate)
	wrote := c
	c = c.seen(s, d.Rate, now)
	room := func(c costed) *big.Int { return new(big.Int).Sub(num(capacity), ceil(c.level)) }
	adm := admission{fits: func(at, cost int64) bool { return room(c.seen(s, d.Rate, at)).Cmp(num(cost)) >= 0 }}
	var a answer
	a.dec.Limit, a.dec.At = capacity, d.Now
	a.dec.Allowed, a.dec.RetryAfter = adm.decide(d, capacity)
	switch {
	case d.Cost > 0 && a.dec.Allowed:
		c = c.charged(d.Cost)
	case d.Cost < 0:
		c, a.gave = wrote.refunded(s, d)
	}
	if left := room(c); left.Sign() > 0 {
		a.dec.Remaining = left.Int64()
	}
	a.dec.ResetAfter = resetFrom(now, func(at int64) bool { return c.seen(s, d.Rate, at).level.Sign() == 0 })
	return a
}
