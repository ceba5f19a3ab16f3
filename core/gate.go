package traffik

import (
	"context"
	"fmt"
	"slices"
)

// Limiter is a [Throttle] or a [Gate], and nothing else. Adapters put one before a
// handler.
type Limiter interface {
	// Admit decides r once: it charges every throttle, or none if one denies. r remembers
	// the decision. A throttle that has already admitted or denied this request (see
	// [Request.Continue]) repeats its result. It is asked again if it was not charged
	// because another denied or an error came first, or if its charge was refunded. Errors
	// are those of [Subject.Hit].
	Admit(ctx context.Context, r *Request) (Verdict, error)

	members() []*Throttle
}

// Gate joins several throttles: all are charged or none, with one call of each distinct
// backend, in the order of the arguments. On one backend that is atomic. With several,
// a denial by a later backend refunds the charges on the earlier ones, and others can see
// those charges meanwhile.
//
// When a store fails, the strictest policy of its throttles applies to all of them:
// Propagate before FailClosed before FailOpen. A Gate is safe for concurrent use.
type Gate struct {
	throttles []*Throttle
}

// All joins throttles and gates. A throttle that is given twice counts once. All panics if
// it is given no limiter, a nil one, or two throttles with one uid that would share their
// counters.
func All(limiters ...Limiter) *Gate {
	if len(limiters) == 0 {
		panic("traffik: All() of no limiters; give at least one throttle")
	}
	g := new(Gate)
	for _, limiter := range limiters {
		if isNil(limiter) {
			panic("traffik: All() of a nil limiter; check the error that New returned")
		}
		for _, t := range limiter.members() {
			g.add(t)
		}
	}
	if len(g.throttles) == 0 {
		panic("traffik: All() of gates without a throttle; make them with All")
	}
	return g
}

func (g *Gate) add(t *Throttle) {
	if slices.Contains(g.throttles, t) {
		return
	}
	if t.settings.Load() == nil {
		panic("traffik: All() of the zero Throttle; make one with New")
	}
	for _, other := range g.throttles {
		if a, b := t.settings.Load(), other.settings.Load(); a.scope == b.scope && a.backend == b.backend {
			panic(fmt.Sprintf("traffik: All() of two throttles with the uid %q, which share their counters; give each its own uid", a.uid))
		}
	}
	g.throttles = append(g.throttles, t)
}

// members returns nothing for a nil or zero Gate.
func (g *Gate) members() []*Throttle {
	if g == nil {
		return nil
	}
	return g.throttles
}

func (t *Throttle) members() []*Throttle { return []*Throttle{t} }

// Admit implements [Limiter].
func (t *Throttle) Admit(ctx context.Context, r *Request) (Verdict, error) {
	if _, err := t.use(ctx); err != nil {
		return Verdict{}, err
	}
	return r.admit(ctx, []*Throttle{t})
}

// Admit implements [Limiter].
func (g *Gate) Admit(ctx context.Context, r *Request) (Verdict, error) {
	if err := g.misused(ctx); err != nil {
		return Verdict{}, err
	}
	return r.admit(ctx, g.throttles)
}

func (g *Gate) misused(ctx context.Context) error {
	switch {
	case len(g.members()) == 0:
		return errNoGate
	case ctx == nil:
		return errNoContext
	}
	return nil
}

// admit charges those throttles that have not decided r yet, all or none, and repeats the
// results of the others without their charge and delay: those belong to the first use,
// which refunds and holds once. A use inside a function that another use asks for its
// identity, rate or cost is not remembered, and neither is one that ends with an error.
func (r *Request) admit(ctx context.Context, throttles []*Throttle) (v Verdict, err error) {
	if r == nil {
		r = new(Request)
	}
	memo := r.memo()
	var repeated []Result
	if memo.used {
		if repeated, throttles = memo.repeat(throttles); len(repeated) > 0 {
			if v = verdictOf(repeated...); len(throttles) == 0 || !v.Allowed() {
				return v, nil
			}
		}
	}
	v.rec = &memo.first
	if memo.used {
		v.rec = new(record)
	}
	memo.used = true
	nested := memo.deciding
	if !nested {
		memo.deciding = true
		defer func() { memo.deciding = false }() // a function of the application may panic
	}
	err = v.rec.take(ctx, r, "", throttles, defaultCost, false)
	if v.n = v.rec.n; err == nil && !nested {
		memo.add(v)
	}
	if len(repeated) > 0 {
		return verdictOf(append(repeated, v.all()...)...), err
	}
	return v, err
}

// For returns the gate as it applies to a request.
func (g *Gate) For(r *Request) GateSubject { return GateSubject{gate: g, request: orEmpty(r)} }

