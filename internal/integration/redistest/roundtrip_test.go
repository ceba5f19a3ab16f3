package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// counter is a hook that counts commands and round trips, and does something
// before each of them.
type counter struct {
	commands, roundTrips atomic.Int64
	before               func(redis.Cmder)
}

func (c *counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.commands.Add(1)
		c.roundTrips.Add(1)
		if c.before != nil {
			c.before(cmd)
		}
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.commands.Add(int64(len(cmds)))
		c.roundTrips.Add(1)
		return next(ctx, cmds)
	}
}

func throttles(t *testing.T, backend traffik.Backend, strategies ...traffik.Strategy) *traffik.Gate {
	t.Helper()
	all := make([]traffik.Limiter, len(strategies))
	for i, s := range strategies {
		all[i] = traffik.MustNew(fmt.Sprint("t", i), "1000/min", traffik.WithStrategy(s), traffik.WithBackend(backend), traffik.WithErrorPolicy(traffik.Propagate))
	}
	return traffik.All(all...)
}

// TestRoundTrips: one script call for one throttle and for five; two for a strategy that only Go knows; one for one that brings its
// script. What MONITOR shows is that and nothing else.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	five := []traffik.Strategy{
		traffik.FixedWindow{}, traffik.SlidingWindowLog{}, traffik.GCRA{Burst: 1000}, traffik.LeakyBucketWithQueue{}, traffik.TokenBucketWithDebt{},
	}
	for name, tc := range map[string]struct {
		strategies []traffik.Strategy
		want       int64
	}{
		"one throttle":                   {five[:1], 1},
		"five throttles":                 {five, 1},
		"a strategy of package advanced": {[]traffik.Strategy{advanced.Tiered{}}, 2},
		"one with its custom script":     {[]traffik.Strategy{scripted{}}, 1},
		"custom script among others":     {append([]traffik.Strategy{scripted{}}, five...), 1},
	} {
		for where, client := range map[string]*redis.Client{
			"one server": newClient(t, servers.Redis(t).Addr),
		} {
			t.Run(name+" on "+where, func(t *testing.T) {
				limiter := throttles(t, newBackend(t, client), tc.strategies...)
				hook := new(counter)
				hit(t, limiter, "user:1") // loads the script
				client.AddHook(hook)
				for range 10 {
					hit(t, limiter, "user:1")
				}
				if got := hook.commands.Load(); got != 10*tc.want {
					t.Errorf("%d commands for ten hits, want %d each", got, tc.want)
				}
				hook.before = nil
			})
		}
	}
}

func hit(t *testing.T, gate *traffik.Gate, key string) traffik.Verdict {
	t.Helper()
	verdict, err := gate.Key(key).Hit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

// scripted is a custom strategy with its script: a count that never expires
// within the test.
type scripted struct{}

func (scripted) ID() string { return "redistest_scripted.1" }

func (scripted) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	n := int64(len(state))
	dec := traffik.Decision{Allowed: true, Limit: d.Rate.Limit(), At: d.Now}
	switch {
	case d.Cost > 0 && d.Cost > dec.Limit-n && !d.Force:
		dec.Allowed, dec.RetryAfter = false, d.Rate.Period()
	case d.Cost != 0:
		n = max(0, n+d.Cost)
		dst = append(dst, strings.Repeat("x", int(n))...)
	}
	dec.Remaining = max(0, dec.Limit-n)
	if n > 0 {
		dec.ResetAfter = d.Rate.Period()
	}
	return dst, dec
}

func (scripted) RedisScript() string {
	return `return function(state, draw, cost)
		local n = state and #state or 0
		local d = {allowed = true, limit = draw.limit}
		local next
		if cost > 0 and cost > draw.limit - n and not draw.force then
			d.allowed, d.retry_after = false, draw.period
		elseif cost ~= 0 then
			n = math.max(0, n + cost)
			if n > 0 then
				next = string.rep(string.char(draw.args[1]), n)
			end
		end
		d.remaining, d.reset_after = math.max(0, draw.limit - n), n > 0 and draw.period or 0
		return next, d
	end`
}

func (scripted) RedisArguments(*traffik.Draw) [4]float64 { return [4]float64{'x'} }

