package traffik

import (
	"math"
	"testing"
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// drawStep is one line of a table: at an instant after the start, a draw, and
// what it should answer.
type drawStep struct {
	at        time.Duration
	cost      int64
	allowed   bool
	remaining int64
	retry     time.Duration
	reset     time.Duration
}

// table plays steps on one key, as a backend would store it.
type table struct {
	strategy Strategy
	rate     Rate
	start    Instant
	state    []byte
}

func (k *table) take(d Draw) Decision {
	if d.Rate.IsZero() {
		d.Rate = k.rate
	}
	d.Cost = count.ClampCost(d.Cost)
	next, dec := k.strategy.Decide(nil, k.state, &d)
	if len(next) > 0 || d.Cost < 0 {
		k.state = next
	}
	return dec
}

func (k *table) play(t *testing.T, steps []drawStep) {
	t.Helper()
	for i, s := range steps {
		now := k.start.Add(s.at)
		got := k.take(Draw{Cost: s.cost, Now: now})
		if got.Allowed != s.allowed || got.Remaining != s.remaining || got.RetryAfter != s.retry || got.ResetAfter != s.reset {
			t.Errorf("step %d, %v after the start, cost %d:\n got %+v\nwant allowed %v, remaining %d, retry %v, reset %v",
				i, s.at, s.cost, got, s.allowed, s.remaining, s.retry, s.reset)
		}
	}
}

const ms = time.Millisecond

// A state whose remainder is no fraction of a unit is none, also when its time and
// denominator are those of the draw, so that nothing else has to be done to it.
func TestBucketStateOutOfRange(t *testing.T) {
	t.Parallel()
	rate := Per(10, time.Second)
	_, micros := rate.Fraction()
	for r := micros; r < micros+2; r++ {
		s := count.Bucket{T: int64(testEpoch), N: 1, R: r, P: micros}
		d := Draw{Rate: rate, Cost: 1, Now: testEpoch}
		if _, dec := (TokenBucket{}).Decide(nil, s.Append(nil), &d); dec.Remaining != 9 {
			t.Errorf("a remainder of %d over %d: %+v, want an untouched key", r, micros, dec)
		}
	}
}

func TestTokenBucketTable(t *testing.T) {
	t.Parallel()
	k := &table{strategy: TokenBucket{Burst: 3}, rate: Per(10, time.Second), start: testEpoch}
	k.play(t, []drawStep{
		{0, 1, true, 2, 0, 100 * ms},
		{0, 2, true, 0, 0, 300 * ms},
		{0, 1, false, 0, 100 * ms, 300 * ms},
		{50 * ms, 1, false, 0, 50 * ms, 250 * ms},
		{100*ms - time.Microsecond, 1, false, 0, time.Microsecond, 200*ms + time.Microsecond},
		{100 * ms, 1, true, 0, 0, 300 * ms},
		{100 * ms, 4, false, 0, Never, 300 * ms},
		{250 * ms, 0, true, 1, 0, 150 * ms},
		{250 * ms, -1, true, 2, 0, 50 * ms},
		{time.Second, 3, true, 0, 0, 300 * ms},
		{time.Second, -9, true, 3, 0, 0},
	})
	if k.state != nil {
		t.Errorf("a bucket refunded whole left the state %x", k.state)
	}
}

func TestGCRATable(t *testing.T) {
	t.Parallel()
	(&table{strategy: GCRA{}, rate: Per(3, time.Second), start: testEpoch}).play(t, []drawStep{
		{0, 1, true, 0, 0, 333_334 * time.Microsecond},
		{333_333 * time.Microsecond, 1, false, 0, time.Microsecond, time.Microsecond},
		{333_334 * time.Microsecond, 1, true, 0, 0, 333_334 * time.Microsecond},
		{time.Second, 2, false, 1, Never, 0},
		{time.Second, 1, true, 0, 0, 333_334 * time.Microsecond},
	})
}

// The kernel's arithmetic passes 64 bits on the way, and its results don't.
func TestBucketDoesNotOverflow(t *testing.T) {
	t.Parallel()
	century := 100 * 365 * 24 * time.Hour
	for _, rate := range []Rate{Per(MaxUnits, time.Microsecond), Per(MaxUnits, century), Per(1, century), Per(MaxUnits-1, century)} {
		k := &table{strategy: TokenBucket{Burst: MaxUnits}, rate: rate}
		if dec := k.take(Draw{Cost: MaxUnits, Now: testEpoch}); !dec.Allowed || dec.Remaining != 0 || dec.ResetAfter < 0 {
			t.Errorf("%v: %+v for a draw of all, want it admitted", rate, dec)
		}
		if dec := k.take(Draw{Cost: math.MaxInt64, Now: testEpoch, Force: true}); !dec.Allowed || dec.Remaining != 0 || dec.ResetAfter < 0 {
			t.Errorf("%v: %+v for a forced draw above all, want it to saturate", rate, dec)
		}
		if dec := k.take(Draw{Now: MaxUnits}); dec.Remaining < 0 || dec.ResetAfter < 0 {
			t.Errorf("%v: %+v at the end of time", rate, dec)
		}
		if dec := k.take(Draw{Cost: math.MinInt64, Now: testEpoch}); dec.Remaining != MaxUnits {
			t.Errorf("%v: %+v after giving everything back", rate, dec)
		}
	}
}

// A denial for ever repairs too: the wait reported to others is true.
func TestRepairIsNotSkippedOnNever(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{TokenBucket{Burst: 2}, GCRA{Burst: 2}, FixedWindow{}} {
		k := &table{strategy: s, rate: Per(2, time.Second)}
		k.take(Draw{Cost: 2, Now: testEpoch.Add(time.Hour)})
		before := string(k.state)
		if dec := k.take(Draw{Cost: 3, Now: testEpoch}); dec.RetryAfter != Never {
			t.Errorf("%s: %+v for a cost above the capacity, want Never", s.ID(), dec)
		}
		if string(k.state) == before {
			t.Errorf("%s: the denial left the stored time an hour ahead", s.ID())
		}
		dec := k.take(Draw{Cost: 2, Now: testEpoch})
		if dec.Allowed || dec.RetryAfter > 2*time.Second {
			t.Errorf("%s: %+v, want a wait of at most two periods", s.ID(), dec)
		}
		if dec := k.take(Draw{Cost: 2, Now: testEpoch.Add(dec.RetryAfter)}); !dec.Allowed {
			t.Errorf("%s: %+v at RetryAfter", s.ID(), dec)
		}
	}
}

// A theoretical arrival time kept as a float64 of microseconds since 1970 would
// admit a third too much here, and everything at ten million a second.
func TestFastRatesAreExact(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []int64{3_000_000, 10_000_000} {
		for _, s := range []Strategy{GCRA{}, TokenBucket{Burst: 1}} {
			k := &table{strategy: s, rate: Per(perSecond, time.Second)}
			admitted := int64(0)
			const micros = 10_000
			for us := range int64(micros) {
				for range 2 * perSecond / 1_000_000 {
					if k.take(Draw{Cost: 1, Now: testEpoch + Instant(us)}).Allowed {
						admitted++
					}
				}
			}
			// Whole microseconds admit at most one of the burst each.
			if most := 1 + micros*perSecond/1_000_000; admitted > most {
				t.Errorf("%s at %d/s admitted %d in %d µs, at most %d", s.ID(), perSecond, admitted, micros, most)
			}
			if admitted < micros {
				t.Errorf("%s at %d/s admitted %d in %d µs, want one in each at least", s.ID(), perSecond, admitted, micros)
			}
		}
	}
}

// 2^53+1 has no distinct float64 and must not fit where 2^53 does.
func TestCostJustAboveTheLargest(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{TokenBucket{}, GCRA{Burst: MaxUnits}, FixedWindow{}} {
		for _, cost := range []int64{MaxUnits + 1, MaxUnits + 2, math.MaxInt64} {
			k := &table{strategy: s, rate: Per(MaxUnits, time.Second)}
			if dec := k.take(Draw{Cost: cost, Now: testEpoch}); dec.Allowed || dec.RetryAfter != Never {
				t.Errorf("%s, cost %d: %+v, want Never", s.ID(), cost, dec)
			}
		}
	}
}

// Two rates that draw on one key in turn each lose less than a microsecond's
// worth to rounding, so a client gets no less than the stricter alone gives.
func TestAlternatingRates(t *testing.T) {
	t.Parallel()
	rates := []Rate{Per(7, 3*time.Second), Per(11, 5*time.Second)}
	alone := &table{strategy: TokenBucket{Burst: 2}, rate: rates[1]}
	both := &table{strategy: TokenBucket{Burst: 2}}
	var admittedAlone, admittedBoth int
	for i := range 200_000 {
		now := testEpoch + Instant(i*1000)
		if alone.take(Draw{Cost: 1, Now: now}).Allowed {
			admittedAlone++
		}
		if both.take(Draw{Rate: rates[i%2], Cost: 1, Now: now}).Allowed {
			admittedBoth++
		}
	}
	if admittedBoth < admittedAlone {
		t.Errorf("%d admitted by two rates in turn, %d by the stricter alone", admittedBoth, admittedAlone)
	}
}

func TestBucketInfo(t *testing.T) {
	t.Parallel()
	d := &Draw{Rate: Per(10, time.Second), Now: testEpoch}
	want := BucketInfo{Capacity: 5, Tokens: 5, EmptyAt: testEpoch.Time()}
	if got := (TokenBucket{Burst: 5}).Describe(nil, d); got != want {
		t.Errorf("an untouched bucket is described as %+v, want %+v", got, want)
	}
	if got := (GCRA{}).Describe([]byte("garbage"), d); got != (BucketInfo{Capacity: 1, Tokens: 1, EmptyAt: testEpoch.Time()}) {
		t.Errorf("garbage is described as %+v", got)
	}
	k := &table{strategy: TokenBucket{Burst: 5}, rate: d.Rate}
	k.take(Draw{Cost: 8, Force: true, Now: testEpoch})
	want = BucketInfo{Capacity: 5, Level: 8, Tokens: -3, EmptyAt: testEpoch.Add(800 * ms).Time()}
	if got := (TokenBucket{Burst: 5}).Describe(k.state, d); got != want {
		t.Errorf("an overdrawn bucket is described as %+v, want %+v", got, want)
	}
	// Seen by a clock that is behind, the level is that of the last write.
	d.Now -= 1_000_000
	if got, ok := (TokenBucket{Burst: 5}).Describe(k.state, d).(BucketInfo); !ok || got.Level != 8 {
		t.Errorf("a second before the last write: %+v, want a level of 8", got)
	}
}
