package traffik

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Limiter is what an adapter puts before a handler: a [Throttle] or a [Gate],
// and nothing else.
type Limiter interface {
	// Admit judges r once: charges every throttle, or none if one denies.
	// A throttle that has already admitted or denied this request (see
	// [Request.Continue]) is not asked again, and its result is repeated; one
	// whose charge was not made or not kept, because another denied or an error
	// came first, is. What was decided is remembered in r. Errors are those of
	// [Subject.Hit].
	Admit(ctx context.Context, r *Request) (Verdict, error)

	members() []*Throttle
}

// Gate joins several throttles over one request: all are charged or none, with
// one call of each distinct backend, in the order of the arguments. On one
// backend that is atomic. With several, a denial by a later one gives the
// charges of the earlier ones back; in between others can see them.
//
// When the store of one throttle fails, Propagate goes before FailClosed, and
// that before FailOpen. A Gate is safe for concurrent use.
type Gate struct {
	throttles []*Throttle
}

// All joins throttles and gates. It panics if it is given none, a nil one, or
// two throttles of one uid that would share their counters: each limit needs a
// name of its own. One throttle given twice counts once.
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
	set := t.loaded()
	if err := set.misused(ctx); err != nil {
		return Verdict{}, err
	}
	r = orEmpty(r)
	known := r.memo()
	if res, ok := known.result(t); ok {
		return Verdict{results: []Result{res}}, nil
	}
	res := known.grow(t)
	err := errUnfinished
	defer func() { known.end(res, err) }()
	err = set.drawOne(ctx, r, "", defaultCost, false, &res[0])
	return Verdict{results: res}, err
}

// Admit implements [Limiter].
func (g *Gate) Admit(ctx context.Context, r *Request) (Verdict, error) {
	if len(g.members()) == 0 {
		return Verdict{}, errNoGate
	}
	if ctx == nil {
		return Verdict{}, errNoContext
	}
	r = orEmpty(r)
	known := r.memo()
	for _, t := range g.throttles {
		if _, ok := known.result(t); ok {
			return g.admitRest(ctx, r)
		}
	}
	return known.draw(ctx, r, g.throttles)
}

// admitRest judges the throttles that were not used on this request before,
// and repeats the results of the others.
func (g *Gate) admitRest(ctx context.Context, r *Request) (Verdict, error) {
	known := r.memo()
	var throttles []*Throttle
	var results []Result
	for _, t := range g.throttles {
		if res, ok := known.result(t); ok {
			results = append(results, res)
		} else {
			throttles = append(throttles, t)
		}
	}
	if v := (Verdict{results: results}); len(throttles) == 0 || !v.Allowed() {
		return v, nil
	}
	rest, err := known.draw(ctx, r, throttles)
	return Verdict{results: append(results, rest.results...)}, err
}

// draw charges throttles that have not decided on r yet, all or none.
func (a *requestMemo) draw(ctx context.Context, r *Request, throttles []*Throttle) (Verdict, error) {
	results := a.grow(throttles...)
	err := errUnfinished
	defer func() { a.end(results, err) }()
	err = takeAll(ctx, r, "", throttles, defaultCost, false, results)
	return Verdict{results: results}, err
}

// errUnfinished stands for the error of a use until it has ended: a function of
// the application may panic.
var errUnfinished = errors.New("traffik: not finished")

// result is what t decided on this request before, if that stands. Charge and
// delay belong to the first use: given back once, held once.
func (a *requestMemo) result(t *Throttle) (Result, bool) {
	for i := range a.verdict.results {
		if res := &a.verdict.results[i]; res.of(t) && res.stands() {
			repeated := *res
			repeated.cost, repeated.Delay = 0, 0
			return repeated, true
		}
	}
	return Result{}, false
}

