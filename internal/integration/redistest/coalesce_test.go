package redistest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// jam is a backend whose two round trips are held up, so that Takes wait.
type jam struct {
	*testing.T
	backend *traffikredis.Backend
	gate    *gate
	open    func() // the gate
	plugs   chan error
}

func newJam(t *testing.T, options ...traffikredis.Option) *jam {
	t.Helper()
	return newJamOn(t, newClient(t, servers.Redis(t).Addr), []string{"plug1", "plug2"}, options...)
}

// newJamOn jams the server at which the identities plugs lie.
func newJamOn(t *testing.T, client redis.UniversalClient, plugs []string, options ...traffikredis.Option) *jam {
	t.Helper()
	j := &jam{T: t, gate: newGate(), plugs: make(chan error, 2)}
	j.backend = newBackend(t, client, options...)
	if err := j.backend.Take(t.Context(), draws("warm", 1), make([]traffik.Decision, 1)); err != nil {
		t.Fatal(err)
	}
	client.AddHook(j.gate)
	j.open = j.gate.close()
	for _, id := range plugs {
		go func() { j.plugs <- j.backend.Take(t.Context(), draws(id, 1), make([]traffik.Decision, 1)) }()
		<-j.gate.arrived
	}
	return j
}

// draws is one draw of cost units, of three in a long time, by id.
func draws(id string, cost int64) []traffik.Op {
	return []traffik.Op{{
		Key: traffik.Key{Scope: store.ScopeOf("jam", "x"), ID: id}, Strategy: traffik.TokenBucket{},
		Draw: traffik.Draw{Rate: traffik.Per(3, long), Cost: cost},
	}}
}

// take starts a Take and returns when it waits for its answer.
func (j *jam) take(ctx context.Context, ops []traffik.Op) <-chan taken {
	return j.start(ctx, ops, j.backend.Take)
}

// look is take for a Peek.
func (j *jam) look(ctx context.Context, ops []traffik.Op) <-chan taken {
	return j.start(ctx, ops, j.backend.Peek)
}

func (j *jam) start(ctx context.Context, ops []traffik.Op, ask func(context.Context, []traffik.Op, []traffik.Decision) error) <-chan taken {
	done := make(chan taken, 1)
	waiting := &arrival{Context: ctx, asked: make(chan struct{})}
	go func() {
		out := make([]traffik.Decision, len(ops))
		err := ask(waiting, ops, out)
		done <- taken{out, err}
	}()
	<-waiting.asked
	return done
}

type taken struct {
	out []traffik.Decision
	err error
}

func (j *jam) release() {
	j.open()
	for range 2 {
		if err := <-j.plugs; err != nil {
			j.Error(err)
		}
	}
}

// TestWaitingTakesGoTogether, in order of arrival: of ten draws on a key with room
// for three the first three are admitted.
func TestWaitingTakesGoTogether(t *testing.T) {
	t.Parallel()
	j := newJam(t)
	var waiting []<-chan taken
	for range 10 {
		waiting = append(waiting, j.take(t.Context(), draws("a", 1)))
	}
	before := j.gate.calls.Load()
	j.release()
	for i, done := range waiting {
		got := <-done
		if got.err != nil || got.out[0].Allowed != (i < 3) {
			t.Errorf("draw %d: %+v", i, got)
		}
	}
	if calls := j.gate.calls.Load() - before; calls != 1 {
		t.Errorf("%d script calls for ten Takes that waited, want 1", calls)
	}
}

// TestRunsOfAnyLength: equal draws on one key are one to the script, and to each
// caller what it would have been alone.
func TestRunsOfAnyLength(t *testing.T) {
	t.Parallel()
	for _, strategy := range []traffik.Strategy{
		traffik.TokenBucket{}, traffik.LeakyBucketWithQueue{}, traffik.FixedWindow{}, traffik.SlidingWindowCounter{},
	} {
		for _, n := range []int64{2, 255, 256, 257, 500} {
			t.Run(fmt.Sprint(strategy.ID(), " ", n), func(t *testing.T) {
				t.Parallel()
				j := newJam(t, traffikredis.WithNamespace("runs:"+strategy.ID()+fmt.Sprint(n)))
				op := draws("a", 1)[0]
				op.Strategy, op.Draw.Rate = strategy, traffik.Per(n-1, long)
				var waiting []<-chan taken
				for range n {
					waiting = append(waiting, j.take(t.Context(), []traffik.Op{op}))
				}
				before := j.gate.calls.Load()
				j.release()
				for i, done := range waiting {
					got := <-done
					left := max(0, n-2-int64(i))
					if got.err != nil || got.out[0].Allowed != (int64(i) < n-1) || got.out[0].Remaining != left {
						t.Errorf("draw %d: %+v, want %d to remain", i, got, left)
					}
				}
				if calls := j.gate.calls.Load() - before; calls != 1 {
					t.Errorf("%d script calls for %d Takes that waited, want 1", calls, n)
				}
				if left := left(t, j.backend, op); left != 0 {
					t.Errorf("%d remain in Redis, want none", left)
				}
			})
		}
	}
}

