package traffik_test

import (
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// After a step back a denied draw repairs the stored time, one that is denied
// for ever included: otherwise the reported wait would not be true.
func TestEveryStrategyRepairsOnNever(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(5, 10*time.Second)
	for _, c := range everyStrategy(rate.Limit()) {
		k := newKeptKey(t, c, rate)
		k.draw(c.capacity)
		back := someInstant.Add(-time.Hour)
		k.clock.Set(back)
		wait := k.peek(1).RetryAfter
		if dec := k.draw(c.capacity + 1); dec.RetryAfter != traffik.Never {
			t.Errorf("%T: %+v, want Never", c.strategy, dec)
		}
		k.clock.Set(back.Add(wait))
		if dec := k.peek(1); !dec.Allowed {
			t.Errorf("%T: %+v after the wait of %v that was told", c.strategy, dec, wait)
		}
		k.clock.Set(back.Add(wait - time.Microsecond))
		if dec := k.peek(1); dec.Allowed {
			t.Errorf("%T: %+v before the wait of %v that was told", c.strategy, dec, wait)
		}
	}
}

// Units that have leaked, expired, or were drawn in a window that has rolled can't be
// refunded: the refund would lower later draws.
func TestEveryStrategyRefundsNothingThatHasExpired(t *testing.T) {
	t.Parallel()
	rate := traffik.Per(5, 10*time.Second)
	for _, c := range everyStrategy(rate.Limit()) {
		k := newKeptKey(t, c, rate)
		first := k.draw(c.capacity)
		k.clock.Set(someInstant.Add(first.ResetAfter))
		second := k.draw(c.capacity)
		if !second.Allowed || second.Remaining != 0 {
			t.Errorf("%T: %+v, want all admitted once more", c.strategy, second)
		}
		op := k.op
		op = op.Refund(&first, c.capacity)
		out := make([]traffik.Decision, 1)
		if err := k.backend.Take(t.Context(), []traffik.Op{op}, out); err != nil || out[0].Remaining != 0 {
			t.Errorf("%T: %+v, %v after a refund of what has expired, want nothing remaining", c.strategy, out[0], err)
		}
		restored := c.capacity
		if _, started := c.strategy.(traffik.LeakyBucketWithQueue); started {
			restored = 0
		}
		op = op.Refund(&second, c.capacity)
		if err := k.backend.Take(t.Context(), []traffik.Op{op}, out); err != nil || out[0].Remaining != restored {
			t.Errorf("%T: %+v, %v after refunding what was drawn now, want %d remaining", c.strategy, out[0], err, restored)
		}
	}
}

// Waits stop at 2^53 microseconds, also where a step back makes the clock wait for
// two periods of more than half of that.
func TestEveryStrategyWaitsNoLongerThanNumbersReach(t *testing.T) {
	t.Parallel()
	const longest = maxUnits * time.Microsecond
	for _, period := range []int64{maxUnits, maxUnits/2 + 1} {
		rate := traffik.Per(5, time.Duration(period)*time.Microsecond)
		for _, c := range everyStrategy(rate.Limit()) {
			k := newKeptKey(t, c, rate)
			k.clock.Set(traffik.Instant(period))
			k.draw(c.capacity)
			for _, now := range []traffik.Instant{traffik.Instant(period), 1, 0} {
				k.clock.Set(now)
				for _, dec := range []traffik.Decision{k.peek(0), k.peek(1), k.draw(1)} {
					if dec.RetryAfter > longest && dec.RetryAfter != traffik.Never || dec.ResetAfter > longest || dec.RetryAfter < 0 || dec.ResetAfter < 0 {
						t.Errorf("%T, %v at %d: %+v, want waits of at most %v", c.strategy, rate, now, dec, longest)
					}
				}
			}
		}
	}
}