// grow makes room for the results of throttles, in place of earlier ones that
// did not stand, and returns it until end is called. A use from within a
// function that is asked for the identity, rate or cost of another use is not
// remembered.
func (a *requestMemo) grow(throttles ...*Throttle) []Result {
	if a.deciding {
		return make([]Result, len(throttles))
	}
	a.deciding = true
	if a.verdict.results == nil {
		a.verdict.results = a.first[:0]
	}
	a.forget(throttles)
	start, n := len(a.verdict.results), len(throttles)
	a.verdict.results = append(a.verdict.results, make([]Result, n)...)
	return a.verdict.results[start : start+n : start+n]
}

// forget drops the results of throttles, without a change to verdicts that were
// handed out.
func (a *requestMemo) forget(throttles []*Throttle) {
	dropped := func(res Result) bool {
		return slices.ContainsFunc(throttles, res.of)
	}
	if slices.ContainsFunc(a.verdict.results, dropped) {
		a.verdict.results = slices.DeleteFunc(slices.Clone(a.verdict.results), dropped)
	}
}

// end ends the use for which grow returned results. An error left no answer,
// and takes their room back.
func (a *requestMemo) end(results []Result, err error) {
	keep := len(a.verdict.results) - len(results)
	if keep < 0 || &a.verdict.results[keep] != &results[0] {
		return // of a use that is not remembered
	}
	a.deciding = false
	if err != nil {
		a.verdict.results = a.verdict.results[:keep:keep] // results stay with who holds them
		return
	}
	for i := range results {
		if res := &results[i]; res.charge == nil && res.took() {
			res.charge = a.newCharge()
		}
	}
}

func (a *requestMemo) newCharge() *charge {
	if int(a.charges) == len(a.ofFirst) {
		return new(charge)
	}
	a.charges++
	return &a.ofFirst[a.charges-1]
}

// For returns the gate as it applies to a request.
func (g *Gate) For(r *Request) GateSubject { return GateSubject{gate: g, request: orEmpty(r)} }

// Key returns the gate as it applies to an identity that the application names;
// see [Throttle.Key].
func (g *Gate) Key(identity string) GateSubject { return GateSubject{gate: g, id: identity} }

// GateSubject is a [Gate] as it applies to one caller, as [Subject] is for a
// throttle.
type GateSubject struct {
	gate    *Gate
	request *Request
	id      string
}

// Hit takes the cost of each throttle, or nothing if one of them denies.
// Errors are those of [Subject.Hit].
func (s GateSubject) Hit(ctx context.Context) (Verdict, error) {
	return s.draw(ctx, defaultCost, false)
}

// HitN takes n units of each throttle; see [Subject.HitN].
func (s GateSubject) HitN(ctx context.Context, n int64) (Verdict, error) {
	if n < 0 {
		return Verdict{}, negativeUnits("HitN", n)
	}
	return s.draw(ctx, n, false)
}

// Check tells whether [GateSubject.HitN] would admit, and how each throttle stands; it
// takes nothing. Throttles on other backends than the one that denies are looked at
// as if asked alone.
func (s GateSubject) Check(ctx context.Context, n int64) (Verdict, error) {
	if n < 0 {
		return Verdict{}, negativeUnits("Check", n)
	}
	return s.draw(ctx, n, true)
}

// Stat tells how all counters stand, with one call of each backend, and takes
// nothing.
func (s GateSubject) Stat(ctx context.Context) (Verdict, error) {
	return s.draw(ctx, 0, true)
}

// Reset forgets what was counted, throttle by throttle. It stops at the first
// error. As with [Subject.Reset], a later refund of a draw made before it may lower what
// was drawn since, never below zero.
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

func (s GateSubject) draw(ctx context.Context, units int64, peek bool) (Verdict, error) {
	throttles := s.gate.members()
	if len(throttles) == 0 {
		return Verdict{}, errNoGate
	}
	results := make([]Result, len(throttles))
	err := takeAll(ctx, s.request, s.id, throttles, units, peek, results)
	return Verdict{results: results}, err
}
