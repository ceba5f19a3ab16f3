package traffik_test

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// holding is a caller that holds requests for so long.
type holding time.Duration

func (h holding) MaxDelay(context.Context) time.Duration { return time.Duration(h) }

// line is the oracle of a queue whose callers hold requests for a bounded time: all that
// it knows is when everything admitted so far has started, in exact microseconds.
type line struct {
	limit, period, capacity int64 // units per microseconds, and units
	longest, now            int64 // microseconds
	free                    *big.Rat
}

// ahead is how long a draw would wait, in exact and in whole microseconds.
func (l *line) ahead() (exact *big.Rat, whole int64) {
	exact = new(big.Rat).Sub(l.free, big.NewRat(l.now, 1))
	if exact.Sign() < 0 {
		exact.SetInt64(0)
	}
	return exact, ceil(exact)
}

// units is how many start in a time.
func (l *line) units(micros *big.Rat) *big.Rat {
	return new(big.Rat).Mul(micros, big.NewRat(l.limit, l.period))
}

func ceil(r *big.Rat) int64 {
	q, rem := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rem.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64()
}

func (l *line) draw(cost int64) (dec traffik.Decision) {
	exact, whole := l.ahead()
	dec.Limit = l.capacity
	level := new(big.Rat).Add(l.units(exact), big.NewRat(cost, 1))
	over := new(big.Rat).Sub(level, big.NewRat(l.capacity, 1))
	if dec.Allowed = whole <= l.longest && over.Sign() <= 0; dec.Allowed {
		dec.Delay = time.Duration(whole) * time.Microsecond
		taken := new(big.Rat).Mul(big.NewRat(cost, 1), big.NewRat(l.period, l.limit))
		l.free = exact.Add(exact, big.NewRat(l.now, 1)).Add(exact, taken)
	} else if dec.RetryAfter = traffik.Never; cost <= l.capacity {
		fits := new(big.Rat).Mul(over, big.NewRat(l.period, l.limit))
		dec.RetryAfter = time.Duration(max(whole-l.longest, ceil(fits))) * time.Microsecond
	}
	exact, whole = l.ahead()
	dec.ResetAfter = time.Duration(whole) * time.Microsecond
	if whole <= l.longest {
		left := new(big.Rat).Sub(big.NewRat(l.capacity, 1), l.units(exact))
		dec.Remaining = max(0, new(big.Int).Quo(left.Num(), left.Denom()).Int64())
	}
	return dec
}

// A caller that can't hold a request until its turn is denied at once with exact numbers,
// and takes no place from those that can wait: alone, among others, and as a look.
func TestBoundedDelay(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 11)) //nolint:gosec // a test that can be repeated
		clock := new(traffiktest.Clock)
		clock.Set(someInstant)
		memory, err := traffik.NewMemory(traffik.WithClock(clock))
		if err != nil {
			t.Fatal(err)
		}
		period := []time.Duration{time.Second, 7 * time.Second, time.Minute, 3333 * time.Microsecond}[r.IntN(4)]
		limit, capacity := 1+r.Int64N(20), r.Int64N(30)
		oracle := &line{limit: limit, period: period.Microseconds(), capacity: capacity, now: int64(someInstant), free: new(big.Rat)}
		if capacity == 0 {
			oracle.capacity = limit
		}
		rate := traffik.Per(limit, period)
		queue := traffik.MustNew("queue", rate, traffik.WithBackend(memory), traffik.WithIdentifier(traffik.Shared()),
			traffik.WithStrategy(traffik.LeakyBucketWithQueue{Capacity: capacity}), traffik.WithCostFunc(costInRoute))
		plenty := traffik.MustNew("plenty", "1000000/s", traffik.WithBackend(memory), traffik.WithIdentifier(traffik.Shared()))
		limiter := []traffik.Limiter{queue, traffik.All(plenty, queue), traffik.All(queue, plenty)}[seed%3]
		for range 60 {
			step := time.Duration(r.Int64N(1 + 2*int64(period)/limit)).Truncate(time.Microsecond)
			clock.Advance(step)
			oracle.now += step.Microseconds()
			longest := time.Duration(r.Int64N(int64(period) * (oracle.capacity + 2) / limit)) // nanoseconds too, which don't count
			oracle.longest = longest.Microseconds()
			cost := 1 + r.Int64N(3)*r.Int64N(2)
			req := &traffik.Request{Route: fmt.Sprint(cost), Holder: holding(longest)}
			look, err := queue.For(req).Check(t.Context(), cost)
			if err != nil {
				t.Fatal(err)
			}
			got, refused := admitWithin(t, limiter, req, longest)
			want := oracle.draw(cost)
			want.At = got.At
			if refused { // after the draw, whose reset it tells
				want.ResetAfter = got.ResetAfter
			}
			if got.Decision != want {
				t.Fatalf("seed %d, %d per %v of %d, cost %d within %v:\n got %+v\nwant %+v", seed, limit, period, capacity, cost, longest, got.Decision, want)
			}
			if look.Allowed != want.Allowed && !refused {
				t.Fatalf("seed %d: a look tells %+v, want %+v", seed, look.Decision, want)
			}
			if unit := period/time.Duration(limit) + time.Microsecond; refused && want.RetryAfter > unit {
				t.Fatalf("seed %d: drawn %v too early, want a denial if it is more than %v", seed, want.RetryAfter, unit)
			}
		}
	}
}

// costInRoute is the cost that a test has written there.
func costInRoute(r *traffik.Request) (cost int64, err error) {
	_, err = fmt.Sscan(r.Route, &cost)
	return cost, err
}

// admitWithin draws as middleware does, and returns the result of the queue and whether
// that was refused after it had been drawn.
func admitWithin(t *testing.T, limiter traffik.Limiter, r *traffik.Request, longest time.Duration) (of traffik.Result, refused bool) {
	t.Helper()
	v, err := limiter.Admit(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if refused = v.Allowed() && v.Delay() > longest; refused {
		if err := v.Refund(t.Context()); err != nil {
			t.Fatal(err)
		}
		v = r.RefuseDelay(v, longest)
	}
	for _, res := range v.Results() {
		if res.UID() == "queue" {
			return res, refused
		}
	}
	t.Fatalf("no result of the queue in %+v", v)
	return traffik.Result{}, false
}
