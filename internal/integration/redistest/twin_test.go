package redistest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// twins are the strategies that have a form in Lua, each with parameters that
// matter.
var twins = map[string][]traffik.Strategy{
	"FixedWindow":          {traffik.FixedWindow{}},
	"SlidingWindowCounter": {traffik.SlidingWindowCounter{}},
	"SlidingWindowLog":     {traffik.SlidingWindowLog{}, traffik.SlidingWindowLog{MaxEntries: 3}},
	"TokenBucket":          {traffik.TokenBucket{}, traffik.TokenBucket{Burst: 9}},
	"TokenBucketWithDebt":  {traffik.TokenBucketWithDebt{MaxDebt: 3}, traffik.TokenBucketWithDebt{Burst: 7, MaxDebt: traffik.MaxUnits - 7}},
	"LeakyBucket":          {traffik.LeakyBucket{}, traffik.LeakyBucket{Capacity: 4}},
	"LeakyBucketWithQueue": {traffik.LeakyBucketWithQueue{}, traffik.LeakyBucketWithQueue{Capacity: 6}},
	"GCRA":                 {traffik.GCRA{}, traffik.GCRA{Burst: 5}},
}

// TestTwins compares the script with Go: random Takes and Peeks of one to three
// keys, several of them in one round trip, under changing rates and a clock that
// moves both ways, with refunds, forced charges, looks and bytes that are no state.
// Decisions and stored bytes have to be identical.
func TestTwins(t *testing.T) {
	t.Parallel()
	addr := servers.Redis(t).Addr
	for name, strategies := range twins {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testTwins(t, addr, strategies)
		})
	}
	t.Run("All", func(t *testing.T) {
		t.Parallel()
		testTwins(t, addr, slices.Concat(
			twins["FixedWindow"], twins["SlidingWindowCounter"], twins["SlidingWindowLog"], twins["TokenBucket"],
			twins["TokenBucketWithDebt"], twins["LeakyBucket"], twins["LeakyBucketWithQueue"], twins["GCRA"]))
	})
}

func testTwins(t *testing.T, addr string, strategies []traffik.Strategy) {
	t.Helper()
	client := newClient(t, addr)
	namespace := "twins:" + rand.Text()
	backend, setNow := onClock(t, client, traffikredis.WithNamespace(namespace))
	take(t, backend, in("warm", "a", 1)) // Redis knows the script from now on: calls are counted
	gate := newGate()
	client.AddHook(gate)
	var serial atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		tr := newTwinTrace(rt, twinTrace{
			backend: backend, client: client, gate: gate, setNow: setNow, namespace: namespace,
		}, strategies, serial.Add(1))
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			tr.step()
		}
	})
}

// twinTrace draws on both sides.
type twinTrace struct {
	*rapid.T
	backend   *traffikredis.Backend
	client    *redis.Client
	gate      *gate
	namespace string
	setNow    func(traffik.Instant)
	now       traffik.Instant
	keys      []traffik.Op
	states    map[traffik.Key][]byte
	past      map[traffik.Key][]twinDraw
	rate      traffik.Rate // of the whole trace, if it is a calm one
}

func newTwinTrace(rt *rapid.T, on twinTrace, strategies []traffik.Strategy, serial int64) *twinTrace {
	tr := &on
	tr.T = rt
	tr.now = traffik.Instant(rapid.OneOf(rapid.Int64Range(0, 1<<52), rapid.Int64Range(0, 1e8), rapid.Just[int64](1_700_000_000_000_000)).Draw(rt, "start"))
	tr.states, tr.past = map[traffik.Key][]byte{}, map[traffik.Key][]twinDraw{}
	if rapid.Bool().Draw(rt, "calm") {
		tr.rate = rates().Draw(rt, "rate")
	}
	for _, id := range []string{"a", "b"} {
		for i, s := range strategies {
			scope := store.ScopeOf(string(rune('A'+i))+strconv.FormatInt(serial, 10), s.ID())
			tr.keys = append(tr.keys, traffik.Op{Key: traffik.Key{Scope: scope, ID: id}, Strategy: s})
		}
	}
	return tr
}

