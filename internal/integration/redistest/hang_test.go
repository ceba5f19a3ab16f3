package redistest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// hang makes the server leave all commands unanswered for a while.
func hang(t *testing.T, addr string, d time.Duration) {
	t.Helper()
	if err := newClient(t, addr).Do(t.Context(), "client", "pause", d.Milliseconds(), "all").Err(); err != nil {
		t.Fatal(err)
	}
}

// TestHungServerHoldsNobody: callers with short deadlines leave nothing behind,
// neither goroutines nor draws, whatever the mode.
func TestHungServerHoldsNobody(t *testing.T) {
	t.Parallel()
	const callers, rounds, most = 300, 40, 6000 // most: other tests have goroutines too
	for name, options := range map[string][]traffikredis.Option{
		"together": nil, "alone": {traffikredis.WithoutCoalescing()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servers.Redis(t, servers.Own())
			backend := newBackend(t, newClient(t, server.Addr), options...)
			op := in("u", "a", 1)
			op.Draw.Rate = traffik.Per(1_000_000, long)
			take(t, backend, op)
			before := runtime.NumGoroutine()
			server.Hang() // until all have ended, however slow the machine is
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for range rounds {
						ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
						err := backend.Take(ctx, []traffik.Op{op}, make([]traffik.Decision, 1))
						cancel()
						if !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("a caller of a server that hangs got %v", err)
						}
					}
				})
			}
			wg.Wait()
			if now := runtime.NumGoroutine(); now > before+most {
				t.Errorf("%d goroutines after %d Takes, %d before", now, callers*rounds, before)
			}
			server.Resume()
			// What was sent before its caller left is drawn.
			if drawn := 1_000_000 - left(t, backend, op); drawn > 200 {
				t.Errorf("%d were drawn for callers that had left", drawn)
			}
		})
	}
}

// TestHungServerAndPatientCallers: callers without a deadline get typed errors, however
// many wait, and Close returns. How long that takes is tested where time is set by hand,
// in the backend's own package.
func TestHungServerAndPatientCallers(t *testing.T) {
	t.Parallel()
	client := newClientOf(t, &redis.Options{Addr: silent(t), ReadTimeout: 500 * time.Millisecond})
	backend := newBackend(t, client)
	var wg sync.WaitGroup
	inGo := in("go", "one key", 1)
	inGo.Strategy = advanced.Tiered{}
	for i := range 2000 {
		wg.Go(func() {
			ctx, ops := t.Context(), draws(fmt.Sprint(i), 1)
			if i%100 == 0 {
				ops = []traffik.Op{inGo}
			}
			if i%200 == 0 {
				ctx = context.Background()
			}
			err := backend.Take(ctx, ops, make([]traffik.Decision, 1))
			if !errors.Is(err, traffikredis.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a patient caller got %v, want ErrTimeout alone", err)
			}
		})
	}
	wg.Wait()
	if err := backend.Close(); err != nil {
		t.Error(err)
	}
}

