package traffik_test

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/store"
)

// fuzzed is a strategy under fuzzing and the layout of its states.
type fuzzed struct {
	strategy traffik.Strategy
	fields   func(from *source) []int64
}

var allFuzzed = []fuzzed{
	{traffik.FixedWindow{}, counts(1)},
	{traffik.SlidingWindowCounter{}, func(from *source) []int64 {
		return []int64{from.instant(), from.units(), from.units(), from.number(1, maxUnits)}
	}},
	{traffik.SlidingWindowLog{}, logEntries},
	{traffik.SlidingWindowLog{MaxEntries: 2}, logEntries},
	{traffik.TokenBucket{}, level},
	{traffik.TokenBucket{Burst: 3}, level},
	{traffik.TokenBucketWithDebt{Burst: 3, MaxDebt: 4}, level},
	{traffik.LeakyBucket{Capacity: maxUnits}, level},
	{traffik.LeakyBucketWithQueue{Capacity: 7}, level},
	{traffik.GCRA{}, level},
	{advanced.Tiered{Tiers: map[string]advanced.PPM{"pro": advanced.Times(5), "free": 1}, Default: "free"}, counts(1)},
	{advanced.TimeOfDay{Hours: []advanced.Hours{
		{From: 22, To: 6, Factor: 1}, {From: 6, To: 7, Factor: advanced.Times(2)}, {From: 7, To: 22, Factor: advanced.Percent(30)},
	}}, counts(1)},
	{advanced.Adaptive{Recovery: 1}, func(from *source) []int64 {
		return []int64{from.instant(), from.units(), from.number(0, int64(advanced.Whole))}
	}},
	{advanced.Adaptive{}, func(from *source) []int64 {
		return []int64{from.instant(), from.units(), from.number(0, int64(advanced.Whole))}
	}},
	{advanced.Priority{}, counts(4)},
	{advanced.QuotaWithRollover{}, func(from *source) []int64 {
		return []int64{from.instant(), from.units(), from.units()}
	}},
	{advanced.CostBasedTokenBucket{Window: 3}, func(from *source) []int64 {
		fields := append(level(from), from.number(0, int64(advanced.Whole)-1))
		for range from.number(0, 4) {
			fields = append(fields, from.number(1, 1<<32))
		}
		return fields
	}},
}

// counts is an instant and so many counts.
func counts(n int) func(from *source) []int64 {
	return func(from *source) []int64 {
		fields := []int64{from.instant()}
		for range n {
			fields = append(fields, from.units())
		}
		return fields
	}
}

// level is the state of the bucket kernel, at most 2^53 units in all.
func level(from *source) []int64 {
	t, n, parts := from.instant(), min(from.units(), maxUnits-1), from.number(1, maxUnits)
	return []int64{t, n, from.number(0, parts-1), parts}
}

func logEntries(from *source) (fields []int64) {
	at := from.instant()
	for range from.number(1, 4) {
		fields = append(fields, at, max(1, from.units()))
		if at = at + 1 + from.number(0, from.period); at > maxUnits {
			break
		}
	}
	return fields
}

// source turns bytes into numbers, which are 0 when there are no more.
type source struct {
	raw                []byte
	now, period, limit int64
}

func (f *source) word() uint64 {
	var word [8]byte
	f.raw = f.raw[copy(word[:], f.raw):]
	return binary.LittleEndian.Uint64(word[:])
}

func (f *source) number(low, high int64) int64 { return within(int64(f.word()), low, high) }

// instant is near now three times out of four, and any otherwise.
func (f *source) instant() int64 {
	if v := f.word(); v&3 > 0 {
		return min(max(0, f.now+within(int64(v>>2), -2*min(f.period, maxUnits), 4*min(f.period, maxUnits))), maxUnits)
	}
	return f.number(0, maxUnits)
}

// units is near the limit three times out of four, and any otherwise.
func (f *source) units() int64 {
	if v := f.word(); v&3 > 0 {
		return min(within(int64(v>>2), 0, 2*f.limit), maxUnits)
	}
	return f.number(0, maxUnits)
}

// within brings v into low..high without losing variety.
func within(v, low, high int64) int64 {
	if v >= low && v <= high {
		return v
	}
	return low + int64(uint64(v)%uint64(high-low+1))
}

// wellFormed makes a state with the right tag and length and with fields in range.
func (f fuzzed) wellFormed(raw []byte, d *traffik.Draw) []byte {
	sample := *d
	sample.Cost, sample.Force = 1, true
	model, _ := f.strategy.Decide(nil, nil, &sample)
	state := model[:1:1]
	from := &source{raw: raw, now: int64(d.Now), period: d.Rate.Period().Microseconds(), limit: d.Rate.Limit()}
	for _, field := range f.fields(from) {
		state = binary.LittleEndian.AppendUint64(state, math.Float64bits(float64(field)))
	}
	return state
}

