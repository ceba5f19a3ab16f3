package traffik

import (
	"testing"
	"time"
)

func TestTokenBucketWithDebtSteps(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	strategy := TokenBucketWithDebt{Burst: 2, MaxDebt: 3}
	runSteps(t, strategy, Per(1, time.Second), []takeStep{
		{at: 0, cost: 1, remaining: 4, reset: s},
		{at: 0, cost: 4, remaining: 0, reset: 5 * s},
		{at: 0, cost: 1, remaining: 0, retry: s, reset: 5 * s},
		{at: 0, cost: 5, remaining: 0, retry: 5 * s, reset: 5 * s},
		{at: 0, cost: 6, remaining: 0, retry: never, reset: 5 * s},
		{at: 2 * s, cost: 2, remaining: 0, reset: 5 * s},
		{at: 7 * s, cost: 0, remaining: 5},
	})
	k := &storedKey{strategy: strategy}
	d := Draw{Rate: Per(1, time.Second), Cost: 4, Now: tableEpoch}
	k.draw(d)
	want := DebtInfo{Burst: 2, MaxDebt: 3, Tokens: -2, FullAt: (tableEpoch + 4_000_000).Time()}
	if got := strategy.Describe(k.state, &d); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// The default Burst is the rate's limit, and the sum stops at 2^53.
	if dec := (&storedKey{strategy: TokenBucketWithDebt{MaxDebt: 5}}).draw(Draw{Rate: Per(10, time.Second), Now: 1}); dec.Limit != 15 {
		t.Errorf("%+v, want a limit of 15", dec)
	}
	if dec := (&storedKey{strategy: TokenBucketWithDebt{MaxDebt: MaxUnits}}).draw(Draw{Rate: Per(10, time.Second), Now: 1}); dec.Limit != MaxUnits {
		t.Errorf("%+v, want a limit of 2^53", dec)
	}
}