// TestHungMasterFailsOnlyItsOwnCallers, by script and in Go.
func TestHungMasterFailsOnlyItsOwnCallers(t *testing.T) {
	t.Parallel()
	client := newClusterClient(t, servers.RedisCluster(t).Addrs())
	backend := newBackend(t, client)
	hung := masterOf(t, client, "id0")
	// So many answers of the others while so many callers of the hung one gave up.
	const callers, wantHealthy, wantStuck = 24, 100, 20
	var wg sync.WaitGroup
	var healthy, failed, others, stuck atomic.Int64
	draw := func(id string, strategy traffik.Strategy) error {
		patience := time.Minute
		if masterOf(t, client, id) == hung {
			patience = time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		op := in("u", id, 1)
		op.Strategy, op.Draw.Rate = strategy, traffik.Per(1_000_000, time.Hour)
		return backend.Take(ctx, []traffik.Op{op}, make([]traffik.Decision, 1))
	}
	strategies := []traffik.Strategy{traffik.TokenBucket{}, advanced.Tiered{}}
	for i := range 100 { // so that the client knows all servers and scripts
		if err := draw(fmt.Sprint("id", i), strategies[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	hang(t, hung, time.Hour) // its end is that of the test
	for caller := range callers {
		wg.Go(func() {
			for i := caller; failed.Load() == 0 && (healthy.Load() < wantHealthy || stuck.Load() < wantStuck); i += callers {
				id := fmt.Sprint("id", i%3000)
				err := draw(id, strategies[i%2])
				switch {
				case masterOf(t, client, id) == hung && err != nil:
					stuck.Add(1)
				case masterOf(t, client, id) == hung:
					others.Add(1)
				case err != nil:
					failed.Add(1)
					t.Log(err)
				default:
					healthy.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d answers and %d errors of healthy masters, %d and %d of the one that hung", healthy.Load(), failed.Load(), others.Load(), stuck.Load())
	if failed.Load() > 0 || others.Load() > 0 {
		t.Error("want answers from the healthy masters alone")
	}
}

// masterOf is the address of the master at which the caller id lies.
func masterOf(t *testing.T, client *redis.ClusterClient, id string) string {
	t.Helper()
	master, err := client.MasterForKey(t.Context(), "{"+id+"}")
	if err != nil {
		t.Error(err)
		return ""
	}
	return master.Options().Addr
}

// TestAppStartsWhileAMasterHangs: the callers of the other masters are served.
func TestAppStartsWhileAMasterHangs(t *testing.T) {
	t.Parallel()
	cluster := servers.RedisCluster(t)
	probe := newClusterClient(t, cluster.Addrs())
	take(t, newBackend(t, probe), in("u", "id0", 1))
	hung := masterOf(t, probe, "id0")
	seeds := slices.DeleteFunc(cluster.Addrs(), func(addr string) bool { return addr == hung })
	// Else the client asks a server of its choice what commands there are, first of
	// all, and waits for that.
	client := newClusterClientOf(t, &redis.ClusterOptions{Addrs: seeds, DisableRoutingPolicies: true})
	backend := newBackend(t, client)
	hang(t, hung, time.Hour) // its end is that of the test
	var wg sync.WaitGroup
	var served, failed atomic.Int64
	for caller := range 16 {
		wg.Go(func() {
			for i := caller; served.Load() < 50 && failed.Load() <= 16; i += 16 {
				id := fmt.Sprint("id", i)
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				err := backend.Take(ctx, []traffik.Op{in("u", id, 1)}, make([]traffik.Decision, 1))
				cancel()
				switch {
				case masterOf(t, probe, id) == hung:
				case err != nil:
					failed.Add(1)
				default:
					served.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if failed.Load() > 16 { // each may meet the hung one first
		t.Errorf("%d callers of healthy masters were served, %d failed", served.Load(), failed.Load())
	}
}

// TestRingShardDies: its callers get typed errors, the others their answers, and
// service returns when the ring has noticed.
func TestRingShardDies(t *testing.T) {
	t.Parallel()
	shards := map[string]*servers.Server{"a": servers.Redis(t, servers.Own()), "b": servers.Redis(t, servers.Own())}
	ring := newRing(t, &redis.RingOptions{
		Addrs:              map[string]string{"a": shards["a"].Addr, "b": shards["b"].Addr},
		HeartbeatFrequency: 200 * time.Millisecond,
		MaxRetries:         -1, // else the ring may notice before a caller does
	})
	l := startLoad(t, newBackend(t, ring))
	l.waitForAnswers("before")
	l.errors.Store(0)
	shards["a"].Kill()
	l.waitForErrors()
	l.waitForAnswers("after a shard died")
	if err := newBackend(t, ring).ResetNamespace(t.Context()); !errors.Is(err, traffikredis.ErrUnreachable) {
		t.Errorf("resetting without a shard: %v, want ErrUnreachable", err)
	}
}
