package advanced

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

const (
	maxUnits = traffik.MaxUnits
	// epoch is a midnight.
	epoch traffik.Instant = 1_699_920_000_000_000
	// s is a second in microseconds.
	s = int64(1_000_000)
	// never in a table is a RetryAfter.
	never = int64(math.MaxInt64)
)

// storedKey is one key of a store without a clock.
type storedKey struct {
	strategy traffik.Strategy
	state    []byte
}

func (k *storedKey) draw(d traffik.Draw) traffik.Decision {
	d.Cost = store.ClampCost(d.Cost)
	next, dec := k.strategy.Decide(nil, k.state, &d)
	switch {
	case len(next) > 0:
		k.state = next
	case d.Cost < 0:
		k.state = nil
	}
	return dec
}

// takeStep is one line of a table; times are in microseconds since epoch.
type takeStep struct {
	at, cost  int64
	class     string
	takenAt   int64 // 0 is now
	of        int   // of a refund: the step that it refunds, counted from 1
	force     bool
	limit     int64 // that applied; 0 is that of the rate
	remaining int64 // after the draw
	retry     int64 // 0 means admitted
	reset     int64
}

func runSteps(t *testing.T, strategy traffik.Strategy, rate traffik.Rate, steps []takeStep) {
	t.Helper()
	k := &storedKey{strategy: strategy}
	var decided []traffik.Decision
	for i, s := range steps {
		d := traffik.Draw{Rate: rate, Cost: s.cost, Now: epoch + traffik.Instant(s.at), Class: s.class, Force: s.force}
		if s.takenAt != 0 {
			d.TakenAt = epoch + traffik.Instant(s.takenAt)
		}
		if s.of > 0 {
			d = traffik.Op{Draw: d}.Refund(&decided[s.of-1], -s.cost).Draw
		}
		got := k.draw(d)
		decided = append(decided, got)
		retry := traffik.Never
		if s.retry != never {
			retry = time.Duration(s.retry) * time.Microsecond
		}
		limit := s.limit
		if limit == 0 {
			limit = rate.Limit()
		}
		reset := time.Duration(s.reset) * time.Microsecond
		if got.Allowed != (s.retry == 0) || got.Limit != limit || got.Remaining != s.remaining || got.RetryAfter != retry || got.ResetAfter != reset {
			t.Errorf("step %d: %+v\n got %+v\nwant limit %d, remaining %d, retry %v, reset %v", i, s, got, limit, s.remaining, retry, reset)
		}
	}
}

// everyStrategy is one of each; all of them admit the limit to an untouched key,
// the one with the carry at least.
func everyStrategy() []traffik.Strategy {
	return []traffik.Strategy{
		Tiered{},
		TimeOfDay{Hours: []Hours{{From: 0, To: 24, Factor: Whole}}},
		Adaptive{},
		Priority{Low: 1, Normal: Whole, High: Whole},
		QuotaWithRollover{},
		CostBasedTokenBucket{},
	}
}

var extremeRates = []traffik.Rate{
	traffik.Per(1, time.Second),
	traffik.Per(1, time.Microsecond),
	traffik.Per(maxUnits, time.Second),
	traffik.Per(maxUnits, time.Microsecond),
	traffik.Per(maxUnits, 100*365*24*time.Hour),
	traffik.Per(3_000_000, time.Second),
	traffik.Per(7, 3*time.Second),
	traffik.Per(10_000, 30*24*time.Hour),
	traffik.Per(100, time.Millisecond),
	traffik.Per(100, 100*365*24*time.Hour),
}

func checkDecision(t *testing.T, d traffik.Draw, next []byte, dec traffik.Decision) {
	t.Helper()
	const most = time.Duration(maxUnits) * time.Microsecond
	switch {
	case dec.Limit < 1 || dec.Remaining < 0 || dec.Remaining > dec.Limit:
		t.Fatalf("%+v: Remaining is not within 0 and Limit", dec)
	case dec.ResetAfter < 0 || dec.ResetAfter > most:
		t.Fatalf("%+v: ResetAfter is out of range", dec)
	case dec.Allowed && dec.RetryAfter != 0, (d.Cost <= 0 || d.Force) && !dec.Allowed:
		t.Fatalf("%+v for %+v", dec, d)
	case !dec.Allowed && dec.RetryAfter <= 0, dec.RetryAfter > most && dec.RetryAfter != traffik.Never:
		t.Fatalf("%+v: RetryAfter is out of range", dec)
	case d.Cost > 0 && dec.Allowed && len(next) == 0:
		t.Fatalf("%+v for %+v: an admitted draw left no state", dec, d)
	case dec.At < d.Now || dec.Delay != 0:
		t.Fatalf("%+v for %+v", dec, d)
	}
}

