package redistest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

const (
	processes = 4
	callers   = 32
	// floodTime is how long the processes draw.
	floodTime = 5 * time.Second
	// floodVariable makes the test binary one of the processes.
	floodVariable = "TRAFFIK_REDISTEST_FLOOD"
)

// flood is what one process is told and what it answers.
type flood struct {
	Addr string
	InGo bool // with a strategy that has no script
	// Rest is what a caller waits after a denial.
	Rest     time.Duration
	Admitted int64
	// From and Until are the first and the last instant at which it drew.
	From, Until traffik.Instant
	// Full is the last instant at which a draw found the bucket full: until then, callers
	// that were slow to start may have let it overflow.
	Full       traffik.Instant
	Errors     int64
	Unexpected string
}

// The limit is far below what the processes ask for, also on a slow machine and
// under the race detector: what is not asked for can't be admitted.
func (f *flood) limit() (burst int64, rate traffik.Rate, strategy traffik.Strategy) {
	if f.InGo {
		burst = 400
		return burst, traffik.Per(200, time.Second), goBucket{traffik.TokenBucket{Burst: burst}}
	}
	burst = 4_000
	return burst, traffik.Per(2_000, time.Second), traffik.TokenBucket{Burst: burst}
}

// goBucket is a bucket that only Go can decide.
type goBucket struct{ traffik.TokenBucket }

func (goBucket) ID() string { return "redistest_bucket.1" }

// drown is the binary as one process of a flood.
func drown(task string) {
	var f flood
	if err := json.Unmarshal([]byte(task), &f); err != nil {
		panic(err)
	}
	f.run(func() {
		if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
			panic(err)
		}
	})
}

// run draws with all callers on one key until the time is up. It calls drawn before
// it cleans up.
func (f *flood) run(drawn func()) {
	client := redis.NewClient(&redis.Options{Addr: f.Addr})
	defer func() { _ = client.Close() }()
	backend, err := traffikredis.New(client, traffikredis.WithNamespace("flood"))
	if err != nil {
		panic(err)
	}
	defer func() { _ = backend.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), floodTime)
	defer cancel()
	// Callers that might leave, and don't: what they were charged would be lost.
	calls, leave := context.WithCancel(context.Background())
	defer leave()
	var mu sync.Mutex
	var wg sync.WaitGroup
	f.From = math.MaxInt64
	for range callers {
		wg.Go(func() {
			own := flood{InGo: f.InGo, Rest: f.Rest, From: math.MaxInt64}
			for ctx.Err() == nil {
				own.draw(calls, backend)
			}
			mu.Lock()
			defer mu.Unlock()
			f.Admitted += own.Admitted
			f.Errors += own.Errors
			f.From, f.Until, f.Full = min(f.From, own.From), max(f.Until, own.Until), max(f.Full, own.Full)
			f.Unexpected += own.Unexpected
		})
	}
	wg.Wait()
	drawn()
}

func (f *flood) draw(ctx context.Context, backend traffik.Backend) {
	ops := f.ops(1)
	var out [1]traffik.Decision
	err := backend.Take(ctx, ops, out[:])
	switch {
	case err == nil:
		f.From, f.Until = min(f.From, ops[0].Draw.Now), max(f.Until, ops[0].Draw.Now)
		if out[0].Allowed {
			f.Admitted++
			if out[0].Remaining == out[0].Limit-1 {
				f.Full = max(f.Full, ops[0].Draw.Now)
			}
		} else {
			time.Sleep(f.Rest) //nolint:forbidigo // on Redis' clock
		}
	case errors.Is(err, traffikredis.ErrUnreachable), errors.Is(err, traffikredis.ErrTimeout), f.InGo && errors.Is(err, traffik.ErrContention):
		f.Errors++
	default:
		f.Unexpected = fmt.Sprintln(err)
	}
}

// ops is a draw of cost units on the one key.
func (f *flood) ops(cost int64) []traffik.Op {
	_, rate, strategy := f.limit()
	return []traffik.Op{{
		Key: traffik.Key{Scope: store.ScopeOf("flood", strategy.ID()), ID: "one"}, Strategy: strategy,
		Draw: traffik.Draw{Rate: rate, Cost: cost},
	}}
}

