package backendtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/backendtest"
)

// All strategies of the project keep the promises that any has to keep.
func TestStrategies(t *testing.T) {
	t.Parallel()
	for _, s := range []traffik.Strategy{
		traffik.FixedWindow{},
		traffik.SlidingWindowCounter{},
		traffik.SlidingWindowLog{},
		traffik.TokenBucket{},
		traffik.TokenBucketWithDebt{Burst: 3, MaxDebt: 4},
		traffik.LeakyBucket{},
		traffik.LeakyBucketWithQueue{Capacity: 3},
		traffik.GCRA{},
		advanced.Tiered{Tiers: map[string]advanced.PPM{advanced.Low: advanced.Percent(30), advanced.High: advanced.Times(3)}},
		advanced.TimeOfDay{Hours: []advanced.Hours{{From: 22, To: 6, Factor: advanced.Percent(50)}, {From: 6, To: 22, Factor: advanced.Whole}}},
		advanced.Adaptive{},
		advanced.Priority{},
		advanced.QuotaWithRollover{},
		advanced.CostBasedTokenBucket{},
	} {
		t.Run(s.ID(), func(t *testing.T) {
			t.Parallel()
			backendtest.RunStrategy(t, s, "", advanced.Low, advanced.High)
		})
	}
}

// faulty is FixedWindow with one fault.
type faulty struct {
	traffik.FixedWindow
	decide func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision)
}

func (f faulty) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	return f.decide(dst, state, d)
}

var sound = traffik.FixedWindow{}

// strategyFaults each break one promise; noticedBy is the case that must notice.
var strategyFaults = map[string]struct {
	noticedBy string
	decide    func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision)
}{
	"replaces dst": {"Decision", func(_, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		return sound.Decide(nil, state, d)
	}},
	"writes to its draw": {"Decision", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		d.TakenAt++
		return sound.Decide(dst, state, d)
	}},
	"limit of 0": {"Decision", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		next, dec := sound.Decide(dst, state, d)
		dec.Limit = 0
		return next, dec
	}},
	"waits too long": {"RetryAfterIsExact", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		next, dec := sound.Decide(dst, state, d)
		if !dec.Allowed && dec.RetryAfter != traffik.Never {
			dec.RetryAfter += time.Microsecond
		}
		return next, dec
	}},
	"remains too much": {"RemainingIsTrue", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		next, dec := sound.Decide(dst, state, d)
		dec.Remaining = min(dec.Limit, dec.Remaining+1)
		return next, dec
	}},
	"stores denials": {"DeniedDrawsChangeNothing", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		next, dec := sound.Decide(dst, state, d)
		if !dec.Allowed && len(next) == len(dst) {
			next = append(next, state...)
		}
		return next, dec
	}},
	"gives half back": {"RefundIsTheInverse", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		half := *d
		if half.Cost < -1 {
			half.Cost /= 2
		}
		return sound.Decide(dst, state, &half)
	}},
	"resets early": {"ResetAfterIsTrue", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		next, dec := sound.Decide(dst, state, d)
		dec.ResetAfter = max(0, dec.ResetAfter-time.Microsecond)
		return next, dec
	}},
	"trusts its tag": {"AnyBytes", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		if len(state) == 17 {
			state = append([]byte{'F'}, state[1:]...)
		}
		return sound.Decide(dst, state, d)
	}},
	"forgets at another rate": {"ChangesHandOutNoQuota", func(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
		rate := fmt.Sprintf("%20d", d.Rate.Limit())
		if at := len(state) - len(rate); at >= 0 && string(state[at:]) == rate {
			state = state[:at]
		}
		next, dec := sound.Decide(dst, state, d)
		if len(next) > len(dst) {
			next = append(next, rate...)
		}
		return next, dec
	}},
}

const strategyFaultVariable = "BACKENDTEST_STRATEGY_FAULT"

// TestStrategyFault runs the checks on a faulty strategy, when asked to by
// TestStrategyFaultsAreNoticed.
func TestStrategyFault(t *testing.T) {
	fault, ok := strategyFaults[os.Getenv(strategyFaultVariable)]
	if !ok {
		return
	}
	backendtest.RunStrategy(t, faulty{decide: fault.decide})
}

func TestStrategyFaultsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, fault := range strategyFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			//nolint:gosec // this very binary
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStrategyFault$/^"+fault.noticedBy+"$", "-test.v")
			cmd.Env = append(os.Environ(), strategyFaultVariable+"="+name)
			output, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(output), "--- FAIL: TestStrategyFault/"+fault.noticedBy) {
				t.Errorf("%s did not fail for a strategy that %s: %v\n%s", fault.noticedBy, name, err, output)
			}
		})
	}
}
