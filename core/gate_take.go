package traffik

import (
	"context"
	"slices"
	"sync"
	"time"
)

// gateTake is one use of one or several throttles that takes more than a hit in process:
// all are charged or none, with one call of each backend. It is pooled, since what is
// handed through an interface escapes to the heap. Results are not: they belong to callers.
type gateTake struct {
	// The ops that backends have to be asked for, those of one backend in a row, with the
	// index of their results and the answers.
	ops     []Op
	indexes []int
	out     []Decision
	peek    bool
	longest time.Duration // how long the request can be held, anyDelay if nobody asked
}

var gateTakes = sync.Pool{New: func() any { return new(gateTake) }}

// takeAll fills results, one for each throttle: all are charged or none. before is the
// error of ctx when the use began.
func takeAll(ctx context.Context, before error, r *Request, id string, throttles []*Throttle, units int64, peek bool, results []Result) error {
	var room [hitLimits]Rate
	rates, denied := room[:0], false
	for i, t := range throttles {
		rate, err := t.settings.Load().prepare(ctx, before, r, id, units, peek, &results[i])
		if err != nil {
			return err
		}
		rates = append(rates, rate)
		denied = denied || results[i].denies()
	}
	if denied && !peek {
		return nil // by an error policy: nothing was charged yet
	}
	return askAll(ctx, r, rates, peek, results)
}

// askAll asks one backend after the other until one denies. What was charged before that
// is refunded, also when a backend or a function of the application panics. Results whose
// rate is zero are complete.
func askAll(ctx context.Context, r *Request, rates []Rate, peek bool, results []Result) error {
	g, _ := gateTakes.Get().(*gateTake) // the pool holds nothing else
	g.peek, g.longest = peek, anyDelay
	from, keep := 0, false
	defer func() {
		if !keep && from > 0 {
			refundCharged(ctx, results)
		}
		clear(g.ops) // let go of the strategies and identities
		g.ops, g.indexes, g.out = g.ops[:0], g.indexes[:0], g.out[:0]
		gateTakes.Put(g)
	}()
	for i := range results {
		if rates[i].IsZero() {
			continue
		}
		op := results[i].op(rates[i])
		g.longest = min(g.longest, op.boundDelay(ctx, r))
		last := len(g.ops) - 1 // the last op of the same backend, else the last one
		for k, other := range slices.Backward(g.indexes) {
			if results[other].settings.backend == results[i].settings.backend {
				last = k
				break
			}
		}
		g.ops, g.indexes, g.out = slices.Insert(g.ops, last+1, op), slices.Insert(g.indexes, last+1, i), append(g.out, Decision{})
	}
	for from < len(g.ops) {
		to, backend := from+1, results[g.indexes[from]].settings.backend
		for to < len(g.ops) && results[g.indexes[to]].settings.backend == backend {
			to++
		}
		denied, err := g.ask(ctx, results, from, to)
		if err != nil || denied && !g.peek {
			return err
		}
		from = to
	}
	keep = true
	return nil
}

// ask draws ops from to to, which have one backend and distinct keys, because All refuses
// throttles that share counters.
func (g *gateTake) ask(ctx context.Context, results []Result, from, to int) (denied bool, err error) {
	ops, out, indexes := g.ops[from:to], g.out[from:to], g.indexes[from:to]
	switch set := results[indexes[0]].settings; {
	case ctx.Err() != nil: // while the request was read, or another store asked
		err = ctx.Err()
	case g.peek:
		bounded, cancel := set.bounded(ctx)
		err = set.backend.Peek(bounded, ops, out)
		cancel()
	default:
		err = set.backend.Take(ctx, ops, out)
	}
	if err != nil {
		return failAll(ctx, results, indexes, err)
	}
	for k, i := range indexes {
		res := &results[i]
		res.Decision = out[k]
		res.answer()
		if g.longest != anyDelay {
			res.delayWithin(g.longest, &ops[k])
		}
		denied = denied || res.denies()
	}
	if !denied && !g.peek {
		return false, nil
	}
	for _, i := range indexes {
		res := &results[i]
		if res.cost = 0; !g.peek && res.Outcome == Admitted {
			res.Outcome = Uncharged
		}
	}
	return denied, nil
}

// failAll applies the error policies of the throttles of these results, the strictest
// for all: propagate, else deny, else allow.
func failAll(ctx context.Context, results []Result, indexes []int, err error) (denied bool, _ error) {
	callersEnd, err := storeError(ctx, err)
	if callersEnd {
		return false, err
	}
	strictest := FailOpen
	for _, i := range indexes {
		s := results[i].settings
		if policy := s.storePolicy(err); !s.reportOnly {
			strictest = max(strictest, policy)
		}
	}
	for _, i := range indexes {
		res := &results[i]
		if propagated := res.settings.failed(ctx, strictest, "", err, res); propagated != nil {
			return false, propagated
		}
		denied = denied || res.denies()
	}
	return denied, nil
}

// refundCharged refunds what was charged. The backend that denied or failed has charged
// nothing, and its results say so.
func refundCharged(ctx context.Context, results []Result) {
	var all refunds
	for i := range results {
		if r := results[i]; r.claim() {
			all.add(i, &r)
		}
	}
	ctx, cancel := afterwards(ctx, len(all.far) == 0)
	defer cancel()
	for _, f := range slices.Concat(all.near, all.far) {
		err := f.take(ctx) // a panic goes on
		for k, i := range f.indexes {
			res := &results[i]
			if err != nil {
				res.Err = err // the charge stays, and the result says so
				continue
			}
			res.Decision, res.Outcome, res.cost = f.out[k], Uncharged, 0
		}
	}
}
