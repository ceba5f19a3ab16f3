// Package backendtest is the conformance suite of [traffik.Backend]: the
// in-process backend, those for Redis and Memcached, every decorator and
// backends of users run it unchanged.
//
//	func TestBackend(t *testing.T) {
//		backendtest.Run(t, backendtest.Features{}, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
//			clock := traffiktest.NewClock(time.Now())
//			b, err := mybackend.New(mybackend.WithClock(clock))
//			…
//			return b, clock.Set
//		})
//	}
package backendtest

import (
	"sync/atomic"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// Features declares what a backend does not promise, or promises in another way.
// What it does not promise shows as a skip with its reason; the zero Features
// promises everything.
type Features struct {
	// NotAtomicAcrossIdentities: a Take over several identities is drawn in
	// order and refunded on a denial, instead of atomically.
	NotAtomicAcrossIdentities bool
	// NotAtomic: the same for any Take of several ops.
	NotAtomic bool
	// LatestTime: each key is decided at the latest time at which it was written, or
	// at the clock's if that is later, as by a store that several servers with clocks
	// of their own share. So no state ever lies ahead of the time it is decided at, and
	// looks and denials write nothing, where others repair. After the clock stepped
	// back a key goes on at its latest time: Draw.Now and Decision.At are of that
	// time, Decision.Ahead is how far it lies ahead of the clock, and is included in
	// ResetAfter and in the RetryAfter of a denial (never in [traffik.Never]). A key that
	// refunds left untouched keeps its time, one that was reset does not. The cases that
	// repair or step back expect this instead.
	LatestTime bool
	// MaxStateBytes is the largest state it can store; 0 means 64 KiB or more.
	MaxStateBytes int
}

// New makes the backend under test, empty, and a function that sets its clock.
// A backend with a clock that can't be set returns nil for it. Cleaning up is
// New's business, through t.Cleanup.
type New func(t *testing.T) (backend traffik.Backend, setNow func(traffik.Instant))

// Run runs the suite. Every case makes a backend of its own and uses names of
// its own, so the backends may share one store. Cases run in parallel.
func Run(t *testing.T, features Features, newBackend New) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, features, newBackend)
			switch {
			case c.needsClock && h.setNow == nil:
				t.Skip("the backend's clock can't be set")
			case c.needsAtomic && features.NotAtomic:
				t.Skip("the backend declares NotAtomic")
			}
			c.run(h)
		})
	}
}

type testCase struct {
	name        string
	needsClock  bool
	needsAtomic bool
	run         func(h *harness)
}

var cases = []testCase{
	{name: "Limit", run: testLimit},
	{name: "TwoOpsAreBothDrawn", run: testBothDrawn},
	{name: "AllOrNothing", run: testAllOrNothing},
	{name: "AllOrNothingAcrossIdentities", run: testAllOrNothingAcrossIdentities},
	{name: "DeniedTakeRefundsAndForcesNothing", needsAtomic: true, run: testDeniedTakeRefundsNothing},
	{name: "AdvisoryStopsNobody", run: testAdvisory},
	{name: "AdvisoryIsNotDrawnWhenAnotherDenies", needsAtomic: true, run: testAdvisoryRollback},
	{name: "Force", run: testForce},
	{name: "Refund", run: testRefund},
	{name: "RefundDeletesAnUntouchedKey", run: testRefundDeletes},
	{name: "LookKeepsTheKey", run: testLookKeeps},
	{name: "DenialChargesNothing", run: testDenialChargesNothing},
	{name: "RepairedStateIsStored", run: testRepair},
	{name: "RepairedStateIsStoredInADeniedTake", needsAtomic: true, run: testRepairInDeniedTake},
	{name: "PeekWritesNothing", run: testPeek},
	{name: "PeekAnswersAsTake", run: testPeekAnswers},
	{name: "Reset", run: testReset},
	{name: "KeysAreDistinct", run: testKeysDistinct},
	{name: "AnyIdentity", run: testAnyIdentity},
	{name: "DuplicateKeys", run: testDuplicateKeys},
	{name: "WrongOps", run: testWrongOps},
	{name: "HugeCost", run: testHugeCost},
	{name: "EndedContext", run: testEndedContext},
	{name: "KeepsNoSlice", run: testKeepsNoSlice},
	{name: "LargeState", run: testLargeState},
	{name: "Concurrency", run: testConcurrency},
	{name: "ConcurrentTakesOfSeveralKeys", run: testConcurrentTakes},
	{name: "OneClockReading", run: testOneReading},
	{name: "RefundIntoARolledWindow", needsClock: true, run: testRefundTakenAt},
	{name: "LateRefund", needsClock: true, run: testLateRefund},
	{name: "QueueRefund", needsClock: true, run: testQueueRefund},
	{name: "ClockStepsBack", needsClock: true, run: testStepBack},
	{name: "Expiry", needsClock: true, run: testExpiry},
	{name: "ClockOutOfRange", needsClock: true, run: testClockOutOfRange},
	{name: "RandomTraces", needsClock: true, needsAtomic: true, run: testRandomTraces},
	{name: "ReadStates", run: testReadStates},
	{name: "ResetNamespace", run: testResetNamespace},
	{name: "Close", run: testClose},
}

