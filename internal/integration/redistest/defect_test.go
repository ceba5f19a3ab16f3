package redistest

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// panicky is a strategy of an application that has a defect.
type panicky struct{}

func (panicky) ID() string { return "redistest_panicky.1" }

func (panicky) Decide([]byte, []byte, *traffik.Draw) ([]byte, traffik.Decision) { panic("defect") }

// wantPanic wants what f panics with to be that of panicky, on this goroutine.
func wantPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if got := recover(); got != "defect" {
			t.Errorf("recovered %v, want the strategy's panic", got)
		}
	}()
	f()
}

func TestPanicOfAStrategyIsTheCallers(t *testing.T) {
	t.Parallel()
	op := in("u", "a", 1)
	op.Strategy = panicky{}
	backend := newBackend(t, newClient(t, servers.Redis(t).Addr))
	for _, ctx := range []context.Context{t.Context(), context.Background()} {
		wantPanic(t, func() { _ = backend.Take(ctx, []traffik.Op{op}, make([]traffik.Decision, 1)) })
	}
	take(t, backend, in("u", "b", 1))
}

// In a Cluster the others refund what they drew before the panic goes on, as
// they do when units can't be refunded.
func TestDefectsInACluster(t *testing.T) {
	t.Parallel()
	backend := newBackend(t, newClusterClient(t, servers.RedisCluster(t).Addrs()))
	bad := in("u", "b", 1)
	bad.Strategy = panicky{}
	wantPanic(t, func() { _ = backend.Take(t.Context(), []traffik.Op{in("u", "a", 2), bad}, make([]traffik.Decision, 2)) })
	if got := left(t, backend, in("u", "a", 0)); got != 10 {
		t.Errorf("%d left after a panic, want 10", got)
	}
	refund := in("u", "b", -1)
	refund.Strategy = broken{}
	if err := backend.Take(t.Context(), []traffik.Op{in("u", "a", 2), refund}, make([]traffik.Decision, 2)); err == nil {
		t.Error("a refund that fails is no error")
	}
	if got := left(t, backend, in("u", "a", 0)); got != 10 {
		t.Errorf("%d left after a refund failed, want 10", got)
	}
}

// A script that fails takes no other caller of its round trip with it.
func TestFailingScriptFailsItsCallerAlone(t *testing.T) {
	t.Parallel()
	j := newJam(t)
	bad := draws("bad", 1)
	bad[0].Strategy = broken{}
	first, failing, last := j.take(t.Context(), draws("first", 1)), j.take(t.Context(), bad), j.take(t.Context(), draws("last", 1))
	j.release()
	if got := <-failing; got.err == nil {
		t.Error("the script did not fail")
	}
	for _, c := range []<-chan taken{first, last} {
		if got := <-c; got.err != nil {
			t.Errorf("another caller: %v", got.err)
		}
	}
}

// forever is a quota that never resets.
type forever struct{}

func (forever) ID() string { return "redistest_forever.1" }

func (forever) Decide(dst, _ []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	return append(dst, 'x'), traffik.Decision{Allowed: true, Limit: 3, Remaining: 2, ResetAfter: traffik.Never, At: d.Now}
}

func TestStateThatNeverResets(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client)
	op := in("u", "a", 1)
	op.Strategy = forever{}
	take(t, backend, in("v", "a", 1), op)
	keys := client.Keys(t.Context(), "*").Val()
	if len(keys) != 2 {
		t.Fatalf("keys %q, want two", keys)
	}
	for _, key := range keys {
		if ttl := client.PTTL(t.Context(), key).Val(); ttl < time.Hour {
			t.Errorf("%s is kept for %v", key, ttl)
		}
	}
}

// rude panics in each command while it is on, or in those for two keys.
type rude struct {
	counter
	on, several bool
}

func (r *rude) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); r.on || r.several && len(args) > 2 && args[2] == 2 {
			panic("defect")
		}
		return next(ctx, cmd)
	}
}

// Panics of a client's hook leave no round trip behind that others wait for.
func TestPanicOfAHook(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	backend := newBackend(t, client)
	hook := &rude{on: true}
	client.AddHook(hook)
	for range 3 {
		for _, ctx := range []context.Context{context.Background(), t.Context()} {
			wantPanic(t, func() { _ = backend.Take(ctx, draws(t.Name(), 1), make([]traffik.Decision, 1)) })
		}
	}
	hook.on = false
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := backend.Take(ctx, draws(t.Name(), 1), make([]traffik.Decision, 1)); err != nil {
		t.Error(err)
	}
}

