package traffik

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// gateTake is the work on several throttles at once: their ops in the order
// of their throttles, grouped by backend when it comes to asking. It is pooled.
type gateTake struct {
	results []Result
	peek    bool
	rest    asking // what no backend was asked yet
	group   asking // what one backend is asked
	out     []Decision
	uses    uint32        // so far, from any number on
	longest time.Duration // how long the request can be held, anyDelay if nobody asked
}

// asking is what backends are to be asked. Its slices have one length.
type asking struct {
	ops []Op
	// counts are how an in-process backend counts the ops, nil where it doesn't.
	counts []*counting
	places []int // of the results of the ops
}

// next returns an op that add makes part of a.
func (a *asking) next() *Op {
	a.ops = append(a.ops[:len(a.places)], Op{})
	return &a.ops[len(a.places)]
}

func (a *asking) add(by *counting, place int) {
	a.counts, a.places = append(a.counts, by), append(a.places, place)
}

func (a *asking) empty() {
	clear(a.ops) // lets go of the strategies and identities
	clear(a.counts)
	a.ops, a.counts, a.places = a.ops[:0], a.counts[:0], a.places[:0]
}

var gateTakes = sync.Pool{New: func() any { return &gateTake{uses: rand.Uint32()} }} //nolint:gosec // no secret

// takeAll fills results, one for each throttle: all are charged or none.
func takeAll(ctx context.Context, r *Request, id string, throttles []*Throttle, units int64, peek bool, results []Result) error {
	if ctx == nil {
		return errNoContext
	}
	j, _ := gateTakes.Get().(*gateTake) // the pool holds nothing else
	defer j.release()
	j.uses++
	r.sample(j.uses)
	j.results, j.peek = results, peek
	if err := j.prepare(ctx, r, id, throttles, units); err != nil {
		return err
	}
	if !peek && (Verdict{results: results}).Failed() {
		return nil // nothing was charged yet
	}
	return j.askAll(ctx)
}

// askAll asks one backend after the other until one denies. What was charged
// before that is given back, also when a backend or a function of the
// application panics.
func (j *gateTake) askAll(ctx context.Context) error {
	keep := false
	defer func() {
		if !keep {
			j.refundCharged(ctx)
		}
	}()
	for len(j.rest.ops) > 0 {
		j.split()
		denied, err := j.ask(ctx)
		if err != nil || denied && !j.peek {
			return err
		}
	}
	keep = true
	return nil
}

func (j *gateTake) release() {
	j.rest.empty()
	j.group.empty()
	j.results = nil
	gateTakes.Put(j)
}

// prepare finds the op of each throttle, or its result where none is needed.
func (j *gateTake) prepare(ctx context.Context, r *Request, id string, throttles []*Throttle, units int64) error {
	before := ctx.Err()
	j.longest = anyDelay
	for i, t := range throttles {
		set := t.settings.Load()
		op := j.rest.next()
		ask, err := set.prepare(ctx, before, r, id, units, j.peek, &j.results[i], op)
		if err != nil {
			return err
		}
		if ask {
			j.longest = min(j.longest, r.boundDelay(ctx, op))
			j.rest.add(set.counting, i)
		}
	}
	j.rest.ops = j.rest.ops[:len(j.rest.places)]
	return nil
}

// split moves what the next backend is to be asked from the rest into the group.
// Its keys are distinct, because All refuses throttles that share counters.
func (j *gateTake) split() {
	j.group.empty()
	backend := j.backendOf(&j.rest, 0)
	others := 0
	for i := range j.rest.places {
		if j.backendOf(&j.rest, i) != backend {
			others++
		}
	}
	if others == 0 {
		j.group, j.rest = j.rest, j.group
		return
	}
	var rest asking
	for i := range j.rest.ops {
		part := &j.group
		if j.backendOf(&j.rest, i) != backend {
			part = &rest
		}
		*part.next() = j.rest.ops[i]
		part.add(j.rest.counts[i], j.rest.places[i])
	}
	j.rest = rest
}

func (j *gateTake) backendOf(a *asking, i int) Backend {
	return j.results[a.places[i]].settings.backend
}

// ask draws all ops of the group with one call.
func (j *gateTake) ask(ctx context.Context) (denied bool, err error) {
	g := &j.group
	j.out = append(j.out[:0], make([]Decision, len(g.ops))...)
	switch set := j.results[g.places[0]].settings; {
	case ctx.Err() != nil: // while the request was read, or another store asked
		err = ctx.Err()
	case set.memory != nil:
		err = set.memory.run(ctx, g.ops, g.counts, j.out, !j.peek)
	case j.peek:
		err = set.peek(ctx, g.ops, j.out)
	default:
		err = set.backend.Take(ctx, g.ops, j.out)
	}
	if err != nil {
		return j.failed(ctx, err)
	}
	for i, place := range g.places {
		res := &j.results[place]
		res.Decision = j.out[i]
		res.answer(&g.ops[i])
		res.delayWithin(j.longest, &g.ops[i])
		denied = denied || res.denies()
	}
	if denied || j.peek {
		j.uncharge(denied)
	}
	return denied, nil
}

// uncharge marks the results of the group that would have fitted as not
// charged, because another denied or because nothing was to be taken.
func (j *gateTake) uncharge(denied bool) {
	for _, place := range j.group.places {
		res := &j.results[place]
		res.cost = 0
		if denied && !j.peek && res.Outcome == Admitted {
			res.Outcome = Uncharged
		}
	}
}

// failed applies the error policies of the group's throttles, the strictest
// for all: propagate, else deny, else allow.
func (j *gateTake) failed(ctx context.Context, err error) (denied bool, _ error) {
	callersEnd, err := storeError(ctx, err)
	if callersEnd {
		return false, err
	}
	strictest := FailOpen
	for _, place := range j.group.places {
		s := j.results[place].settings
		if policy := s.storePolicy(err); !s.reportOnly {
			strictest = max(strictest, policy)
		}
	}
	for _, place := range j.group.places {
		res := &j.results[place]
		if propagated := res.settings.failed(ctx, strictest, "", err, res); propagated != nil {
			return false, propagated
		}
		denied = denied || res.denies()
	}
	return denied, nil
}

// refundCharged refunds what was charged. The group that denied or failed has charged
// nothing, and its results say so.
func (j *gateTake) refundCharged(ctx context.Context) {
	refunds := Verdict{results: j.results}.refunds(everywhere)
	ctx, cancel := afterwards(ctx, allInProcess(refunds))
	defer cancel()
	for _, g := range refunds {
		g.take(ctx) // a panic goes on
		for k, place := range g.places {
			res := &j.results[place]
			if g.err != nil {
				res.Err = g.err // the charge stays; the result says so
				continue
			}
			res.Decision, res.Outcome, res.cost = g.out[k], Uncharged, 0
		}
	}
}