// epoch is where settable clocks start.
const epoch traffik.Instant = 1_700_000_000_000_000

// forever is so long a period that nothing rolls, leaks or expires while a test
// runs, whatever clock the backend has.
const forever = 100 * 365 * 24 * time.Hour

// strategies are those that every case about counting goes through, each with
// room for five at once.
var strategies = []traffik.Strategy{
	traffik.FixedWindow{},
	traffik.TokenBucket{},
	traffik.GCRA{Burst: 5},
	counter{},
}

// harness is the backend under test with what the cases need around it.
type harness struct {
	*testing.T
	features Features
	backend  traffik.Backend
	setNow   func(traffik.Instant)
}

func newHarness(t *testing.T, features Features, newBackend New) *harness {
	t.Helper()
	h := &harness{T: t, features: features}
	h.backend, h.setNow = newBackend(t)
	if h.setNow != nil {
		h.setNow(epoch)
	}
	return h
}

// serial makes names that no other case, and no other run on a shared store,
// uses.
var serial atomic.Int64

// key returns a new key for strategy, with an identity of its own.
func (h *harness) key(strategy traffik.Strategy) traffik.Key {
	return h.keyOf(strategy, unique("id"))
}

func (h *harness) keyOf(strategy traffik.Strategy, id string) traffik.Key {
	return traffik.Key{Scope: store.ScopeOf(unique("uid"), strategy.ID()), ID: id}
}

// op is a draw of cost units on key, of five each forever.
func op(key traffik.Key, strategy traffik.Strategy, cost int64) traffik.Op {
	return traffik.Op{Key: key, Strategy: strategy, Draw: traffik.Draw{Rate: traffik.Per(5, forever), Cost: cost}}
}

func (h *harness) take(ops ...traffik.Op) []traffik.Decision {
	h.Helper()
	out := make([]traffik.Decision, len(ops))
	if err := h.backend.Take(h.Context(), ops, out); err != nil {
		h.Fatalf("Take: %v", err)
	}
	return out
}

func (h *harness) peek(ops ...traffik.Op) []traffik.Decision {
	h.Helper()
	out := make([]traffik.Decision, len(ops))
	if err := h.backend.Peek(h.Context(), ops, out); err != nil {
		h.Fatalf("Peek: %v", err)
	}
	return out
}

// left is what a look by Peek says remains.
func (h *harness) left(of traffik.Op) int64 {
	h.Helper()
	of.Draw.Cost = 0
	of.Draw.Class = ""
	return h.peek(of)[0].Remaining
}

func (h *harness) wantLeft(of traffik.Op, want int64) {
	h.Helper()
	if got := h.left(of); got != want {
		h.Errorf("%s: %d remain, want %d", of.Strategy.ID(), got, want)
	}
}

func (h *harness) wantAllowed(dec traffik.Decision, want bool, what string) {
	h.Helper()
	if dec.Allowed != want {
		h.Errorf("%s: allowed is %v, want %v (%+v)", what, dec.Allowed, want, dec)
	}
}
