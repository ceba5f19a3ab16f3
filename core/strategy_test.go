package traffik

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// storedKey is one key of a store without a clock.
type storedKey struct {
	strategy Strategy
	state    []byte
}

// draw decides d and stores the state.
func (k *storedKey) draw(d Draw) Decision {
	d.Cost = count.ClampCost(d.Cost)
	next, dec := k.strategy.Decide(nil, k.state, &d)
	switch {
	case len(next) > 0:
		k.state = next
	case d.Cost < 0:
		k.state = nil
	}
	return dec
}

// never in a table is a RetryAfter.
const never = int64(math.MaxInt64)

// tableEpoch is a midnight.
const tableEpoch Instant = 1_699_920_000_000_000

// takeStep is one line of a table; times are in microseconds since tableEpoch.
type takeStep struct {
	at, cost  int64
	takenAt   int64 // 0 is now
	of        int   // of a refund: the step that it refunds, counted from 1
	force     bool
	rate      Rate // the table's, if zero
	class     string
	remaining int64 // after the draw
	retry     int64 // 0 means admitted
	reset     int64
	delay     int64
}

// runSteps plays a table on one key.
func runSteps(t *testing.T, strategy Strategy, rate Rate, steps []takeStep) {
	t.Helper()
	k := &storedKey{strategy: strategy}
	var decided []Decision
	for i, s := range steps {
		d := Draw{Rate: rate, Cost: s.cost, Now: tableEpoch + Instant(s.at), Force: s.force, Class: s.class}
		if s.rate != (Rate{}) {
			d.Rate = s.rate
		}
		if s.takenAt != 0 {
			d.TakenAt = tableEpoch + Instant(s.takenAt)
		}
		if s.of > 0 {
			d = Op{Draw: d}.Refund(&decided[s.of-1], -s.cost).Draw
		}
		got := k.draw(d)
		decided = append(decided, got)
		retry := Never
		if s.retry != never {
			retry = time.Duration(s.retry) * time.Microsecond
		}
		reset, delay := time.Duration(s.reset)*time.Microsecond, time.Duration(s.delay)*time.Microsecond
		if got.Allowed != (s.retry == 0) || got.Remaining != s.remaining || got.RetryAfter != retry || got.ResetAfter != reset || got.Delay != delay {
			t.Errorf("step %d: %+v\n got %+v\nwant remaining %d, retry %v, reset %v, delay %v", i, s, got, s.remaining, retry, reset, delay)
		}
	}
}

// strategiesInTest is one of each with the given capacity.
func strategiesInTest(units int64) []Strategy {
	return []Strategy{
		FixedWindow{},
		SlidingWindowCounter{},
		SlidingWindowLog{},
		TokenBucket{Burst: units},
		TokenBucketWithDebt{Burst: units},
		GCRA{Burst: units},
		LeakyBucket{Capacity: units},
		LeakyBucketWithQueue{Capacity: units},
	}
}

// extremeRates are those that broke other limiters.
var extremeRates = []Rate{
	Per(1, time.Second),
	Per(1, time.Microsecond),
	Per(MaxUnits, time.Second),
	Per(MaxUnits, time.Microsecond),
	Per(MaxUnits, 100*365*24*time.Hour),
	Per(3_000_000, time.Second),
	Per(7, 3*time.Second),
	Per(10_000, 30*24*time.Hour),
	Per(100, time.Millisecond),
	Per(100, 100*365*24*time.Hour),
}

