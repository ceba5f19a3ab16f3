package memcachedtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// rival is a second process at the same keys: a backend that does not go
// through the tap.
func rival(t *testing.T, opts ...traffikmemcached.Option) (b, other *traffikmemcached.Backend, p *tap) {
	t.Helper()
	s := servers.Memcached(t)
	p = newTap(t, s.Addr)
	opts = append(opts, traffikmemcached.WithNamespace(namespace(t)))
	return newBackend(t, clientOf(t, p.addr), opts...), newBackend(t, newClient(t, s), opts...), p
}

func writes(line string) bool {
	return strings.HasPrefix(line, "add ") || strings.HasPrefix(line, "cas ")
}

// A rival that always comes first is told of in the end, by an error of its own.
func TestContentionEnds(t *testing.T) {
	t.Parallel()
	b, other, p := rival(t)
	draw := opOf("caller", 1)
	draw.Draw.Rate = traffik.Per(1_000_000, forever)
	var tries atomic.Int64
	p.onCommand(func(line string) {
		if writes(line) {
			tries.Add(1)
			if err := other.Take(t.Context(), []traffik.Op{draw}, make([]traffik.Decision, 1)); err != nil {
				t.Error(err)
			}
		}
	})
	err := b.Take(t.Context(), []traffik.Op{draw}, make([]traffik.Decision, 1))
	if !errors.Is(err, traffik.ErrContention) || !errors.Is(err, traffik.ErrBackend) {
		t.Errorf("the error is %v, want ErrContention", err)
	}
	if n := tries.Load(); n < 5 || n > 100 {
		t.Errorf("it tried %d times", n)
	}
	p.onCommand(nil)
	if used := 1_000_000 - take(t, b, draw)[0].Remaining - 1; used != tries.Load() {
		t.Errorf("%d units are in use, want the rival's %d", used, tries.Load())
	}
}

// once calls f when the nth write passes, and not again.
func once(n int64, f func()) func(string) {
	var seen atomic.Int64
	return func(line string) {
		if writes(line) && seen.Add(1) == n {
			f()
		}
	}
}

func TestDrawThatComesTooLateIsDecidedAgain(t *testing.T) {
	t.Parallel()
	for _, fresh := range []bool{true, false} {
		b, other, p := rival(t)
		if !fresh {
			take(t, other, opOf("caller", 1))
			take(t, other, opOf("caller", -1))
		}
		p.onCommand(once(1, func() { take(t, other, opOf("caller", 4)) }))
		if dec := take(t, b, opOf("caller", 2))[0]; dec.Allowed || dec.Remaining != 1 {
			t.Errorf("fresh %v: after a rival took 4 of 5 a draw of 2 is answered %+v", fresh, dec)
		}
		p.onCommand(once(1, func() { take(t, other, opOf("second", 4)) }))
		if dec := take(t, b, opOf("second", 1))[0]; !dec.Allowed || dec.Remaining != 0 {
			t.Errorf("fresh %v: after a rival took 4 of 5 a draw of 1 is answered %+v", fresh, dec)
		}
	}
}

// An item that is evicted or reset between reading and writing is a fresh key.
func TestKeyThatGoesInBetweenIsFresh(t *testing.T) {
	t.Parallel()
	b, other, p := rival(t)
	take(t, b, opOf("caller", 3))
	p.onCommand(once(1, func() {
		if err := other.Reset(t.Context(), opOf("caller", 0).Key); err != nil {
			t.Error(err)
		}
	}))
	if dec := take(t, b, opOf("caller", 2))[0]; !dec.Allowed || dec.Remaining != 3 {
		t.Errorf("%+v, want 3 of 5 remaining", dec)
	}
}

// A later op that a rival exhausts meanwhile: the earlier one's charge is seen
// by others until it is refunded, once.
func TestEarlierDrawIsRefunded(t *testing.T) {
	t.Parallel()
	b, other, p := rival(t)
	take(t, b, opOf("first", 1))
	p.said()
	p.onCommand(once(2, func() {
		wantLeft(t, other, "first", 2) // what is documented
		take(t, other, opOf("second", 5))
	}))
	out := take(t, b, opOf("first", 2), opOf("second", 1))
	if !out[0].Allowed || out[0].Remaining != 4 || out[1].Allowed {
		t.Errorf("answers %+v, want the first uncharged and the second denied", out)
	}
	p.onCommand(nil)
	if got := verbs(p.said()); got != "gets cas add gets cas gets" {
		t.Errorf("it said %q, want both writes, one refund, and a look at both", got)
	}
	wantLeft(t, b, "first", 4)
	wantLeft(t, b, "second", 0)
}

