//go:build !race

package traffik_test

import (
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// In the steady state no strategy allocates in process: neither for draws that
// are admitted nor for those denied, looks and refunds. Built without the race
// detector, whose bookkeeping allocates.
func TestEveryStrategyAllocatesNothing(t *testing.T) {
	every := everyStrategy(20)
	// These grow with what is drawn; until a log or a history is full is no
	// steady state, so that theirs are filled first.
	every = append(every, counter{strategy: traffik.SlidingWindowLog{MaxEntries: 8}}, counter{strategy: advanced.CostBasedTokenBucket{Window: 40}})
	for _, c := range every {
		clock := new(traffiktest.Clock)
		clock.Set(someInstant)
		backend, err := traffik.NewMemory(traffik.WithClock(clock))
		if err != nil {
			t.Fatal(err)
		}
		rate := traffik.Per(20, time.Second)
		throttle := traffik.MustNew("alloc", rate, traffik.WithBackend(backend), traffik.WithStrategy(c.strategy),
			traffik.WithIdentifier(traffik.Shared()), traffik.WithClass(func(*traffik.Request) string { return c.class }))
		key, ctx := throttle.For(new(traffik.Request)), t.Context()
		admitted, denied := 0, 0
		hit := func() {
			clock.Advance(40 * time.Millisecond) // 25 a second, more than the limit
			res, err := key.Hit(ctx)
			switch {
			case err != nil:
				t.Error(err)
			case res.Allowed:
				admitted++
			default:
				denied++
			}
		}
		for range 200 {
			hit()
		}
		if got := testing.AllocsPerRun(200, hit); got > 0 {
			t.Errorf("%+v: %v allocations a hit", c.strategy, got)
		}
		if admitted < 40 || denied < 40 {
			t.Errorf("%+v: %d admitted, %d denied; both are to be measured", c.strategy, admitted, denied)
		}
		if got := testing.AllocsPerRun(200, func() { _, _ = key.Stat(ctx) }); got > 0 {
			t.Errorf("%+v: %v allocations a look", c.strategy, got)
		}
		ops := []traffik.Op{{Key: traffik.Key{Scope: store.ScopeOf("refunds", c.strategy.ID()), ID: "user:42"}, Strategy: c.strategy}}
		out := make([]traffik.Decision, 1)
		if got := testing.AllocsPerRun(200, func() {
			clock.Advance(100 * time.Millisecond)
			for _, cost := range []int64{2, -1} {
				ops[0].Draw = traffik.Draw{Rate: rate, Cost: cost, Class: c.class, TakenAt: out[0].At}
				if err := backend.Take(ctx, ops, out); err != nil {
					t.Error(err)
				}
			}
		}); got > 0 {
			t.Errorf("%+v: %v allocations for a draw of which a part is refunded", c.strategy, got)
		}
	}
}