// Every strategy at rates and with costs at the edge of the numbers: an untouched key admits
// exactly what fits, and drawing and refunding that leaves the key unchanged.
func TestExtremeRatesAndCosts(t *testing.T) {
	t.Parallel()
	costs := []int64{0, 1, -1, 7, MaxUnits - 1, MaxUnits, MaxUnits + 1, MaxUnits + 2, -MaxUnits, math.MaxInt64, math.MinInt64}
	for _, rate := range extremeRates {
		for _, s := range strategiesInTest(rate.Limit()) {
			for _, now := range []Instant{1, tableEpoch, MaxUnits} {
				limit := rate.Limit()
				for _, cost := range append([]int64{limit, limit + 1}, costs...) {
					for _, force := range []bool{false, true} {
						k := &storedKey{strategy: s}
						d := Draw{Rate: rate, Cost: count.ClampCost(cost), Now: now, Force: force}
						next, dec := s.Decide(nil, nil, &d)
						checkDecision(t, d, next, dec)
						if fits := cost <= limit || force; dec.Allowed != fits || !fits && dec.RetryAfter != Never {
							t.Errorf("%T at %v, cost %d, force %v: %+v", s, rate, cost, force, dec)
						}
						if want := max(0, limit-max(0, min(cost, MaxUnits))); dec.Allowed && dec.Remaining != want {
							t.Errorf("%T at %v, cost %d: %d remain, want %d", s, rate, cost, dec.Remaining, want)
						}
						if cost <= 0 || !dec.Allowed {
							continue
						}
						k.draw(d)
						back := k.draw(Op{Draw: Draw{Rate: rate, Now: now}}.Refund(&dec, cost).Draw)
						if _, started := s.(LeakyBucketWithQueue); started {
							if back.Remaining != dec.Remaining || back.ResetAfter != dec.ResetAfter {
								t.Errorf("%T at %v: %d refunded of a draw that has started: %+v, before %+v", s, rate, cost, back, dec)
							}
							continue
						}
						if back.Remaining != limit || len(k.state) > 0 {
							t.Errorf("%T at %v: %d refunded leave %+v, %x", s, rate, cost, back, k.state)
						}
					}
				}
			}
		}
	}
}

func checkDecision(t *testing.T, d Draw, next []byte, dec Decision) {
	t.Helper()
	const most = time.Duration(MaxUnits) * time.Microsecond
	switch {
	case dec.Limit < 1 || dec.Remaining < 0 || dec.Remaining > dec.Limit:
		t.Fatalf("%+v: Remaining is not within 0 and Limit", dec)
	case dec.ResetAfter < 0 || dec.ResetAfter > most:
		t.Fatalf("%+v: ResetAfter is out of range", dec)
	case dec.Allowed && dec.RetryAfter != 0, (d.Cost <= 0 || d.Force) && !dec.Allowed:
		t.Fatalf("%+v for %+v", dec, d)
	case !dec.Allowed && dec.RetryAfter <= 0, dec.RetryAfter > most && dec.RetryAfter != Never:
		t.Fatalf("%+v: RetryAfter is out of range", dec)
	case d.Cost > 0 && dec.Allowed && len(next) == 0:
		t.Fatalf("%+v for %+v: an admitted draw left no state", dec, d)
	case dec.At < d.Now:
		t.Fatalf("%+v is recorded before it came, at %d", dec, d.Now)
	}
}

func TestBurstAndCapacityAreValidated(t *testing.T) {
	t.Parallel()
	for units, ok := range map[int64]bool{0: true, 1: true, MaxUnits: true, -1: false, MaxUnits + 1: false} {
		for _, s := range strategiesInTest(units) {
			v, validates := s.(Validator)
			if _, unrelated := s.(SlidingWindowLog); !validates || unrelated {
				continue
			}
			if err := v.Validate(); (err == nil) != ok || err != nil && !errors.Is(err, ErrConfig) {
				t.Errorf("%T of %d: %v", s, units, err)
			}
		}
	}
}

func TestOtherParametersAreValidated(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		strategy Validator
		ok       bool
	}{
		{SlidingWindowLog{}, true},
		{SlidingWindowLog{MaxEntries: 1}, true},
		{SlidingWindowLog{MaxEntries: maxLogEntries}, true},
		{SlidingWindowLog{MaxEntries: maxLogEntries + 1}, false},
		{SlidingWindowLog{MaxEntries: -1}, false},
		{TokenBucketWithDebt{Burst: 1, MaxDebt: MaxUnits - 1}, true},
		{TokenBucketWithDebt{Burst: 1, MaxDebt: MaxUnits}, false},
		{TokenBucketWithDebt{MaxDebt: MaxUnits}, true},
		{TokenBucketWithDebt{MaxDebt: -1}, false},
	} {
		if err := tc.strategy.Validate(); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", tc.strategy, err)
		}
	}
}

// State layouts are stored in other processes and read by other versions: their
// IDs and tags change together.
func TestIDsAreDistinct(t *testing.T) {
	t.Parallel()
	var ids []string
	for _, s := range strategiesInTest(1) {
		if slices.Contains(ids, s.ID()) {
			t.Errorf("%q twice", s.ID())
		}
		ids = append(ids, s.ID())
	}
}