// The refunded units were drawn in the window before: the draws of the new window
// are another's.
func TestRefundNamesItsDraw(t *testing.T) {
	t.Parallel()
	const period = time.Minute
	begin := traffik.InstantOf(time.Now().Truncate(period))
	clock := traffiktest.NewClock(begin.Time())
	b, other, p := rival(t, traffikmemcached.WithClock(clock))
	op := func(id string, cost int64) traffik.Op {
		op := opOf(id, cost)
		op.Draw.Rate = traffik.Per(5, period)
		return op
	}
	p.onCommand(once(2, func() {
		clock.Set(begin.Add(period))
		take(t, other, op("first", 3), op("second", 5))
	}))
	out := take(t, b, op("first", 2), op("second", 1))
	if out[1].Allowed || out[0].Remaining != 2 {
		t.Errorf("answers %+v, want the second denied and the rival's 3 in use of the first", out)
	}
}

// The refund itself may come too late: it is decided again and counts once.
func TestRefundIsMadeOnce(t *testing.T) {
	t.Parallel()
	b, other, p := rival(t)
	var n atomic.Int64
	p.onCommand(func(line string) {
		if !writes(line) {
			return
		}
		switch n.Add(1) {
		case 2:
			take(t, other, opOf("second", 5))
		case 3, 4: // the refund to the first
			take(t, other, opOf("first", 1))
		}
	})
	take(t, b, opOf("first", 3), opOf("second", 1))
	p.onCommand(nil)
	wantLeft(t, b, "first", 3)
}

// A Take that collides twice refunds what it had charged the first time, and
// nothing the second time.
func TestCollidingTwiceGivesBackOnce(t *testing.T) {
	t.Parallel()
	b, other, p := rival(t)
	var n atomic.Int64
	p.onCommand(func(line string) {
		if !writes(line) {
			return
		}
		switch n.Add(1) {
		case 2: // before the charge of the second; the refund to the first follows
			take(t, other, opOf("second", 1))
		case 4: // before the charge of the first, tried again
			take(t, other, opOf("first", 2))
		}
	})
	take(t, b, opOf("first", 2), opOf("second", 1))
	p.onCommand(nil)
	if got := verbs(p.said()); got != "gets add add gets cas gets cas gets cas cas" {
		t.Errorf("it said %q", got)
	}
	wantLeft(t, b, "first", 1)
	wantLeft(t, b, "second", 3)
}

// What is written after the draws that can fail is written once, whatever
// collides.
func TestRefundsAndForcesBesideDrawsCountOnce(t *testing.T) {
	t.Parallel()
	for n := range int64(5) {
		b, other, p := rival(t)
		take(t, b, opOf("refund", 4), opOf("force", 1), opOf("advisory", 1))
		refund, force, advisory := opOf("refund", -2), opOf("force", 7), opOf("advisory", 2)
		force.Draw.Force, advisory.Advisory = true, true
		p.onCommand(once(n, func() {
			forced := opOf("force", 1)
			forced.Draw.Force = true
			take(t, other, opOf("refund", 1), opOf("draw", 1), forced, opOf("advisory", 1))
		}))
		take(t, b, refund, opOf("draw", 1), force, advisory)
		p.onCommand(nil)
		rival := min(n, 1) // no write is the 0th
		wantLeft(t, b, "refund", 5-4+2-rival)
		wantLeft(t, b, "draw", 5-1-rival)
		wantLeft(t, b, "force", 0)
		wantLeft(t, b, "advisory", 5-1-2-rival)
		giveAway := opOf("force", -4-rival)
		take(t, b, giveAway)
		wantLeft(t, b, "force", 1) // 1 and 7 by force, and the rival's
	}
}

