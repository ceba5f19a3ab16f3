package backendtest

import (
	"fmt"
	"math"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// testRefundTakenAt: a store must pass TakenAt on. A refund without it would be made to the
// window of now and hand out units of other draws.
func testRefundTakenAt(h *harness) {
	draw := at(traffik.Per(5, time.Minute), h.draw(traffik.FixedWindow{}, 5))
	old := h.take(draw)[0].At
	h.setNow(epoch.Add(time.Minute))
	now := h.take(draw)[0].At
	refund := cost(draw, -5)
	refund.Draw.TakenAt = old
	h.take(refund)
	h.wantLeft(draw, 0) // the draws of the window before have expired
	refund.Draw.TakenAt = now
	h.take(refund)
	h.wantLeft(draw, 5)
}

// testLateRefund: units that have leaked since their draw can't be refunded, and a refund
// that comes when the key is free again leaves later draws alone.
func testLateRefund(h *harness) {
	for _, s := range []traffik.Strategy{
		traffik.TokenBucket{}, traffik.GCRA{Burst: 100}, traffik.LeakyBucket{}, traffik.TokenBucketWithDebt{Burst: 60, MaxDebt: 40},
	} {
		h.setNow(epoch)
		draw := at(traffik.Per(100, time.Minute), h.draw(s, 50))
		first := h.take(draw)[0]
		h.setNow(epoch.Add(15 * time.Second))
		h.wantAllowed(h.take(cost(draw, 75))[0], true, s.ID()+", beside the half of a draw that has not leaked")
		h.take(draw.Refund(&first, 50))
		h.wantLeft(draw, 25)

		h.setNow(epoch.Add(time.Minute)) // 75 units of 45 s ago have leaked
		h.take(draw)
		behind := h.take(draw)[0] // holds all of its units until those before it have leaked
		h.setNow(epoch.Add(90 * time.Second))
		h.take(draw.Refund(&behind, 50))
		h.wantLeft(draw, 100)

		h.setNow(epoch.Add(3 * time.Minute))
		first = h.take(draw)[0]
		h.setNow(first.FreeAt())
		h.wantAllowed(h.take(cost(draw, 100))[0], true, s.ID()+", once the draw has leaked")
		refund := draw.Refund(&first, 50)
		h.take(refund)
		h.wantLeft(draw, 0)
		refund.Draw.FreeAt = 0 // from a caller that does not know it
		h.take(refund)
		h.wantLeft(draw, 0)
		refund.Draw.FreeAt, refund.Draw.TakenAt = -5, -5 // no instants
		h.take(refund)
		h.wantLeft(draw, 0)
	}
}

// testQueueRefund: a queue takes back a draw that waits at its end, as a whole, and no other.
func testQueueRefund(h *harness) {
	draw := at(traffik.Per(1, time.Second), h.draw(traffik.LeakyBucketWithQueue{Capacity: 5}, 1))
	first, second := h.take(draw)[0], h.take(draw)[0]
	third := cost(draw, 2)
	last := h.take(third)[0]
	h.take(draw.Refund(&first, 1))
	h.wantLeft(draw, 1) // it has started
	h.take(draw.Refund(&second, 1))
	h.wantLeft(draw, 1) // another draw waits behind it
	h.take(third.Refund(&last, 1))
	h.wantLeft(draw, 1) // a part of it
	h.take(third.Refund(&last, 2))
	h.wantLeft(draw, 3)
	h.setNow(second.At.Add(second.Delay))
	h.take(draw.Refund(&second, 1))
	h.wantLeft(draw, 4) // its turn has come
}

// testStepBack: the first draw, even a denied one, brings a stored time far ahead of the
// clock back, so that the wait it reports is true.
func testStepBack(h *harness) {
	if h.features.LatestTime {
		testLatestTime(h)
		return
	}
	for _, s := range timed {
		draw := at(traffik.Per(5, time.Minute), h.draw(s, 5))
		h.setNow(epoch.Add(time.Hour))
		h.take(draw)
		h.setNow(epoch)
		dec := h.take(draw)[0]
		h.wantAllowed(dec, false, s.ID()+", after the clock stepped back")
		h.wantRetry(draw, epoch.Add(dec.RetryAfter))
		h.wantAllowed(h.take(draw)[0], true, s.ID()+", at RetryAfter")
	}
}

// wantRetry sets the clock to when, and wants draw to fit then and not before.
func (h *harness) wantRetry(draw traffik.Op, when traffik.Instant) {
	h.Helper()
	h.setNow(when - 1)
	h.wantAllowed(h.peek(draw)[0], false, draw.Strategy.ID()+", a microsecond before RetryAfter")
	h.setNow(when)
	h.wantAllowed(h.peek(draw)[0], true, draw.Strategy.ID()+", at RetryAfter")
}

// testLatestTime: after the clock stepped back, denied and admitted draws are answered at
// the time before, and durations count from the clock's reading. That holds for a key that
// refunds left untouched, but not for one that was reset.
func testLatestTime(h *harness) {
	const back = 10 * time.Second
	for _, s := range timed {
		draw := at(traffik.Per(5, time.Minute), h.draw(s, 5))
		h.setNow(epoch)
		h.take(draw)
		want := h.peek(draw)[0]
		h.setNow(epoch.Add(-back))
		want.RetryAfter += back
		want.ResetAfter += back
		want.Ahead = back
		for _, got := range []traffik.Decision{h.peek(draw)[0], h.take(draw)[0]} {
			if got != want {
				h.Errorf("%s, after the clock stepped back: %+v, want %+v", s.ID(), got, want)
			}
		}
		h.wantRetry(draw, epoch.Add(-back+want.RetryAfter))

		h.setNow(epoch.Add(-back))
		h.take(cost(draw, -5))
		dec := h.take(cost(draw, 0))[0]
		if dec.Remaining != 5 || dec.At != epoch || dec.Ahead != back || dec.ResetAfter != back {
			h.Errorf("%s, untouched after a refund: %+v, want five remaining at the latest time %d", s.ID(), dec, epoch)
		}
		h.reset(draw.Key)
		if dec = h.take(draw)[0]; !dec.Allowed || dec.At != epoch.Add(-back) || dec.Ahead != 0 {
			h.Errorf("%s, after a Reset: %+v, want five admitted at the clock's time", s.ID(), dec)
		}
	}
}

// testExpiry: a store keeps a state until ResetAfter and not a microsecond less. From then
// on the key is untouched.
func testExpiry(h *harness) {
	for _, s := range timed {
		h.setNow(epoch)
		draw := at(traffik.Per(5, time.Minute), h.draw(s, 1))
		h.take(draw)
		dec := h.take(draw)[0]
		h.setNow(epoch.Add(dec.ResetAfter - time.Microsecond))
		h.wantLeft(draw, map[bool]int64{true: 3, false: 4}[s == traffik.FixedWindow{}])
		h.setNow(epoch.Add(dec.ResetAfter))
		h.wantLeft(draw, 5)
		h.wantAllowed(h.take(draw)[0], true, s.ID())
		h.wantLeft(draw, 4)
	}
}

// testClockOutOfRange: a clock before 1970 reads as 0 and one beyond 2^53 as 2^53, and the
// limit holds there too.
func testClockOutOfRange(h *harness) {
	for _, now := range []traffik.Instant{math.MinInt64, -5_000_000, -1, traffik.MaxUnits + 2, math.MaxInt64} {
		h.setNow(now)
		want := now.Add(0)
		for _, s := range strategies {
			draw := at(traffik.Per(5, time.Minute), h.draw(s, 1))
			for n := range 7 {
				dec := h.take(draw)[0]
				h.wantAllowed(dec, n < 5, fmt.Sprintf("%s, draw %d of five at %d", s.ID(), n+1, now))
				if dec.At != want {
					h.Errorf("%s at %d: the decision is of %d, want %d", s.ID(), now, dec.At, want)
				}
			}
		}
		h.wantReading(want)
	}
}

// wantReading checks the clock of ReadStates, if the backend has it.
func (h *harness) wantReading(want traffik.Instant) {
	h.Helper()
	reader, ok := h.backend.(traffik.StateReader)
	if !ok {
		return
	}
	_, now, err := reader.ReadStates(h.Context(), []traffik.Key{h.key(counter{})}, nil)
	if err == nil && now != want {
		h.Errorf("ReadStates read the clock as %d, want %d", now, want)
	}
}
