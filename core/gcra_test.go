package traffik

import (
	"testing"
	"time"
)

// 100 per minute is one each 600 ms, and not a microsecond earlier.
func TestGCRASteps(t *testing.T) {
	t.Parallel()
	const ms = int64(1000)
	runSteps(t, GCRA{}, Per(100, time.Minute), []takeStep{
		{at: 0, cost: 1, remaining: 0, reset: 600 * ms},
		{at: 0, cost: 1, remaining: 0, retry: 600 * ms, reset: 600 * ms},
		{at: 600*ms - 1, cost: 1, remaining: 0, retry: 1, reset: 1},
		{at: 600 * ms, cost: 1, remaining: 0, reset: 600 * ms},
		{at: 5000 * ms, cost: 1, remaining: 0, reset: 600 * ms},
		{at: 5000 * ms, cost: 2, remaining: 0, retry: never, reset: 600 * ms},
	})
}

func TestGCRABurst(t *testing.T) {
	t.Parallel()
	const s = int64(1_000_000)
	runSteps(t, GCRA{Burst: 3}, Per(1, time.Second), []takeStep{
		{at: 0, cost: 3, remaining: 0, reset: 3 * s},
		{at: s, cost: 2, remaining: 1, retry: s, reset: 2 * s},
		{at: 2 * s, cost: 2, remaining: 0, reset: 3 * s},
	})
}

// In exact arithmetic GCRA is a token bucket, and its theoretical arrival time
// is when the bucket is full again.
func TestGCRAIsATokenBucket(t *testing.T) {
	t.Parallel()
	gcra, bucket := &storedKey{strategy: GCRA{Burst: 4}}, &storedKey{strategy: TokenBucket{Burst: 4}}
	tat := testEpoch
	for i := range int64(2000) {
		now := testEpoch + Instant(i*i*37%9_000_000) + Instant(i*100_000)
		d := Draw{Rate: Per(7, 3*time.Second), Cost: 1 + i%3, Now: now}
		got, want := gcra.draw(d), bucket.draw(d)
		if got != want {
			t.Fatalf("step %d: %+v, token bucket %+v", i, got, want)
		}
		tat = now.Add(got.ResetAfter)
	}
	info, ok := (GCRA{Burst: 4}).Describe(gcra.state, &Draw{Rate: Per(7, 3*time.Second), Now: tat - 1}).(BucketInfo)
	if !ok || info.EmptyAt != tat.Time() {
		t.Errorf("%+v, want the arrival time %v", info, tat.Time())
	}
}