// TestFlood: four processes of 32 goroutines on one key never get more than the
// envelope, and get at least 99 in 100 of what has flowed in since the bucket was last
// full; also while Redis forgets scripts and cuts connections.
func TestFlood(t *testing.T) {
	t.Run("undisturbed", func(t *testing.T) {
		testFlood(t, flood{}, func(context.Context, *redis.Client) {})
	})
	t.Run("decided in Go", func(t *testing.T) {
		testFlood(t, flood{InGo: true}, func(context.Context, *redis.Client) {})
	})
	t.Run("scripts and connections lost", func(t *testing.T) {
		// What Redis has drawn for a connection that it cuts before it has answered
		// is lost. Under the race detector, in -short, processes that never rest keep
		// Redis from answering for so long that this is more than the test allows.
		var kind flood
		if testing.Short() {
			kind.Rest = 5 * time.Millisecond
		}
		testFlood(t, kind, func(ctx context.Context, admin *redis.Client) {
			var flushed, killed atomic.Int64
			ticker := time.NewTicker(200 * time.Millisecond)
			defer ticker.Stop()
			for ctx.Err() == nil {
				<-ticker.C
				if admin.ScriptFlush(ctx).Err() == nil {
					flushed.Add(1)
				}
				if admin.ClientKillByFilter(ctx, "TYPE", "normal", "SKIPME", "yes").Err() == nil {
					killed.Add(1)
				}
			}
			if flushed.Load() < 10 || killed.Load() < 10 {
				t.Errorf("scripts were flushed %d times and connections killed %d times, want 10 or more", flushed.Load(), killed.Load())
			}
		})
	})
}

func testFlood(t *testing.T, sum flood, disturb func(context.Context, *redis.Client)) {
	t.Helper()
	server := servers.Redis(t, servers.Own())
	results := make([]flood, processes)
	var drawn, ended sync.WaitGroup
	defer ended.Wait()
	for i := range processes {
		drawn.Add(1)
		ended.Go(func() {
			if err := results[i].await(t, flood{Addr: server.Addr, InGo: sum.InGo, Rest: sum.Rest}, drawn.Done); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), floodTime)
	defer cancel()
	disturb(ctx, newClient(t, server.Addr))
	drawn.Wait()
	sum.From = math.MaxInt64
	for _, f := range results {
		sum.Admitted += f.Admitted
		sum.Errors += f.Errors
		sum.From, sum.Until, sum.Full = min(sum.From, f.From), max(sum.Until, f.Until), max(sum.Full, f.Full)
		if f.Unexpected != "" {
			t.Errorf("an error of no expected kind: %s", f.Unexpected)
		}
	}
	sum.drain(t, server.Addr)
	burst, rate, _ := sum.limit()
	envelope := burst + int64(sum.Until-sum.From)*rate.Limit()/1e6
	certain := burst + int64(sum.Until-sum.Full)*rate.Limit()/1e6
	t.Logf("%d admitted of %d in %v, %d since the bucket was full, %d errors", sum.Admitted, envelope, sum.Until.Sub(sum.From), certain, sum.Errors)
	if sum.Admitted > envelope || float64(sum.Admitted) < 0.99*float64(certain) {
		t.Errorf("%d admitted, want at most %d and at least 99%% of %d", sum.Admitted, envelope, certain)
	}
}

// await starts a process of a flood and puts its answer into f. It calls drawn when
// that is there, and returns when the process has ended, which can take it a second.
func (f *flood) await(t *testing.T, task flood, drawn func()) error {
	t.Helper()
	drawn = sync.OnceFunc(drawn)
	defer drawn()
	text, err := json.Marshal(task)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), floodVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = json.NewDecoder(out).Decode(f)
	drawn()
	return errors.Join(err, cmd.Wait())
}

// drain counts what has flowed in since the processes were last at it: one look, since
// on a slow machine more would flow in than single draws take out. It has to come
// within the two seconds that fill the bucket.
func (f *flood) drain(t *testing.T, addr string) {
	t.Helper()
	backend := newBackend(t, newClient(t, addr), traffikredis.WithNamespace("flood"))
	var out [1]traffik.Decision
	if err := backend.Peek(t.Context(), f.ops(0), out[:]); err != nil {
		t.Fatal(err)
	}
	f.Admitted += out[0].Remaining
	f.Until = max(f.Until, out[0].At)
}