// Callers of one process take turns, and none of them tries in vain.
func TestOneProcessNeverCollidesWithItself(t *testing.T) {
	t.Parallel()
	p := newTap(t, servers.Memcached(t).Addr)
	b := newBackend(t, clientOf(t, p.addr))
	const callers, each = 16, 10
	done := make(chan struct{})
	for i := range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for range each {
				a, z := opOf("a", 1), opOf("z", 1)
				a.Draw.Rate, z.Draw.Rate = traffik.Per(1000, forever), traffik.Per(1000, forever)
				ops := []traffik.Op{a, z}
				if i%2 == 0 {
					ops = []traffik.Op{z, a}
				}
				if err := b.Take(t.Context(), ops, make([]traffik.Decision, 2)); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for range callers {
		<-done
	}
	said := strings.Fields(verbs(p.said()))
	reads := 0
	for _, verb := range said {
		if verb == "gets" {
			reads++
		}
	}
	if n := len(said) - reads; n != 2*callers*each {
		t.Errorf("%d draws of two keys took %d writes, want two each", callers*each, n)
	}
	if reads > 2*callers*each {
		t.Errorf("%d draws of two keys took %d reads, want two each at most: before queueing up and when it is their turn", callers*each, reads)
	}
}

// A flood on a key that is used up is denied, also over a slow network: denials
// don't wait for each other's turn. Who finds no turn in time is told so, by an
// error that is not the store's.
func TestFloodOfDenialsOverASlowNetwork(t *testing.T) {
	t.Parallel()
	p := newTap(t, servers.Memcached(t).Addr)
	p.onCommand(func(string) { time.Sleep(2 * time.Millisecond) }) //nolint:forbidigo // the network
	b := newBackend(t, clientOf(t, p.addr), traffikmemcached.WithNamespace(namespace(t)), traffikmemcached.WithTimeout(10*time.Second))
	const callers = 1500
	var admitted, denied, failed atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			out := make([]traffik.Decision, 1)
			switch err := b.Take(t.Context(), []traffik.Op{opOf("flooded", 1)}, out); {
			case err != nil:
				failed.Add(1)
			case out[0].Allowed:
				admitted.Add(1)
			default:
				denied.Add(1)
			}
		})
	}
	start := time.Now()
	wg.Wait()
	t.Logf("%v for %d calls, one after the other %v at least", time.Since(start), callers, callers*2*time.Millisecond)
	if admitted.Load() != 5 || denied.Load() != callers-5 || failed.Load() != 0 {
		t.Errorf("%d admitted, %d denied, %d failed; want 5 and all others denied", admitted.Load(), denied.Load(), failed.Load())
	}
}

func TestNoTurnInTimeIsContention(t *testing.T) {
	t.Parallel()
	p := newTap(t, servers.Memcached(t).Addr)
	hold := make(chan struct{})
	p.onCommand(once(1, func() { <-hold }))
	b := newBackend(t, clientOf(t, p.addr), traffikmemcached.WithNamespace(namespace(t)), traffikmemcached.WithTimeout(3*time.Second))
	first := make(chan error, 1)
	go func() { first <- b.Take(t.Context(), []traffik.Op{opOf("held", 1)}, make([]traffik.Decision, 1)) }()
	for !strings.Contains(verbs(p.said()), "add") {
		time.Sleep(time.Millisecond) //nolint:forbidigo // until the real server is to write
	}
	err := b.Take(t.Context(), []traffik.Op{opOf("held", 1)}, make([]traffik.Decision, 1))
	if !errors.Is(err, traffik.ErrContention) {
		t.Errorf("without a turn: %v, want ErrContention", err)
	}
	if err := <-first; !errors.Is(err, traffik.ErrBackend) || errors.Is(err, traffik.ErrContention) {
		t.Errorf("without an answer: %v, want an error of the store", err)
	}
	close(hold)
}

// fickle admits, and panics from the second decision on.
type fickle struct{ decided *atomic.Int64 }

func (fickle) ID() string { return "fickle.1" }

func (f fickle) Decide(dst, _ []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	if f.decided.Add(1) > 1 {
		panic("defect")
	}
	return append(dst, 'x'), traffik.Decision{Allowed: true, Limit: 5, Remaining: 4, ResetAfter: time.Hour, At: d.Now}
}

// What was charged before a strategy panics, or before the second phase of a mixed
// Take fails, is refunded, whether the caller is still there or not.
func TestChargesBeforeAFailureAreRefunded(t *testing.T) {
	t.Parallel()
	for _, leaves := range []bool{false, true} {
		b, other, p := rival(t)
		take(t, b, opOf("firm", 1))
		ctx, cancel := context.WithCancel(t.Context())
		advisory := opOf("advisory", 1)
		advisory.Advisory, advisory.Strategy = true, fickle{new(atomic.Int64)}
		p.onCommand(once(2, func() {
			if leaves {
				cancel()
			}
			rivals := opOf("advisory", 1)
			rivals.Key = advisory.Key
			take(t, other, rivals) // the advisory op has to be decided again
		}))
		func() {
			defer func() { _ = recover() }()
			err := b.Take(ctx, []traffik.Op{opOf("firm", 3), advisory}, make([]traffik.Decision, 2))
			if !leaves || !errors.Is(err, context.Canceled) {
				t.Errorf("caller leaves: %v: error %v, want the panic or the cancellation", leaves, err)
			}
		}()
		cancel()
		if err := b.Close(); err != nil { // waits for what goes on by itself
			t.Fatal(err)
		}
		wantLeft(t, other, "firm", 4)
	}
	t.Run("the second phase fails", func(t *testing.T) {
		t.Parallel()
		b, other, p := rival(t)
		ctx, cancel := context.WithCancel(t.Context())
		forced := opOf("force", 2)
		forced.Draw.Force = true
		p.onCommand(once(2, cancel)) // when the force is written
		err := b.Take(ctx, []traffik.Op{opOf("firm", 3), forced, opOf("refund", -1)}, make([]traffik.Decision, 3))
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		wantLeft(t, other, "firm", 5)
		wantLeft(t, other, "force", 5)
	})
}
