package store_test

import (
	"math"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// epoch is where the clocks of these tests start.
const epoch traffik.Instant = 1_700_000_000_000_000

// Each op is decided at its own Draw.Now, also as a look beside a denial, and at the
// nearest Instant if that is none.
func TestDecideAllDecidesEachOpAtItsTime(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(60, time.Minute)
	op := func(cost int64, now traffik.Instant) traffik.Op {
		return traffik.Op{Strategy: traffik.TokenBucket{}, Draw: traffik.Draw{Rate: rate, Cost: cost, Now: now}}
	}
	drained, dec := traffik.TokenBucket{}.Decide(nil, nil, &traffik.Draw{Rate: rate, Cost: 60, Now: epoch})
	if !dec.Allowed {
		t.Fatalf("%+v", dec)
	}
	later := epoch.Add(20 * time.Second)
	ops := []traffik.Op{op(5, later), op(5, epoch), op(1, -1), op(1, math.MaxInt64)}
	states, out, changes := [][]byte{drained, drained, nil, nil}, make([]traffik.Decision, 4), make([]store.Change, 4)
	store.DecideAll(ops, states, out, changes)
	for i, want := range []traffik.Decision{
		{Allowed: true, Limit: 60, Remaining: 20, ResetAfter: 40 * time.Second, At: later},
		{Limit: 60, RetryAfter: 5 * time.Second, ResetAfter: time.Minute, At: epoch},
		{Allowed: true, Limit: 60, Remaining: 60, At: 0},
		{Allowed: true, Limit: 60, Remaining: 60, At: traffik.MaxUnits},
	} {
		if out[i] != want || ops[i].Draw.Now != want.At || changes[i].Write {
			t.Errorf("op %d at %d: %+v, write %v; want %+v and no write", i, ops[i].Draw.Now, out[i], changes[i].Write, want)
		}
	}
	store.DecideAll(ops[:1], states[:1], out[:1], changes[:1])
	if !out[0].Allowed || out[0].Remaining != 15 || !changes[0].Write {
		t.Errorf("the first alone: %+v, write %v; want 15 remaining of the 20 that have refilled by its time", out[0], changes[0].Write)
	}
}