// FuzzDecide gives every strategy any state and any draw. With shaped the bytes
// become a state that it can read, so that half of the seeds, and of what is
// made from them, get past the reading.
func FuzzDecide(f *testing.F) {
	for which := range allFuzzed {
		now := int64(someInstant) + int64(which)*1_234_567
		bytes := make([]byte, 48)
		for i := range bytes {
			bytes[i] = byte(i*which + i + 1)
		}
		f.Add(uint8(which), true, bytes, int64(1), now, int64(0), int64(0), int64(0), int64(5), int64(60_000_000), false, uint8(which))
		f.Add(uint8(which), false, bytes, int64(1), now, int64(0), int64(0), int64(0), int64(5), int64(60_000_000), false, uint8(which))
	}
	f.Fuzz(func(t *testing.T, which uint8, shaped bool, state []byte, cost, now, takenAt, freeAt, delay, limit, period int64, force bool, class uint8) {
		subject := allFuzzed[int(which)%len(allFuzzed)]
		d := traffik.Draw{
			Rate:    traffik.Per(within(limit, 1, maxUnits), time.Duration(within(period, 1, maxUnits))*time.Microsecond),
			Cost:    store.ClampCost(cost),
			Now:     traffik.Instant(within(now, 0, maxUnits)),
			TakenAt: traffik.Instant(within(takenAt, 0, maxUnits)),
			FreeAt:  traffik.Instant(within(freeAt, 0, maxUnits)),
			Delay:   time.Duration(within(delay, 0, maxUnits)) * time.Microsecond,
			Force:   force,
			Class:   []string{"", advanced.Low, advanced.High, advanced.Critical, "pro"}[class%5],
		}
		if shaped {
			state = subject.wellFormed(state, &d)
		}
		checkFuzzed(t, subject.strategy, state, d)
	})
}

func checkFuzzed(t *testing.T, strategy traffik.Strategy, state []byte, d traffik.Draw) {
	t.Helper()
	kept, untouched := d, string(state)
	next, dec := strategy.Decide([]byte("before"), state, &d)
	if d != kept || string(state) != untouched || string(next[:6]) != "before" {
		t.Fatal("Decide changed what it was given")
	}
	next = next[6:]
	if again, same := strategy.Decide(nil, state, &d); same != dec || string(again) != string(next) {
		t.Fatalf("the same draw was decided twice as %+v and %+v", dec, same)
	}
	checkRanges(t, strategy, d, next, dec)
	switch {
	case len(next) > 0:
		state = next
	case d.Cost < 0:
		state = nil
	}
	answer := func(cost int64, at traffik.Instant) traffik.Decision {
		_, dec := strategy.Decide(nil, state, &traffik.Draw{Rate: d.Rate, Class: d.Class, Cost: store.ClampCost(cost), Now: at})
		return dec
	}
	if got := answer(0, d.Now); got.Remaining != dec.Remaining || got.ResetAfter != dec.ResetAfter {
		t.Fatalf("%+v: decided as %+v, then read as %+v", d, dec, got)
	}
	if !answer(dec.Remaining, d.Now).Allowed || answer(dec.Remaining+1, d.Now).Allowed {
		t.Fatalf("%+v: %+v: Remaining is not what remains", d, dec)
	}
	wait := dec.RetryAfter
	if wait == 0 || wait >= maxUnits*time.Microsecond || int64(d.Now)+wait.Microseconds() > maxUnits {
		return
	}
	if !answer(d.Cost, d.Now.Add(wait)).Allowed || answer(d.Cost, d.Now.Add(wait-time.Microsecond)).Allowed {
		t.Fatalf("%+v: %+v: RetryAfter is not exact", d, dec)
	}
}

func checkRanges(t *testing.T, strategy traffik.Strategy, d traffik.Draw, next []byte, dec traffik.Decision) {
	t.Helper()
	const most = maxUnits * time.Microsecond
	_, delays := strategy.(traffik.LeakyBucketWithQueue)
	_, hours := strategy.(advanced.TimeOfDay)
	switch {
	case dec.Limit < 1 || dec.Remaining < 0 || dec.Remaining > dec.Limit:
		t.Fatalf("%+v: Remaining is not within 0 and Limit", dec)
	case dec.ResetAfter < 0 || dec.ResetAfter > most || dec.Delay < 0 || dec.Delay > 0 && !delays:
		t.Fatalf("%+v: a time is out of range", dec)
	case dec.Allowed && dec.RetryAfter != 0, (d.Cost <= 0 || d.Force) && !dec.Allowed:
		t.Fatalf("%+v for %+v", dec, d)
	case !dec.Allowed && dec.RetryAfter <= 0, dec.RetryAfter > most && dec.RetryAfter != traffik.Never:
		t.Fatalf("%+v: RetryAfter is out of range", dec)
	case dec.RetryAfter != traffik.Never && dec.RetryAfter > dec.ResetAfter && !hours:
		t.Fatalf("%+v: RetryAfter is later than ResetAfter", dec)
	case d.Cost > 0 && dec.Allowed && len(next) == 0:
		t.Fatalf("%+v for %+v: an admitted draw left no state", dec, d)
	case dec.At < d.Now:
		t.Fatalf("%+v is recorded before it came, at %d", dec, d.Now)
	}
}

// The states that wellFormed makes are read: a key with units in use at this instant
// is not untouched.
func TestShapedStatesAreRead(t *testing.T) {
	t.Parallel()
	d := traffik.Draw{Rate: traffik.Per(5, time.Minute), Now: someInstant}
	for i, f := range allFuzzed {
		read := 0
		for seed := range 1000 {
			raw := make([]byte, 80)
			state := uint64(seed)
			for at := 0; at < len(raw); at += 8 {
				state = state*6_364_136_223_846_793_005 + 1_442_695_040_888_963_407
				binary.LittleEndian.PutUint64(raw[at:], state^state>>29)
			}
			_, fresh := f.strategy.Decide(nil, nil, &d)
			if _, dec := f.strategy.Decide(nil, f.wellFormed(raw, &d), &d); dec != fresh {
				read++
			}
		}
		if read < 300 {
			t.Errorf("%d: %+v: %d states of 1000 are other than untouched", i, f.strategy, read)
		}
	}
}
