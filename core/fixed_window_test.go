package traffik

import (
	"testing"
	"time"
)

func TestFixedWindowTable(t *testing.T) {
	t.Parallel()
	start := testEpoch - testEpoch%10_000_000
	(&table{strategy: FixedWindow{}, rate: Per(3, 10*time.Second), start: start}).play(t, []drawStep{
		{2 * time.Second, 2, true, 1, 0, 8 * time.Second},
		{3 * time.Second, 2, false, 1, 7 * time.Second, 7 * time.Second},
		{9 * time.Second, 1, true, 0, 0, time.Second},
		{9 * time.Second, 4, false, 0, Never, time.Second},
		{10*time.Second - time.Microsecond, 1, false, 0, time.Microsecond, time.Microsecond},
		{10 * time.Second, 0, true, 3, 0, 0},
		{10 * time.Second, 3, true, 0, 0, 10 * time.Second},
		{11 * time.Second, -2, true, 2, 0, 9 * time.Second},
		{35 * time.Second, 1, true, 2, 0, 5 * time.Second},
	})
}

// Draws of a window that has rolled can't be refunded: that would admit twice the limit.
func TestRefundIntoARolledWindow(t *testing.T) {
	t.Parallel()
	start := testEpoch - testEpoch%10_000_000
	k := &table{strategy: FixedWindow{}, rate: Per(3, 10*time.Second)}
	old := k.take(Draw{Cost: 3, Now: start + 9_999_999})
	k.take(Draw{Cost: 3, Now: start + 10_000_000})
	if dec := k.take(Draw{Cost: -3, TakenAt: old.At, Now: start + 10_000_001}); dec.Remaining != 0 {
		t.Errorf("%+v after giving the old window's draw back, want nothing remaining", dec)
	}
	// A refund that names no instant, or a future one, is of a draw of now.
	if dec := k.take(Draw{Cost: -1, Now: start + 10_000_002}); dec.Remaining != 1 {
		t.Errorf("%+v, want 1 remaining", dec)
	}
	if dec := k.take(Draw{Cost: -1, TakenAt: start + 99_000_000, Now: start + 10_000_003}); dec.Remaining != 2 {
		t.Errorf("%+v, want 2 remaining", dec)
	}
}

// A step back into the window before is held: the later window goes on
// counting, and a draw in it can be refunded.
func TestFixedWindowHoldsOverASmallStepBack(t *testing.T) {
	t.Parallel()
	start := testEpoch - testEpoch%10_000_000
	k := &table{strategy: FixedWindow{}, rate: Per(3, 10*time.Second)}
	k.take(Draw{Cost: 2, Now: start + 10_000_000})
	dec := k.take(Draw{Cost: 1, Now: start + 9_000_000})
	if !dec.Allowed || dec.Remaining != 0 || dec.At != start+10_000_000 || dec.ResetAfter != 11*time.Second {
		t.Errorf("%+v a second before the window that counts, want it counted there", dec)
	}
	if dec := k.take(Draw{Cost: -1, TakenAt: dec.At, Now: start + 9_000_000}); dec.Remaining != 1 {
		t.Errorf("%+v, want the draw refunded", dec)
	}
	if dec := k.take(Draw{Cost: 1, Now: start + 10_000_000}); dec.Remaining != 0 {
		t.Errorf("%+v when the window begins again, want the same count", dec)
	}
}

// With its last unit refunded a key is untouched, the window that it was
// counted in included: a clock that then steps back finds the window before
// untouched as well. This is the documented envelope of refunds and steps back
// together, one limit more for such a step.
func TestFixedWindowForgetsWithTheLastRefund(t *testing.T) {
	t.Parallel()
	start := testEpoch - testEpoch%10_000_000
	k := &table{strategy: FixedWindow{}, rate: Per(3, 10*time.Second)}
	k.take(Draw{Cost: 3, Now: start + 9_999_999})
	k.take(Draw{Cost: 1, Now: start + 10_000_000})
	if dec := k.take(Draw{Cost: -1, Now: start + 10_000_000}); dec.Remaining != 3 || dec.ResetAfter != 0 {
		t.Errorf("%+v, want an untouched key", dec)
	}
	if dec := k.take(Draw{Cost: 3, Now: start + 9_999_999}); !dec.Allowed {
		t.Errorf("%+v after the step back, want an untouched key", dec)
	}
	// As long as one unit is counted, the window is held.
	k.take(Draw{Cost: 1, Now: start + 10_000_000})
	if dec := k.take(Draw{Cost: 3, Now: start + 9_999_999}); dec.Allowed || dec.Remaining != 2 {
		t.Errorf("%+v after another step back, want the window held", dec)
	}
}

// A changed period keeps the meaning of the state, and a lowered limit keeps the count.
func TestFixedWindowRateChange(t *testing.T) {
	t.Parallel()
	start := testEpoch - testEpoch%60_000_000
	k := &table{strategy: FixedWindow{}}
	k.take(Draw{Rate: Per(10, 10*time.Second), Cost: 8, Now: start + 1_000_000})
	if dec := k.take(Draw{Rate: Per(10, time.Minute), Now: start + 9_000_000}); dec.Remaining != 2 {
		t.Errorf("%+v under a longer period, want 2 remaining", dec)
	}
	if dec := k.take(Draw{Rate: Per(5, time.Minute), Now: start + 9_000_000}); dec.Remaining != 0 || dec.ResetAfter != 51*time.Second {
		t.Errorf("%+v under a lower limit, want nothing remaining", dec)
	}
	if dec := k.take(Draw{Rate: Per(20, time.Minute), Cost: 12, Now: start + 9_000_000}); !dec.Allowed || dec.Remaining != 0 {
		t.Errorf("%+v under a higher limit, want the 12 that are left admitted", dec)
	}
}