// Every strategy at rates and with costs at the edge of what numbers hold: an
// untouched key admits exactly its limit, and what is drawn and refunded
// leaves nothing.
func TestExtremeRatesAndCosts(t *testing.T) {
	t.Parallel()
	for _, rate := range extremeRates {
		for _, strategy := range everyStrategy() {
			for _, now := range []traffik.Instant{1, epoch, maxUnits} {
				limit := (&storedKey{strategy: strategy}).draw(traffik.Draw{Rate: rate, Now: now}).Limit
				if limit < rate.Limit() {
					t.Fatalf("%T at %v: a limit of %d", strategy, rate, limit)
				}
				for _, cost := range []int64{
					limit, limit + 1, 0, 1, -1, 7, maxUnits - 1, maxUnits, maxUnits + 1, maxUnits + 2, -maxUnits, math.MaxInt64, math.MinInt64,
				} {
					for _, force := range []bool{false, true} {
						extreme(t, strategy, traffik.Draw{Rate: rate, Cost: store.ClampCost(cost), Now: now, Force: force}, limit)
					}
				}
			}
		}
	}
}

func extreme(t *testing.T, strategy traffik.Strategy, d traffik.Draw, limit int64) {
	t.Helper()
	next, dec := strategy.Decide(nil, nil, &d)
	checkDecision(t, d, next, dec)
	if fits := d.Cost <= limit || d.Force; dec.Allowed != fits || !fits && dec.RetryAfter != traffik.Never {
		t.Errorf("%T: %+v: %+v", strategy, d, dec)
	}
	if want := max(0, limit-max(0, min(d.Cost, maxUnits))); dec.Allowed && dec.Remaining != want {
		t.Errorf("%T: %+v: %d remain, want %d", strategy, d, dec.Remaining, want)
	}
	if sizer, ok := strategy.(traffik.StateSizer); !ok || len(next) > sizer.MaxStateBytes(d.Rate) {
		t.Errorf("%T: a state of %d bytes", strategy, len(next))
	}
	if info, ok := strategy.(traffik.Describer); !ok || info.Describe(next, &d) == nil {
		t.Errorf("%T describes nothing", strategy)
	}
	if d.Cost <= 0 || !dec.Allowed {
		return
	}
	k := &storedKey{strategy: strategy, state: next}
	back := k.draw(traffik.Draw{Rate: d.Rate, Cost: -min(d.Cost, maxUnits), Now: d.Now, TakenAt: dec.At})
	if back.Remaining != limit || len(k.state) > 0 {
		t.Errorf("%T: %+v refunded leaves %+v, %x", strategy, d, back, k.state)
	}
}