// broken brings a script that fails.
type broken struct{ scripted }

func (broken) ID() string          { return "redistest_broken.1" }
func (broken) RedisScript() string { return `return function() error('no') end` }

// TestCustomScript: it decides as the strategy itself, alone and beside others, and
// one that fails hurts nobody else.
func TestCustomScript(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	backend := newBackend(t, client)
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	ops := func(cost, other int64) []traffik.Op {
		rate := traffik.Per(5, 1000*time.Hour)
		return []traffik.Op{
			{Key: traffik.Key{Scope: store.ScopeOf("own", "s"), ID: "a"}, Strategy: scripted{}, Draw: traffik.Draw{Rate: rate, Cost: cost}},
			{Key: traffik.Key{Scope: store.ScopeOf("other", "s"), ID: "a"}, Strategy: traffik.TokenBucket{}, Draw: traffik.Draw{Rate: rate, Cost: other}},
		}
	}
	for i, costs := range [][2]int64{{2, 1}, {4, 1}, {3, 9}, {0, 0}, {3, 1}, {1, 1}, {-2, 0}, {1, 1}, {-9, 1}, {5, 1}} {
		for _, peek := range []bool{true, false} {
			got, want := make([]traffik.Decision, 2), make([]traffik.Decision, 2)
			call, model := backend.Take, memory.Take
			if peek {
				call, model = backend.Peek, memory.Peek
			}
			if err := errors.Join(call(t.Context(), ops(costs[0], costs[1]), got), model(t.Context(), ops(costs[0], costs[1]), want)); err != nil {
				t.Fatal(err)
			}
			for j := range want {
				if got[j].Allowed != want[j].Allowed || got[j].Remaining != want[j].Remaining || got[j].Limit != want[j].Limit {
					t.Errorf("step %d, peek %v, op %d: %+v, want %+v", i, peek, j, got[j], want[j])
				}
			}
		}
	}
	bad := ops(1, 1)
	bad[0].Strategy = broken{}
	if err := backend.Take(t.Context(), bad, make([]traffik.Decision, 2)); !errors.Is(err, traffikredis.ErrScript) {
		t.Errorf("a script that fails: %v, want ErrScript", err)
	}
	good := ops(1, 1)[1:]
	if err := backend.Take(t.Context(), good, make([]traffik.Decision, 1)); err != nil {
		t.Errorf("a Take after that: %v", err)
	}
}

// TestMonitor shows by Redis' own record that a Take is one command.
func TestMonitor(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.Own())
	client := newClient(t, server.Addr)
	limiter := throttles(t, newBackend(t, client), traffik.FixedWindow{}, traffik.GCRA{Burst: 9}, traffik.SlidingWindowCounter{})
	hit(t, limiter, "user:1")
	before := commands(t, client)
	for range 10 {
		hit(t, limiter, "user:1")
	}
	after := commands(t, client)
	if after["evalsha"]-before["evalsha"] != 10 || after["mget"]-before["mget"] != 10 || after["eval"] != before["eval"] {
		t.Errorf("commands before ten hits %v, after %v; want ten scripts with one MGET each", before, after)
	}
}

// commands is how often Redis ran which command, those inside scripts included.
func commands(t *testing.T, client *redis.Client) map[string]int {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for line := range strings.Lines(info) {
		var n int
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":")
		if _, err := fmt.Sscanf(rest, "calls=%d,", &n); err == nil {
			counts[name] = n
		}
	}
	return counts
}