func (tr *twinTrace) step() {
	step := rapid.SampledFrom([]int64{0, 0, 1, 7, 999, 1e6, 7e6, 59e6, 60e6, 61e6, 120e6, 6e6, 1e10, -1, -1e6, -60e6, -1e9}).Draw(tr.T, "clock")
	tr.now = min(max(0, tr.now+traffik.Instant(step)), 1<<52)
	tr.setNow(tr.now)
	if rapid.IntRange(0, 9).Draw(tr.T, "spoil") == 0 {
		tr.spoil()
	}
	// Lone draws, and runs of such, have a short way of their own.
	most := rapid.SampledFrom([]int{1, 6}).Draw(tr.T, "most")
	mostOps := rapid.IntRange(1, 3).Draw(tr.T, "most ops")
	takes := make([]*twinTake, rapid.IntRange(1, most).Draw(tr.T, "takes"))
	for i := range takes {
		takes[i] = &twinTake{peek: rapid.IntRange(0, 5).Draw(tr.T, "peek") == 0, ops: tr.ops(min(mostOps, most))}
		if i > 0 && rapid.Bool().Draw(tr.T, "again") { // equal draws are drawn at once
			again := takes[rapid.IntRange(0, i-1).Draw(tr.T, "which")]
			takes[i].peek, takes[i].ops = again.peek, slices.Clone(again.ops)
		}
		takes[i].out = make([]traffik.Decision, len(takes[i].ops))
	}
	tr.runTogether(takes)
	for i, take := range takes {
		want := tr.model(take.ops, !take.peek)
		for j := range want {
			if take.out[j] != want[j] {
				tr.Fatalf("call %d of %d, peek %v, op %d of %d at %d: %s %+v advisory %v\n got %+v\nwant %+v", i, len(takes), take.peek,
					j, len(want), tr.now, take.ops[j].Strategy.ID(), take.ops[j].Draw, take.ops[j].Advisory, take.out[j], want[j])
			}
			tr.past[take.ops[j].Key] = append(tr.past[take.ops[j].Key], twinDraw{cost: take.ops[j].Draw.Cost, dec: want[j]})
		}
	}
	tr.compareStates()
}

// twinDraw is a draw that a later refund may name.
type twinDraw struct {
	cost int64
	dec  traffik.Decision
}

type twinTake struct {
	peek bool
	ops  []traffik.Op
	out  []traffik.Decision
}

// runTogether runs takes in their order, in one script call unless a long log
// makes the backend divide them: two others keep its round trips busy until all
// have come, and one of these goes on until all are answered, so that there is
// no second round trip to overtake the first.
func (tr *twinTrace) runTogether(takes []*twinTake) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	call := func(ctx context.Context, take *twinTake, done chan<- error) {
		if take.peek {
			done <- tr.backend.Peek(ctx, take.ops, take.out)
		} else {
			done <- tr.backend.Take(ctx, take.ops, take.out)
		}
	}
	done := make(chan error, len(takes)+1)
	plug := func(done chan<- error) (release func()) {
		op := tr.keys[0]
		op.Key.ID, op.Draw.Rate = "plug", traffik.Per(1, time.Second)
		release = tr.gate.close()
		go call(ctx, &twinTake{peek: true, ops: []traffik.Op{op}, out: make([]traffik.Decision, 1)}, done)
		<-tr.gate.arrived
		return release
	}
	lasts := make(chan error, 1)
	releaseLast := plug(lasts)
	release := plug(done)
	for _, take := range takes {
		waiting := &arrival{Context: ctx, asked: make(chan struct{})}
		go call(waiting, take, done)
		<-waiting.asked
	}
	before := tr.gate.calls.Load()
	release()
	for range cap(done) {
		if err := <-done; err != nil {
			tr.Fatal(err)
		}
	}
	got := tr.gate.calls.Load() - before
	releaseLast()
	if err := <-lasts; err != nil {
		tr.Fatal(err)
	}
	if want := tr.mostCalls(takes); got > want {
		tr.Fatalf("%d script calls for %d Takes that waited; want at most %d", got, len(takes), want)
	}
}

// mostCalls is into how many script calls takes may be divided.
func (*twinTrace) mostCalls(takes []*twinTake) int64 {
	for _, take := range takes {
		for _, op := range take.ops {
			if _, log := op.Strategy.(traffik.SlidingWindowLog); log {
				return int64(len(takes))
			}
		}
	}
	return 1
}