// Key returns the gate as it applies to an identity that the application names;
// see [Throttle.Key].
func (g *Gate) Key(identity string) GateSubject { return GateSubject{gate: g, id: identity} }

// GateSubject is a [Gate] applied to one caller, a request or a plain key; see [Subject].
type GateSubject struct {
	gate    *Gate
	request *Request
	id      string
}

// Hit takes the cost of each throttle, or nothing if one of them denies. Errors are those
// of [Subject.Hit].
func (s GateSubject) Hit(ctx context.Context) (v Verdict, err error) {
	// Hit is inlined, so the record stays on the stack of a caller that does not keep it.
	var rec record
	err = s.take(ctx, defaultCost, false, &rec)
	return Verdict{rec: &rec, n: rec.n}, err
}

// HitN takes n units of each throttle; see [Subject.HitN].
func (s GateSubject) HitN(ctx context.Context, n int64) (Verdict, error) {
	n, err := units("HitN", n)
	if err != nil {
		return Verdict{}, err
	}
	var rec record
	err = s.take(ctx, n, false, &rec)
	return Verdict{rec: &rec, n: rec.n}, err
}

// Check returns what [GateSubject.HitN] would return, and takes nothing. Each backend is
// asked as if it were the only one, so throttles on backends other than the one that denies
// may show as admitted.
func (s GateSubject) Check(ctx context.Context, n int64) (Verdict, error) {
	n, err := units("Check", n)
	if err != nil {
		return Verdict{}, err
	}
	var rec record
	err = s.take(ctx, n, true, &rec)
	return Verdict{rec: &rec, n: rec.n}, err
}

// Stat returns the state of all counters, with one call of each backend, and takes nothing.
func (s GateSubject) Stat(ctx context.Context) (v Verdict, err error) {
	var rec record
	err = s.take(ctx, 0, true, &rec)
	return Verdict{rec: &rec, n: rec.n}, err
}

// Reset forgets what was counted, throttle by throttle, and stops at the first error; see
// [Subject.Reset].
func (s GateSubject) Reset(ctx context.Context) error {
	throttles := s.gate.members()
	if len(throttles) == 0 {
		return errNoGate
	}
	for _, t := range throttles {
		if err := (Subject{throttle: t, request: s.request, id: s.id}).Reset(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s GateSubject) take(ctx context.Context, units int64, peek bool, rec *record) error {
	if err := s.gate.misused(ctx); err != nil {
		return err
	}
	return rec.take(ctx, s.request, s.id, s.gate.throttles, units, peek)
}

// take takes units of each throttle or nothing, or with peek finds what taking them would
// return.
func (rec *record) take(ctx context.Context, r *Request, id string, throttles []*Throttle, units int64, peek bool) error {
	before := ctx.Err()
	plain := len(throttles) <= len(rec.limits) && throttles[0].settings.Load().plain
	if before == nil && plain && !peek && units != 0 && rec.hit(ctx, r, id, throttles, units) {
		return nil
	}
	results := make([]Result, len(throttles))
	var err error
	if len(throttles) == 1 {
		err = throttles[0].settings.Load().take(ctx, before, r, id, units, peek, &results[0])
	} else {
		err = takeAll(ctx, before, r, id, throttles, units, peek, results)
	}
	var charges []charge // shared by all copies of results that took units
	for i := range results {
		if results[i].fate() == fateTaken {
			if charges == nil {
				charges = make([]charge, len(results))
			}
			results[i].charge = &charges[i]
		}
	}
	rec.keep(results)
	return err
}

// hit is take for plain throttles on one Memory that count one identity, the common case.
// For others it reports false and has done nothing.
func (rec *record) hit(ctx context.Context, r *Request, id string, throttles []*Throttle, units int64) (done bool) {
	var memory *Memory
	for i, t := range throttles {
		set := t.settings.Load()
		if !set.plain || i > 0 && set.memory != memory {
			return false
		}
		memory = set.memory
		if r != nil {
			name, err := set.identity(r)
			if err != nil || i > 0 && name != id {
				return false
			}
			id = name
		}
		rec.limits[i].settings = set
	}
	if memory.closed.Load() || ctx.Err() != nil { // ctx may have ended while the request was read
		return false
	}
	rec.id, rec.units, rec.n = id, max(0, units), len(throttles)
	if len(throttles) > 1 {
		return memory.hitAll(rec)
	}
	l, dec := &rec.limits[0], Decision{}
	if units == defaultCost {
		units = l.settings.cost
	}
	if !memory.hit(id, l.settings.counting, units, &dec) {
		return false
	}
	l.answer(&dec)
	rec.at, rec.denied = dec.At, !dec.Allowed && !l.settings.reportOnly
	return true
}
