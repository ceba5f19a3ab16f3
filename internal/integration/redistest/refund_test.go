package redistest

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// TestMoreThanAllUnitsIsUntouched: a level of 2^53 units and a part of one more is no
// state that anything writes, and reads as untouched, by the short way of the script too.
func TestMoreThanAllUnitsIsUntouched(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	backend, setNow := onClock(t, client, traffikredis.WithNamespace("saturated"))
	const now, parts = 1_700_000_000_000_000, 12_000_000
	setNow(now)
	for part := range 2 {
		for _, s := range []traffik.Strategy{traffik.TokenBucket{}, traffik.GCRA{Burst: traffik.MaxUnits}, traffik.LeakyBucketWithQueue{}} {
			for _, cost := range []int64{0, 1, -1} {
				op := traffik.Op{
					Key:      traffik.Key{Scope: store.ScopeOf("full", s.ID()), ID: "a"},
					Strategy: s, Draw: traffik.Draw{Rate: traffik.Per(5, time.Minute), Cost: cost},
				}
				state := []byte{'L'}
				for _, field := range []int64{now, traffik.MaxUnits, int64(1 + part*(parts-2)), parts} {
					state = binary.LittleEndian.AppendUint64(state, math.Float64bits(float64(field)))
				}
				name := "saturated:{" + op.Key.ID + "}!" + op.Key.Scope.Value()
				if err := client.Set(t.Context(), name, state, time.Hour).Err(); err != nil {
					t.Fatal(err)
				}
				out := make([]traffik.Decision, 1)
				if err := backend.Take(t.Context(), []traffik.Op{op}, out); err != nil {
					t.Fatal(err)
				}
				d := op.Draw
				d.Now = now
				if _, want := s.Decide(nil, nil, &d); out[0] != want {
					t.Errorf("%s, cost %d: %+v, an untouched key %+v", s.ID(), cost, out[0], want)
				}
			}
		}
	}
}

// queued is a draw from a queue.
type queued struct {
	op  traffik.Op
	dec traffik.Decision
}

// TestQueueKeepsItsDistance: whatever is refunded and when, no two draws are told to
// start closer together than the rate says, and none comes back once it has started.
func TestQueueKeepsItsDistance(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	backend, setNow := onClock(t, client, traffikredis.WithNamespace("distance"))
	rates := []traffik.Rate{traffik.Per(1, time.Second), traffik.Per(7, 3*time.Second), traffik.Per(100, time.Minute), traffik.Per(500_000, time.Second)}
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // a trace must be repeatable
		rate := rates[seed%4]
		apart := int64(rate.Period()/time.Microsecond) / rate.Limit()
		s := traffik.LeakyBucketWithQueue{Capacity: 12}
		key := traffik.Key{Scope: store.ScopeOf("queue", s.ID()), ID: string(rune('a' + seed))}
		now := traffik.Instant(1_700_000_000_000_000)
		var waiting []queued
		for range 60 {
			now += traffik.Instant([]int64{0, 0, 1, apart / 2, apart, 3 * apart}[rnd.IntN(6)])
			setNow(now)
			if n := len(waiting); n > 0 && rnd.IntN(3) == 0 {
				i := rnd.IntN(n)
				q := waiting[i]
				before := look(t, backend, q.op)
				after := draw(t, backend, q.op.Refund(&q.dec, q.op.Draw.Cost))
				switch restored := after.Remaining - before.Remaining; {
				case restored == 0:
				case now >= q.dec.At.Add(q.dec.Delay):
					t.Fatalf("seed %d: %d units came back of %+v, which had started at %d", seed, restored, q.dec, now)
				default:
					waiting = append(waiting[:i:i], waiting[i+1:]...)
				}
				continue
			}
			op := traffik.Op{Key: key, Strategy: s, Draw: traffik.Draw{Rate: rate, Cost: 1 + rnd.Int64N(3)}}
			if dec := draw(t, backend, op); dec.Allowed {
				waiting = append(waiting, queued{op, dec})
			}
		}
		for i := 1; i < len(waiting); i++ {
			earlier, later := waiting[i-1], waiting[i]
			gap := later.dec.At.Add(later.dec.Delay) - earlier.dec.At.Add(earlier.dec.Delay) + 1 // rounded up to whole microseconds
			if int64(gap)*rate.Limit() < earlier.op.Draw.Cost*int64(rate.Period()/time.Microsecond) {
				t.Fatalf("seed %d, %v: %+v starts %d µs after %+v", seed, rate, later.dec, gap-1, earlier.dec)
			}
		}
	}
}

func look(t *testing.T, backend traffik.Backend, op traffik.Op) traffik.Decision {
	t.Helper()
	op.Draw.Cost = 0
	return draw(t, backend, op)
}

func draw(t *testing.T, backend traffik.Backend, op traffik.Op) traffik.Decision {
	t.Helper()
	out := make([]traffik.Decision, 1)
	if err := backend.Take(t.Context(), []traffik.Op{op}, out); err != nil {
		t.Fatal(err)
	}
	return out[0]
}