func (tr *twinTrace) ops(most int) []traffik.Op {
	var ops []traffik.Op
	for _, k := range rapid.Permutation(indices(len(tr.keys))).Draw(tr.T, "keys")[:rapid.IntRange(1, min(most, len(tr.keys))).Draw(tr.T, "ops")] {
		op := tr.keys[k]
		op.Advisory = rapid.IntRange(0, 5).Draw(tr.T, "advisory") == 0
		op.Draw = traffik.Draw{Rate: tr.rate, Cost: costs().Draw(tr.T, "cost")}
		if op.Draw.Rate.IsZero() {
			op.Draw.Rate = rates().Draw(tr.T, "rate")
		}
		op.Draw.Force = op.Draw.Cost > 0 && rapid.IntRange(0, 9).Draw(tr.T, "force") == 0
		if past := tr.past[op.Key]; op.Draw.Cost < 0 && len(past) > 0 {
			op.Draw = tr.refund(op, past[max(0, len(past)-6):])
		}
		ops = append(ops, op)
	}
	return ops
}

// refund makes op a refund of one of the draws on its key, of all or as much as it says,
// with instants that are off at times.
func (tr *twinTrace) refund(op traffik.Op, past []twinDraw) traffik.Draw {
	of := rapid.SampledFrom(past).Draw(tr.T, "of")
	units := -store.ClampCost(op.Draw.Cost)
	if of.cost > 0 && rapid.Bool().Draw(tr.T, "all of it") {
		units = of.cost
	}
	d := op.Refund(&of.dec, units).Draw
	switch rapid.IntRange(0, 7).Draw(tr.T, "off") {
	case 0:
		d.TakenAt = rapid.SampledFrom([]traffik.Instant{0, tr.now, tr.now + 5, -1}).Draw(tr.T, "taken at")
	case 1:
		d.FreeAt = rapid.SampledFrom([]traffik.Instant{0, -1, tr.now, tr.now + 1, tr.now + 1e6, traffik.MaxUnits, math.MaxInt64}).Draw(tr.T, "free at")
	case 2:
		d.Delay = rapid.SampledFrom([]time.Duration{0, -1, time.Second, math.MaxInt64}).Draw(tr.T, "delay")
	}
	return d
}

func indices(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func rates() *rapid.Generator[traffik.Rate] {
	usual := []traffik.Rate{
		traffik.Per(5, time.Minute), traffik.Per(5, time.Minute), traffik.Per(7, 3*time.Second), traffik.Per(3, time.Hour),
		traffik.Per(10_000, 30*24*time.Hour), traffik.Per(3_000_000, time.Second), traffik.Per(1, time.Microsecond),
	}
	return rapid.OneOf(rapid.SampledFrom(usual), rapid.SampledFrom(usual), rapid.Custom(func(rt *rapid.T) traffik.Rate {
		limit := rapid.Int64Range(1, traffik.MaxUnits).Draw(rt, "limit")
		period := rapid.Int64Range(1, traffik.MaxUnits).Draw(rt, "period")
		return traffik.Per(limit, time.Duration(period)*time.Microsecond)
	}))
}

func costs() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.SampledFrom([]int64{0, 1, 1, 1, 2, 3, 5, 9, -1, -2, -5}),
		rapid.SampledFrom([]int64{0, 1, 1, 1, 2, 3, 5, 9, -1, -2, -5}),
		rapid.Int64Range(math.MinInt64, math.MaxInt64),
		rapid.Int64Range(traffik.MaxUnits-2, traffik.MaxUnits+2),
	)
}

// model decides as the contract says.
func (tr *twinTrace) model(ops []traffik.Op, commit bool) []traffik.Decision {
	ops = slices.Clone(ops)
	states, out := make([][]byte, len(ops)), make([]traffik.Decision, len(ops))
	for i := range ops {
		states[i] = tr.states[ops[i].Key]
		ops[i].Draw.Now = tr.now
	}
	changes := make([]store.Change, len(ops))
	store.DecideAll(ops, states, out, changes)
	for i, change := range changes {
		switch {
		case !commit:
		case change.Write:
			tr.states[ops[i].Key] = change.State
		case change.Delete:
			delete(tr.states, ops[i].Key)
		}
	}
	return out
}

