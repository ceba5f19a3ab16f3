// Package backendtest is the conformance suite of [traffik.Backend] and
// [traffik.Strategy]. The in-process backend, those for Redis and Memcached, every
// decorator and custom backends run it unchanged:
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

// Features declares what a backend does not promise, or promises in another way. A case
// that needs a missing promise is a skip with its reason; the zero Features promises
// everything.
type Features struct {
	// NotAtomicAcrossIdentities: a Take over several identities is drawn one by one and
	// refunded on a denial, instead of atomically.
	NotAtomicAcrossIdentities bool
	// NotAtomic: the same for any Take of several ops.
	NotAtomic bool
	// LatestTime: each key is decided at the latest time at which it was written, or at
	// the clock's if that is later. A store shared by several servers with clocks of
	// different time does so. Then no state lies ahead of the time it is decided at, and
	// looks and denials write nothing where others repair. After the clock stepped back a
	// key goes on at its latest time: Draw.Now and Decision.At are of that time, and
	// Decision.Ahead, how far it lies ahead of the clock, is included in ResetAfter and in
	// the RetryAfter of a denial (never in [traffik.Never]). A key that refunds left
	// untouched keeps its time; one that was reset does not.
	LatestTime bool
	// MaxStateBytes is the largest state it can store; 0 means 64 KiB or more.
	MaxStateBytes int
}

// New makes the backend under test, empty, and a function that sets its clock, nil for a
// clock that can't be set. New cleans up through t.Cleanup.
type New func(t *testing.T) (backend traffik.Backend, setNow func(traffik.Instant))

// Run runs the suite. Every case makes a new backend and uses new names, so the backends
// may share one store. Cases run in parallel.
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