// TestContention: a key that others change all the time ends in ErrContention,
// and nothing is charged.
func TestContention(t *testing.T) {
	t.Parallel()
	addr := servers.Redis(t).Addr
	client, other := newClient(t, addr), newClient(t, addr)
	backend := newBackend(t, client, traffikredis.WithNamespace("contention"))
	op := traffik.Op{
		Key: traffik.Key{Scope: store.ScopeOf("c", "x"), ID: "a"}, Strategy: advanced.Tiered{},
		Draw: traffik.Draw{Rate: traffik.Per(5, time.Hour), Cost: 1},
	}
	var writes atomic.Int64
	client.AddHook(&counter{before: func(redis.Cmder) {
		other.Set(context.Background(), "contention:{a}!c|x", writes.Add(1), time.Hour)
	}})
	err := backend.Take(t.Context(), []traffik.Op{op}, make([]traffik.Decision, 1))
	if !errors.Is(err, traffik.ErrContention) {
		t.Errorf("Take of a key that never rests: %v, want ErrContention", err)
	}
	// Each attempt reads and writes; scripts are sent again, and a call that waits looks.
	if n := writes.Load(); n < 48 || n > 48+48+10 {
		t.Errorf("%d commands for a Take of 48 attempts, want at most as many for reading", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := backend.Take(ctx, []traffik.Op{op}, make([]traffik.Decision, 1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the same with a deadline: %v, want the context's", err)
	}
}

// TestOneProcessDoesNotContend: callers of one process whose Takes are decided in Go,
// and have any key in common, wait for each other.
func TestOneProcessDoesNotContend(t *testing.T) {
	t.Parallel()
	const callers, draws = 64, 10
	backend := newBackend(t, newClient(t, servers.Redis(t, servers.Own()).Addr))
	op := func(id string) traffik.Op {
		op := in("u", id, 1)
		op.Strategy, op.Draw.Rate = advanced.Tiered{}, traffik.Per(callers*draws/2, long)
		return op
	}
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for range draws {
				ops, out := []traffik.Op{op(fmt.Sprint(i)), op("all")}, make([]traffik.Decision, 2)
				if i%2 == 0 {
					ops[0], ops[1] = ops[1], ops[0]
				}
				switch err := backend.Take(t.Context(), ops, out); {
				case err != nil:
					t.Error(err)
				case out[0].Allowed && out[1].Allowed:
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := admitted.Load(); got != callers*draws/2 {
		t.Errorf("%d were admitted, want %d", got, callers*draws/2)
	}
}

// TestDenialsDoNotQueue: a Take decided in Go that writes nothing does not wait for the
// turn of a key that another holds. That one may outlive its bound of five seconds on a
// busy machine; its turn ends with it all the same, when it is let go.
func TestDenialsDoNotQueue(t *testing.T) {
	t.Parallel()
	const callers = 20
	backend := newBackend(t, newClient(t, servers.Redis(t, servers.Own()).Addr))
	tiered := func(id string, cost int64) traffik.Op {
		op := in("u", id, cost)
		op.Strategy = advanced.Tiered{}
		return op
	}
	take(t, backend, tiered("all", 10))
	holds, hold := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(holds) })
	slow := in("u", "slow", 1)
	slow.Strategy = &slowStrategy{first: func() {
		once()
		<-hold
	}}
	held := make(chan error, 1)
	go func() {
		held <- backend.Take(t.Context(), []traffik.Op{tiered("all", 1), slow}, make([]traffik.Decision, 2))
	}()
	<-holds
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			out := make([]traffik.Decision, 2)
			err := backend.Take(t.Context(), []traffik.Op{tiered(fmt.Sprint(i), 1), tiered("all", 1)}, out)
			if err != nil || out[1].Allowed || out[1].RetryAfter == 0 || out[0].Remaining != 10 {
				t.Errorf("caller %d: %+v, %v, want a denial", i, out, err)
			}
		})
	}
	wg.Wait()
	close(hold)
	if err := <-held; err != nil && !errors.Is(err, traffikredis.ErrTimeout) {
		t.Error(err)
	}
}

// TestReadingManyStates: more than a script can read at once, and none.
func TestReadingManyStates(t *testing.T) {
	t.Parallel()
	backend := newBackend(t, newClient(t, servers.Redis(t, servers.Own()).Addr))
	const last = 9999
	take(t, backend, in("u", fmt.Sprint(last), 1))
	for _, n := range []int{0, last + 1} {
		keys := make([]traffik.Key, n)
		for i := range keys {
			keys[i] = in("u", fmt.Sprint(i), 0).Key
		}
		states, now, err := backend.ReadStates(t.Context(), keys, nil)
		if err != nil || len(states) != n || now == 0 {
			t.Fatalf("%d states of %d keys at %d: %v", len(states), n, now, err)
		}
		for i := range states {
			if (len(states[i]) > 0) != (i == last) {
				t.Errorf("the state of key %d is %x", i, states[i])
			}
		}
	}
}