// spoil puts bytes under a key that may or may not be a state.
func (tr *twinTrace) spoil() {
	key := rapid.SampledFrom(tr.keys).Draw(tr.T, "spoiled").Key
	state := slices.Clone(tr.states[key])
	switch how := rapid.IntRange(0, 3).Draw(tr.T, "how"); {
	case how == 0:
		state = rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(tr.T, "bytes")
	case how == 1 && len(state) > 0:
		state[rapid.IntRange(0, len(state)-1).Draw(tr.T, "at")] ^= byte(rapid.IntRange(1, 255).Draw(tr.T, "by"))
	default:
		state = tr.almostAState()
	}
	tr.states[key] = state
	name := tr.namespace + ":{" + key.ID + "}!" + key.Scope.Value()
	if err := tr.client.Set(context.Background(), name, state, time.Hour).Err(); err != nil {
		tr.Fatal(err)
	}
}

// almostAState is the tag of a strategy and numbers, some of them such as no
// strategy writes.
func (tr *twinTrace) almostAState() []byte {
	now := float64(tr.now)
	odd := []float64{
		0, 1, 2, 5, now, now, now - 1, now + 1, now - 60e6, now + 60e6, now + 120e6, 60e6, 3e6, 12e6, 12e6 - 1,
		traffik.MaxUnits, traffik.MaxUnits + 2, 0.5, -1, math.Copysign(0, -1), math.NaN(), math.Inf(1),
	}
	layouts := map[byte]int{'F': 2, 'S': 4, 'L': 4, 'W': 2 * rapid.IntRange(0, 4).Draw(tr.T, "entries")}
	tag := rapid.SampledFrom([]byte{'F', 'S', 'L', 'W'}).Draw(tr.T, "tag")
	state := []byte{tag}
	for range layouts[tag] {
		state = binary.LittleEndian.AppendUint64(state, math.Float64bits(rapid.SampledFrom(odd).Draw(tr.T, "field")))
	}
	return state
}

func (tr *twinTrace) compareStates() {
	keys := make([]traffik.Key, len(tr.keys))
	for i := range tr.keys {
		keys[i] = tr.keys[i].Key
	}
	states, _, err := tr.backend.ReadStates(context.Background(), keys, nil)
	if err != nil {
		tr.Fatal(err)
	}
	for i, state := range states {
		if !bytes.Equal(positive(state), positive(tr.states[keys[i]])) {
			tr.Fatalf("%s: Redis has the state %x, Go %x", tr.keys[i].Strategy.ID(), state, tr.states[keys[i]])
		}
	}
}

// positive is state with 0 for -0, which no strategy writes, and which is 0 to
// all of them.
func positive(state []byte) []byte {
	state = slices.Clone(state)
	for at := 1; at+8 <= len(state); at += 8 {
		if binary.LittleEndian.Uint64(state[at:]) == 1<<63 {
			state[at+7] = 0
		}
	}
	return state
}

// arrival is a context that tells when somebody waits for its end.
type arrival struct {
	context.Context
	asked chan struct{}
	once  atomic.Bool
}

func (a *arrival) Done() <-chan struct{} {
	if a.once.CompareAndSwap(false, true) {
		close(a.asked)
	}
	return a.Context.Done()
}

// gate is a hook of the client that holds script calls back while it is closed,
// and counts them.
type gate struct {
	calls   atomic.Int64
	arrived chan struct{}
	opened  atomic.Pointer[chan struct{}]
	saw     func(redis.Cmder) // called with each
}

func newGate() *gate {
	g := &gate{arrived: make(chan struct{})}
	opened := make(chan struct{})
	close(opened)
	g.opened.Store(&opened)
	return g
}

// close holds calls back from now on, until they are released; those after them
// are not held then.
func (g *gate) close() (release func()) {
	opened := make(chan struct{})
	g.opened.Store(&opened)
	return func() { close(opened) }
}

func (g *gate) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name == "evalsha" || name == "eval" {
			g.calls.Add(1)
			if g.saw != nil {
				g.saw(cmd)
			}
			opened := *g.opened.Load()
			select {
			case <-opened:
			default:
				g.arrived <- struct{}{}
				<-opened
			}
		}
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