// TestLeaving: a caller leaves at once, whether it waits or its round trip is
// under way; what it had not sent is not drawn, and others get their answers.
func TestLeaving(t *testing.T) {
	t.Parallel()
	j := newJam(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	leaving, staying := j.take(ctx, draws("a", 2)), j.take(t.Context(), draws("a", 2))
	cancel(cause)
	if got := <-leaving; !errors.Is(got.err, cause) || errors.Is(got.err, traffik.ErrBackend) {
		t.Errorf("the caller that left got %v, want its cause", got.err)
	}
	j.release() // it has left while the round trips were held
	if got := <-staying; got.err != nil || !got.out[0].Allowed {
		t.Errorf("the one behind it: %+v, want it admitted, since nothing was drawn before", got)
	}

	open := j.gate.close()
	underWay, cancelUnderWay := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- j.backend.Take(underWay, draws("b", 1), make([]traffik.Decision, 1)) }()
	<-j.gate.arrived
	cancelUnderWay()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a caller whose round trip was under way got %v", err)
	}
	open()
}

// TestBatchesAreBounded: more Takes than fit into one script are sent in several.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	const most = 512
	j := newJam(t)
	var largest atomic.Int64
	j.gate.saw = func(cmd redis.Cmder) {
		keys, _ := cmd.Args()[2].(int)
		largest.Store(max(largest.Load(), int64(keys)))
	}
	var waiting []<-chan taken
	for i := range 1300 {
		waiting = append(waiting, j.take(t.Context(), draws(string(rune('A'+i)), 1)))
	}
	before := j.gate.calls.Load()
	j.release()
	for _, done := range waiting {
		if got := <-done; got.err != nil || !got.out[0].Allowed || got.out[0].Remaining != 2 {
			t.Fatalf("%+v", got)
		}
	}
	if calls := j.gate.calls.Load() - before; calls != 3 || largest.Load() != most {
		t.Errorf("%d script calls with up to %d keys for 1300 Takes, want 3 with up to %d", calls, largest.Load(), most)
	}
}

func TestWithoutCoalescing(t *testing.T) {
	t.Parallel()
	j := newJam(t, traffikredis.WithoutCoalescing())
	done := make(chan taken, 1)
	go func() {
		out := make([]traffik.Decision, 1)
		err := j.backend.Take(t.Context(), draws("a", 1), out)
		done <- taken{out, err}
	}()
	<-j.gate.arrived // a round trip of its own, while two others are under way
	j.release()
	if got := <-done; got.err != nil || !got.out[0].Allowed {
		t.Errorf("%+v", got)
	}
}

// TestLoneCallerOnPlainContext needs no goroutine: it makes the round trip itself.
func TestLoneCallerOnPlainContext(t *testing.T) {
	t.Parallel()
	backend := newBackend(t, newClient(t, servers.Redis(t).Addr))
	for want := range int64(3) {
		out := make([]traffik.Decision, 1)
		if err := backend.Take(context.Background(), draws("a", 1), out); err != nil || out[0].Remaining != 2-want {
			t.Errorf("%+v, %v", out, err)
		}
	}
}

// TestScriptsAreSentAgainInPipelines: Redis has forgotten the scripts of several
// batches that go together.
func TestScriptsAreSentAgainInPipelines(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.Own())
	j := newJamOn(t, newClient(t, server.Addr), []string{"plug1", "plug2"})
	own := draws("own", 1)
	own[0].Strategy = scripted{}
	waiting := []<-chan taken{j.take(t.Context(), draws("a", 1)), j.take(t.Context(), own), j.take(t.Context(), draws("b", 1))}
	if err := newClient(t, server.Addr).ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	j.release()
	for i, done := range waiting {
		if got := <-done; got.err != nil || !got.out[0].Allowed {
			t.Errorf("call %d: %+v", i, got)
		}
	}
}

func TestOpsOfATakeAreBounded(t *testing.T) {
	t.Parallel()
	backend := newBackend(t, newClient(t, servers.Redis(t).Addr))
	var ops []traffik.Op
	for i := range 513 {
		ops = append(ops, in("u"+string(rune('A'+i)), "a", 1))
	}
	take(t, backend, ops[:512]...)
	if err := backend.Take(t.Context(), ops, make([]traffik.Decision, len(ops))); !errors.Is(err, traffik.ErrUsage) {
		t.Errorf("513 ops: %v, want ErrUsage", err)
	}
}