func TestParametersAreValidated(t *testing.T) {
	t.Parallel()
	day := []Hours{{From: 0, To: 24, Factor: Whole}}
	for _, tc := range []struct {
		strategy traffik.Validator
		wrong    string // what the error names; "" for none
	}{
		{Tiered{}, ""},
		{Tiered{Tiers: map[string]PPM{"pro": Times(5)}, Default: "pro"}, ""},
		{Tiered{Tiers: map[string]PPM{"pro": 0}}, `"pro"`},
		{Tiered{Tiers: map[string]PPM{"pro": -5}}, "-5 ppm"},
		{Tiered{Default: "free"}, `"free"`},
		{TimeOfDay{Hours: day}, ""},
		{TimeOfDay{}, "hour 0"},
		{TimeOfDay{Hours: []Hours{{From: 0, To: 23, Factor: 1}}}, "hour 23"},
		{TimeOfDay{Hours: []Hours{{From: 22, To: 6, Factor: 1}, {From: 6, To: 22, Factor: 1}}}, ""},
		{TimeOfDay{Hours: []Hours{{From: 22, To: 7, Factor: 1}, {From: 6, To: 22, Factor: 1}}}, "hour 6 2 times"},
		{TimeOfDay{Hours: []Hours{{From: 0, To: 25, Factor: 1}}}, "25"},
		{TimeOfDay{Hours: []Hours{{From: -1, To: 24, Factor: 1}}}, "-1"},
		{TimeOfDay{Hours: []Hours{{From: 0, To: 24}}}, "0 ppm"},
		{Adaptive{}, ""},
		{Adaptive{Threshold: Whole, Reduction: Whole, Recovery: 1, Floor: Whole}, ""},
		{Adaptive{Threshold: Whole + 1}, "Threshold"},
		{Adaptive{Reduction: -1}, "Reduction"},
		{Adaptive{Recovery: -1}, "Recovery"},
		{Adaptive{Floor: Whole + 1}, "Floor"},
		{Priority{}, ""},
		{Priority{Low: 1, Normal: 1, High: 1}, ""},
		{Priority{Low: Percent(80)}, "Priority.Low"}, // Normal is 75 percent
		{Priority{High: Whole + 1}, "Priority.High"},
		{QuotaWithRollover{Share: Whole, Cap: maxUnits}, ""},
		{QuotaWithRollover{Share: Whole + 1}, "Share"},
		{QuotaWithRollover{Cap: -1}, "Cap"},
		{CostBasedTokenBucket{}, ""},
		{CostBasedTokenBucket{Burst: maxUnits, Window: 1024, Floor: Whole}, ""},
		{CostBasedTokenBucket{Burst: -1}, "Burst"},
		{CostBasedTokenBucket{Window: 1025}, "Window"},
		{CostBasedTokenBucket{Floor: -1}, "Floor"},
	} {
		err := tc.strategy.Validate()
		switch {
		case tc.wrong == "" && err != nil:
			t.Errorf("%+v: %v", tc.strategy, err)
		case tc.wrong != "" && (!errors.Is(err, traffik.ErrConfig) || !strings.Contains(err.Error(), tc.wrong)):
			t.Errorf("%+v: %v, want an ErrConfig that names %s", tc.strategy, err, tc.wrong)
		}
	}
}

func TestIDsAreDistinct(t *testing.T) {
	t.Parallel()
	var ids, tags []string
	for _, strategy := range everyStrategy() {
		next, _ := strategy.Decide(nil, nil, &traffik.Draw{Rate: traffik.Per(5, time.Second), Cost: 1, Now: epoch})
		if slices.Contains(ids, strategy.ID()) || slices.Contains(tags, string(next[:1])) {
			t.Errorf("%q or its tag %q twice", strategy.ID(), next[:1])
		}
		ids, tags = append(ids, strategy.ID()), append(tags, string(next[:1]))
	}
}

func TestPPM(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		share       PPM
		units, want int64
	}{
		{Percent(29), 100, 29}, // 28 in float64
		{Percent(30), 1, 0},
		{Times(2), 7, 14},
		{1, 999_999, 0},
		{Times(1000), maxUnits, maxUnits},
		{maxUnits, maxUnits, maxUnits},
	} {
		if got := tc.share.of(tc.units); got != tc.want {
			t.Errorf("%d ppm of %d are %d, want %d", tc.share, tc.units, got, tc.want)
		}
	}
}

// Decide allocates nothing but the state it appends.
func TestDecideAllocatesNothing(t *testing.T) {
	for _, strategy := range everyStrategy() {
		k := &storedKey{strategy: strategy}
		d := traffik.Draw{Rate: traffik.Per(5, time.Hour), Cost: 1, Now: epoch}
		for range 4 {
			k.draw(d)
		}
		buf := make([]byte, 0, 4096)
		if got := testing.AllocsPerRun(100, func() { strategy.Decide(buf, k.state, &d) }); got > 0 {
			t.Errorf("%T: %v allocations for a draw", strategy, got)
		}
		d.Cost = 5
		if got := testing.AllocsPerRun(100, func() { strategy.Decide(buf, k.state, &d) }); got > 0 {
			t.Errorf("%T: %v allocations for a denial", strategy, got)
		}
	}
}
