// Package backendtest is the conformance suite of [traffik.Backend] and [traffik.Strategy].
// The in-process backend, the backends for Redis and Memcached, decorators and custom
// backends all run it unchanged:
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
	"testing"

	traffik "github.com/traffik-go/traffik/core"
)

// Features declares the promises that a backend does not make, or makes in another way. Run
// skips a case that needs a missing promise, and gives the reason. The zero Features
// promises everything.
type Features struct {
	// NotAtomicAcrossIdentities: a Take over several identities is not atomic. It draws one
	// by one and refunds on a denial.
	NotAtomicAcrossIdentities bool
	// NotAtomic: the same for any Take of several ops.
	NotAtomic bool
	// LatestTime: each key is decided at the latest time at which it was written, or at the
	// clock's if that is later. A store does so if it is shared by servers whose clocks
	// differ. Then no state lies ahead of the time at which it is decided, so looks and
	// denials have nothing to repair and write nothing. After the clock has stepped back, a
	// key stays at its latest time: Draw.Now and Decision.At are that time. Decision.Ahead
	// says how far it lies ahead of the clock, and is included in ResetAfter and in the
	// RetryAfter of a denial, except for [traffik.Never]. A key that refunds left untouched
	// keeps its time; a key that was reset does not.
	LatestTime bool
	// MaxStateBytes is the largest state it can store; 0 means 64 KiB or more.
	MaxStateBytes int
}

// New makes an empty backend to test, and a function that sets its clock. The function is
// nil if the clock can't be set. New cleans up through t.Cleanup.
type New func(t *testing.T) (backend traffik.Backend, setNow func(traffik.Instant))

// Run runs the suite. Every case makes a new backend and uses new names, so the backends
// may share one store. Cases run in parallel, and one of them resets its namespace: give
// each backend a separate one if it is a [traffik.NamespaceResetter].
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

// testCase is one promise of a backend. It is skipped where it can't be checked: without a
// clock to set, or if the backend declares that it is not atomic.
type testCase struct {
	name        string
	needsClock  bool
	needsAtomic bool
	run         func(h *harness)
}

// cases run from counting over the contract to clocks. A new promise of [traffik.Backend]
// gets a case here, so that every backend has to keep it.
var cases = []testCase{
	{name: "Limit", run: testLimit},
	{name: "TwoOpsAreBothDrawn", run: each(testBothDrawn)},
	{name: "AllOrNothing", run: each(testAllOrNothing)},
	{name: "AllOrNothingAcrossIdentities", run: each(testAllOrNothingAcrossIdentities)},
	{name: "DeniedTakeRefundsAndForcesNothing", needsAtomic: true, run: each(testDeniedTakeRefundsNothing)},
	{name: "AdvisoryStopsNobody", run: each(testAdvisory)},
	{name: "AdvisoryIsNotDrawnWhenAnotherDenies", needsAtomic: true, run: each(testAdvisoryRollback)},
	{name: "Force", run: testForce},
	{name: "Refund", run: each(testRefund)},
	{name: "RefundDeletesAnUntouchedKey", run: testRefundDeletes},
	{name: "LookKeepsTheKey", run: testLookKeeps},
	{name: "DenialChargesNothing", run: testDenialChargesNothing},
	{name: "RepairedStateIsStored", run: testRepair},
	{name: "RepairedStateIsStoredInADeniedTake", needsAtomic: true, run: testRepairInDeniedTake},
	{name: "PeekWritesNothing", run: testPeek},
	{name: "PeekAnswersAsTake", run: each(testPeekAnswers)},
	{name: "Reset", run: each(testReset)},
	{name: "KeysAreDistinct", run: testKeysDistinct},
	{name: "AnyIdentity", run: testAnyIdentity},
	{name: "DuplicateKeys", run: testDuplicateKeys},
	{name: "WrongOps", run: testWrongOps},
	{name: "HugeCost", run: each(testHugeCost)},
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