// Each caller of a round trip that panics gets the panic.
func TestPanicOfAHookBelongsToAllCallers(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	j := newJamOn(t, client, []string{"plug1", "plug2"})
	client.AddHook(&rude{several: true})
	panics := make(chan any, 2)
	for _, id := range []string{"a", "b"} {
		waiting := &arrival{Context: t.Context(), asked: make(chan struct{})}
		go func() {
			defer func() { panics <- recover() }()
			_ = j.backend.Take(waiting, draws(id, 1), make([]traffik.Decision, 1))
		}()
		<-waiting.asked
	}
	j.release()
	for range 2 {
		if got := <-panics; got != "defect" {
			t.Errorf("a caller recovered %v, want the hook's panic", got)
		}
	}
}

// TestHookThatEndsItsGoroutine as [testing.T.FailNow] does: its callers get an error,
// and no round trip is lost.
func TestHookThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	backend := newBackend(t, client)
	hook := &counter{before: func(redis.Cmder) { runtime.Goexit() }}
	inGo := in("go", "a", 1)
	inGo.Strategy = advanced.Tiered{}
	client.AddHook(hook)
	for range 3 {
		for _, ops := range [][]traffik.Op{draws(t.Name(), 1), {inGo}} {
			if err := backend.Take(t.Context(), ops, make([]traffik.Decision, 1)); !errors.Is(err, traffikredis.ErrUnreachable) {
				t.Errorf("%s: %v, want ErrUnreachable", ops[0].Strategy.ID(), err)
			}
		}
	}
	hook.before = nil
	take(t, backend, draws(t.Name(), 1)...)
}

// sloppy brings a script that answers nonsense.
type sloppy struct {
	scripted
	answer string
}

func (s sloppy) ID() string          { return "redistest_sloppy.1" }
func (s sloppy) RedisScript() string { return "return function() return " + s.answer + " end" }

// A script that answers what is no decision fails its Take, and nothing of it is
// written.
func TestNonsenseOfAScript(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client)
	for _, answer := range []string{
		"nil", "'x'", "{}, {}", "'x', {allowed = true, limit = 1, remaining = 1}",
		"'x', {allowed = true, limit = 1, remaining = 1, reset_after = -5}",
		"'x', {allowed = true, limit = 1, remaining = 1, reset_after = 0.5}",
		"'x', {allowed = true, limit = 1, remaining = 1, reset_after = 0/0}",
		"'x', {allowed = true, limit = 1, remaining = 1, reset_after = 1/0}",
		"'x', {allowed = true, limit = 1, remaining = 1, reset_after = 2^60}",
		"'x', {allowed = true, limit = 1, remaining = 1, reset_after = 'soon'}",
		"'x', {allowed = true, limit = 1, reset_after = 1}",
		"'x', {allowed = true, remaining = 1, reset_after = 1}",
		"'x', {allowed = true, limit = 1, remaining = 1, reset_after = 1, retry_after = -2}",
	} {
		op := in("v", "a", 1)
		op.Strategy = sloppy{answer: answer}
		err := backend.Take(t.Context(), []traffik.Op{in("u", "a", 1), op}, make([]traffik.Decision, 2))
		if !errors.Is(err, traffikredis.ErrScript) {
			t.Errorf("%s: %v, want ErrScript", answer, err)
		}
		if keys := client.Keys(t.Context(), "*").Val(); len(keys) > 0 {
			t.Fatalf("%s: wrote %q", answer, keys)
		}
	}
}

// hasty is a strategy whose ResetAfter lies in the past.
type hasty struct{}

func (hasty) ID() string { return "redistest_hasty.1" }

func (hasty) Decide(dst, _ []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	return append(dst, 'x'), traffik.Decision{Allowed: true, Limit: 3, Remaining: 2, ResetAfter: -time.Hour, At: d.Now}
}

// A strategy that misjudges its expiry loses its own state, at worst.
func TestExpiryInThePast(t *testing.T) {
	t.Parallel()
	backend := newBackend(t, newClient(t, servers.Redis(t).Addr))
	op := in("u", "a", 1)
	op.Strategy = hasty{}
	take(t, backend, op, in("v", "a", 1))
	if got := left(t, backend, in("v", "a", 0)); got != 9 {
		t.Errorf("%d left beside it, want 9", got)
	}
}

// Draws on long logs don't go together: Redis does nothing else meanwhile.
func TestLongLogsGoAlone(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]int64{10: 1, 8000: 20} {
		j := newJam(t)
		var all []<-chan taken
		for range 20 {
			op := draws("log", 1)
			op[0].Strategy, op[0].Draw.Rate = traffik.SlidingWindowLog{}, traffik.Per(limit, 24*time.Hour)
			all = append(all, j.take(t.Context(), op))
		}
		before := j.gate.calls.Load()
		j.release()
		for _, c := range all {
			if got := <-c; got.err != nil {
				t.Error(got.err)
			}
		}
		if got := j.gate.calls.Load() - before; got != want {
			t.Errorf("%d script calls for 20 draws on a log of %d, want %d", got, limit, want)
		}
	}
}
