package traffik_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// A verdict refunds what it charged, whatever became of its context, on all
// backends; what was charged by an outer use stays.
func TestVerdictRefund(t *testing.T) {
	t.Parallel()
	clock := traffiktest.NewClock(time.Unix(1_700_000_000, 0))
	stores := [2]*traffiktest.Faulty{}
	for i := range stores {
		memory, err := traffik.NewMemory(traffik.WithClock(clock))
		if err != nil {
			t.Fatal(err)
		}
		stores[i] = traffiktest.Break(memory)
	}
	outer := traffik.MustNew("outer", "9/h", traffik.WithBackend(stores[0]))
	a := traffik.MustNew("a", "9/h", traffik.WithBackend(stores[0]), traffik.WithCost(2))
	b := traffik.MustNew("b", "9/h", traffik.WithBackend(stores[1]))
	used := func(t *testing.T) (n [3]int64) {
		t.Helper()
		for i, throttle := range []*traffik.Throttle{outer, a, b} {
			stat, err := throttle.Key("ip:192.0.2.1").Stat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n[i] = stat.Limit - stat.Remaining
		}
		return n
	}
	admit := func() traffik.Verdict {
		r := &traffik.Request{RemoteAddr: "192.0.2.1:1"}
		if _, err := outer.Admit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		v, err := traffik.All(outer, a, b).Admit(t.Context(), r)
		if err != nil || !v.Allowed() {
			t.Fatalf("%+v, %v", v, err)
		}
		return v
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	v := admit()
	if got := used(t); got != [3]int64{1, 2, 1} {
		t.Fatalf("used %v", got)
	}
	if err := v.Refund(gone); err != nil {
		t.Error(err)
	}
	if got := used(t); got != [3]int64{1, 0, 0} {
		t.Errorf("used %v after the refund, want the charge of the outer use alone", got)
	}
	v = admit()
	down := errors.New("down")
	stores[0].Fail(down)
	if err := v.Refund(t.Context()); !errors.Is(err, down) {
		t.Errorf("error %v, want that of the store", err)
	}
	stores[0].Fail(nil)
	if got := used(t); got != [3]int64{2, 2, 0} {
		t.Errorf("used %v, want a store's failure to leave the others alone", got)
	}
	if err := (traffik.Verdict{}).Refund(t.Context()); err != nil {
		t.Error(err)
	}
}

// admitted is a verdict of two throttles on each of two stores.
func admitted(t *testing.T, stores ...traffik.Backend) traffik.Verdict {
	t.Helper()
	var limits []traffik.Limiter
	for i, store := range stores {
		for _, uid := range []string{"a", "b"} {
			limits = append(limits, traffik.MustNew(uid+strconv.Itoa(i), "9/h", traffik.WithBackend(store), traffik.WithIdentifier(traffik.Shared())))
		}
	}
	v, err := traffik.All(limits...).Admit(t.Context(), new(traffik.Request))
	if err != nil || !v.Allowed() {
		t.Fatalf("%+v, %v", v, err)
	}
	return v
}

func newMemory(t *testing.T) *traffik.Memory {
	t.Helper()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	return memory
}

// charged counts the results of v that still are.
func charged(v traffik.Verdict) (n int) {
	for _, res := range v.Results() {
		if res.Outcome == traffik.Admitted {
			n++
		}
	}
	return n
}

// All refunds of one backend are one call: by a refund, and
// by a gate of which a later backend denies.
func TestRefundAsksEachBackendOnce(t *testing.T) {
	t.Parallel()
	for name, refund := range map[string]func(v traffik.Verdict) error{
		"Refund":       func(v traffik.Verdict) error { return v.Refund(t.Context()) },
		"RefundWithin": func(v traffik.Verdict) error { return v.RefundWithin(t.Context(), time.Minute) },
	} {
		first, second := traffiktest.Record(newMemory(t)), traffiktest.Record(newMemory(t))
		v := admitted(t, first, second)
		if err := refund(v); err != nil || charged(v) != 0 {
			t.Errorf("%s: %v, %d stay charged", name, err, charged(v))
		}
		for _, store := range []*traffiktest.Recorder{first, second} {
			if takes := store.Takes(); len(takes) != 2 || len(takes[1]) != 2 || takes[1][0].Draw.Cost != -1 {
				t.Errorf("%s: the store was asked %+v, want one call that refunds", name, takes)
			}
		}
	}

	store, closed := traffiktest.Record(newMemory(t)), newMemory(t)
	full := traffik.MustNew("full", "1/h", traffik.WithBackend(closed), costs(2))
	limits := []traffik.Limiter{
		traffik.MustNew("a", "9/h", traffik.WithBackend(store)), traffik.MustNew("b", "9/h", traffik.WithBackend(store)), full,
	}
	if v, err := traffik.All(limits...).Admit(t.Context(), new(traffik.Request)); err != nil || v.Allowed() {
		t.Fatalf("%+v, %v; want a denial", v, err)
	}
	if takes := store.Takes(); len(takes) != 2 || len(takes[1]) != 2 {
		t.Errorf("the store was asked %+v, want one call that refunds", takes)
	}
}

// Two throttles that share a counter, which no gate takes, may still have judged
// one request.
func TestRefundOfASharedCounter(t *testing.T) {
	t.Parallel()
	memory := newMemory(t)
	r := new(traffik.Request)
	limit := func() *traffik.Throttle {
		return traffik.MustNew("one", "9/h", traffik.WithBackend(memory), traffik.WithIdentifier(traffik.Shared()))
	}
	for range 2 {
		if _, err := limit().Admit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Verdict().Refund(t.Context()); err != nil {
		t.Error(err)
	}
	if stat, err := limit().Key("shared:").Stat(t.Context()); err != nil || stat.Remaining != 9 {
		t.Errorf("%+v, %v; want everything refunded", stat, err)
	}
}

// A slow store does not hold a refund up, and gets it nevertheless.
func TestRefundWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, memory := newMemory(t), newMemory(t)
		store := traffiktest.Break(memory)
		for _, c := range []struct {
			slow, took time.Duration
			given      bool // in the end
		}{
			{0, 0, true},
			{20 * time.Millisecond, 20 * time.Millisecond, true},
			{3 * time.Second, 50 * time.Millisecond, true},
			{time.Hour, 50 * time.Millisecond, false},
		} {
			store.Slow(0)
			v := admitted(t, store, near)
			store.Slow(c.slow)
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			start := time.Now()
			if err := v.RefundWithin(gone, 50*time.Millisecond); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took != c.took || charged(v) != 0 {
				t.Errorf("a store that takes %v held the refund up for %v; %d results count as charged", c.slow, took, charged(v))
			}
			afterTheBound()
			store.Slow(0)
			for at, backend := range []traffik.Backend{memory, near} {
				limit := traffik.MustNew("a"+strconv.Itoa(at), "9/h", traffik.WithBackend(backend))
				stat, err := limit.Key("shared:").Stat(t.Context())
				if err != nil || (stat.Remaining == 9) != (c.given || at == 1) {
					t.Errorf("a store that takes %v: %+v, %v", c.slow, stat, err)
				}
			}
		}
	})
}

// What fails in time is told and stays charged, a panic of the backend included.
func TestRefundWithinFails(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	store := traffiktest.Break(newMemory(t))
	v := admitted(t, store, newMemory(t))
	store.Fail(down)
	if err := v.RefundWithin(t.Context(), time.Minute); !errors.Is(err, down) || charged(v) != 2 {
		t.Errorf("%v, %d charged; want the store's error and its two charges", err, charged(v))
	}
	broken := &panicking{Backend: newMemory(t)}
	v = admitted(t, broken)
	broken.now = true
	if err := v.RefundWithin(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("%v, want the panic as an error", err)
	}
}

// panicking panics once now is set.
type panicking struct {
	traffik.Backend
	now bool
}

func (p *panicking) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if p.now {
		panic("on purpose")
	}
	return p.Backend.Take(ctx, ops, out)
}

// With a thousand refunds under way the next is waited for. Not parallel: the count
// belongs to the process.
func TestRefundsUnderWayAreBounded(t *testing.T) { //nolint:paralleltest // see above
	synctest.Test(t, func(t *testing.T) {
		store := traffiktest.Break(newMemory(t))
		limit := traffik.MustNew("a", "9999/h", traffik.WithBackend(store))
		refund := func() time.Duration {
			v, err := limit.Admit(t.Context(), new(traffik.Request))
			if err != nil {
				t.Fatal(err)
			}
			store.Slow(time.Hour)
			start := time.Now()
			_ = v.RefundWithin(t.Context(), 0)
			took := time.Since(start)
			synctest.Wait() // until it hangs
			store.Slow(0)
			return took
		}
		for i := range 1000 {
			if took := refund(); took != 0 {
				t.Fatalf("refund %d took %v", i, took)
			}
		}
		if took := refund(); took != 5*time.Second {
			t.Errorf("with a thousand under way a refund took %v, want the five seconds of the bound", took)
		}
		synctest.Wait()
		if took := refund(); took != 0 {
			t.Errorf("once they have ended a refund took %v", took)
		}
		afterTheBound()
	})
}

// A refund goes to the class that its units were drawn for: by Refund,
// by Verdict.Refund and by a gate whose later backend denies.
func TestRefundsKeepTheClass(t *testing.T) {
	t.Parallel()
	memory := func() traffik.Backend {
		m, err := traffik.NewMemory(traffik.WithClock(traffiktest.NewClock(time.Unix(1_700_000_000, 0))))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	class := traffik.WithClass(func(r *traffik.Request) string { return r.Method })
	throttle := traffik.MustNew("u", "10/min", traffik.WithBackend(memory()), traffik.WithStrategy(advanced.Priority{}), class)
	as := func(class string) traffik.Subject {
		return throttle.For(&traffik.Request{Method: class, RemoteAddr: "192.0.2.1:1"})
	}
	want := func(what string, critical, normal int64) {
		t.Helper()
		for class, remaining := range map[string]int64{advanced.Critical: critical, advanced.Normal: normal} {
			if res, err := as(class).Stat(t.Context()); err != nil || res.Remaining != remaining {
				t.Errorf("%s: %+v, %v for %s; want %d remaining", what, res.Decision, err, class, remaining)
			}
		}
	}
	if _, err := as(advanced.Normal).HitN(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	res, err := as(advanced.Critical).HitN(t.Context(), 5)
	if err != nil || !res.Allowed {
		t.Fatalf("%+v, %v", res, err)
	}
	if err := throttle.Refund(t.Context(), res, 5); err != nil {
		t.Fatal(err)
	}
	want("after a refund", 5, 2)

	critical := func() *traffik.Request {
		return &traffik.Request{Method: advanced.Critical, RemoteAddr: "192.0.2.1:1"}
	}
	v, err := throttle.Admit(t.Context(), critical())
	if err != nil || v.Refund(t.Context()) != nil {
		t.Fatal(err)
	}
	want("after a verdict's", 5, 2)

	closed := traffik.MustNew("closed", "1/d", traffik.WithBackend(memory()), costs(2))
	if v, err := traffik.All(throttle, closed).Admit(t.Context(), critical()); err != nil || v.Allowed() {
		t.Fatalf("%+v, %v; want a denial by the second backend", v.Results(), err)
	}
	want("after the denial of another backend", 5, 2)
}

// afterTheBound lets refunds that hang end, inside of testing/synctest.
func afterTheBound() {
	time.Sleep(6 * time.Second) //nolint:forbidigo // the bubble's clock
}

// three returns throttles of nine an hour each, on a memory of their own, and what
// they have used for the client of request.
func three(t *testing.T) (throttles [3]*traffik.Throttle, used func(throttle *traffik.Throttle) int64) {
	t.Helper()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	for i := range throttles {
		throttles[i] = traffik.MustNew(strconv.Itoa(i), "9/h", traffik.WithBackend(memory))
	}
	return throttles, func(throttle *traffik.Throttle) int64 {
		t.Helper()
		stat, err := throttle.Key("ip:192.0.2.1").Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return stat.Limit - stat.Remaining
	}
}

func admit(t *testing.T, limit traffik.Limiter, r *traffik.Request) traffik.Verdict {
	t.Helper()
	v, err := limit.Admit(t.Context(), r)
	if err != nil || !v.Allowed() {
		t.Fatalf("%+v, %v", v, err)
	}
	return v
}

// A request remembers what was refunded however many uses came after it, so that
// a second try is charged.
func TestSecondTryAfterRefundIsCharged(t *testing.T) {
	t.Parallel()
	throttles, used := three(t)
	r := &traffik.Request{RemoteAddr: "192.0.2.1:1"}
	admit(t, throttles[0], r)
	first := admit(t, throttles[1], r)
	admit(t, throttles[2], r)
	if err := first.Refund(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := first.Results()[0].Outcome; got != traffik.Uncharged {
		t.Errorf("what was refunded is %v", got)
	}
	admit(t, throttles[1], r)
	if got := used(throttles[1]); got != 1 {
		t.Errorf("%d used after a refund and a second try, want 1", got)
	}
}

// Two holders of one charge refund it once.
func TestRefundByTwoHolders(t *testing.T) {
	t.Parallel()
	throttles, used := three(t)
	if _, err := throttles[1].Key("ip:192.0.2.1").HitN(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	r := &traffik.Request{RemoteAddr: "192.0.2.1:1"}
	admit(t, throttles[0], r)
	inner := admit(t, traffik.All(throttles[0], throttles[1]), r)
	for _, v := range []traffik.Verdict{inner, r.Verdict(), inner, r.Verdict()} {
		if err := v.Refund(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := used(throttles[0]), used(throttles[1]); a != 0 || b != 5 {
		t.Errorf("%d and %d used after the refunds, want 0 and 5", a, b)
	}
}

// Copies of a verdict on a plain key share what was refunded, however many limits it has and
// whoever refunds first.
func TestRefundOfAPlainKeyOnce(t *testing.T) {
	t.Parallel()
	for _, store := range []traffik.Backend{newMemory(t), traffiktest.Break(newMemory(t))} {
		for _, n := range []int{1, 2, 5, 6} {
			var limits []traffik.Limiter
			var throttles []*traffik.Throttle
			for i := range n {
				opts := []traffik.Option{traffik.WithBackend(store), traffik.WithCost(3)}
				if i == 1 {
					opts = append(opts, traffik.WithReportOnly())
				}
				throttles = append(throttles, traffik.MustNew(strconv.Itoa(n)+"."+strconv.Itoa(i), "99/h", opts...))
				limits = append(limits, throttles[i])
			}
			gate := traffik.All(limits...)
			hit := func() traffik.Verdict {
				v, err := gate.Key("k").Hit(t.Context())
				if err != nil || !v.Allowed() {
					t.Fatalf("%+v, %v", v.Results(), err)
				}
				return v
			}
			hit() // stays
			v := hit()
			results := v.Results()
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					if err := v.Refund(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			for i, throttle := range throttles {
				if err := throttle.Refund(t.Context(), results[i], 3); err != nil {
					t.Error(err)
				}
				stat, err := throttle.Key("k").Stat(t.Context())
				if err != nil || stat.Remaining != 96 || v.Results()[i].Outcome != traffik.Uncharged {
					t.Errorf("limit %d of %d on %T: %d remaining, %v; want one charge of 3", i, n, store, stat.Remaining, err)
				}
			}
		}
	}
}

// A handler may still be at work, and ask, while its outcome is settled.
func TestRefundBesideUses(t *testing.T) {
	t.Parallel()
	throttles, used := three(t)
	for range 100 {
		r := &traffik.Request{RemoteAddr: "192.0.2.1:1"}
		v := admit(t, throttles[0], r)
		known := r.Verdict()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { _ = v.Refund(t.Context()) })
		}
		wg.Go(func() {
			inner := &traffik.Request{RemoteAddr: "192.0.2.1:1"}
			inner.Continue(r)
			_ = admit(t, throttles[1], inner).Refund(t.Context())
		})
		wg.Go(func() { _, _, _ = known.Results()[0].Outcome, known.Allowed(), known.Tightest() })
		wg.Wait()
	}
	if a, b := used(throttles[0]), used(throttles[1]); a != 0 || b != 0 {
		t.Errorf("%d and %d used, want none", a, b)
	}
}

// halting takes the first of several refunds and fails then.
type halting struct{ *traffik.Memory }

func (h *halting) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if len(ops) > 1 && ops[0].Draw.Cost < 0 {
		return errors.Join(h.Memory.Take(ctx, ops[:1], out[:1]), errors.New("broken"))
	}
	return h.Memory.Take(ctx, ops, out)
}

// A refund that failed may have been made, so it is not made again, and it
// counts as charged.
func TestRefundThatFailedInPart(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	backend := &halting{memory}
	a := traffik.MustNew("a", "9/h", traffik.WithBackend(backend))
	b := traffik.MustNew("b", "9/h", traffik.WithBackend(backend))
	for _, throttle := range []*traffik.Throttle{a, b} {
		if _, err := throttle.Key("ip:192.0.2.1").HitN(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
	}
	r := &traffik.Request{RemoteAddr: "192.0.2.1:1"}
	v := admit(t, traffik.All(a, b), r)
	if err := v.Refund(t.Context()); err == nil {
		t.Error("a refund that failed is no error")
	}
	if err := v.Refund(t.Context()); err != nil {
		t.Errorf("a second refund: %v", err)
	}
	admit(t, traffik.All(a, b), r) // repeated
	for throttle, want := range map[*traffik.Throttle]int64{a: 5, b: 6} {
		if stat, err := throttle.Key("ip:192.0.2.1").Stat(t.Context()); err != nil || stat.Limit-stat.Remaining != want {
			t.Errorf("%s: %+v, %v; want %d used", throttle.UID(), stat, err, want)
		}
	}
	if got := v.Results()[1].Outcome; got != traffik.Admitted {
		t.Errorf("what was not refunded is %v, want Admitted", got)
	}
}

// costs makes each hit cost units, more than the limit if need be.
func costs(units int64) traffik.Option {
	return traffik.WithCostFunc(func(*traffik.Request) (int64, error) { return units, nil })
}

// A refund that comes when its draw has leaked lifts nothing above the burst, whichever
// way it is made; one that comes earlier restores what the draw still holds.
func TestLateRefundsOfABucket(t *testing.T) {
	t.Parallel()
	start := traffik.InstantOf(time.Unix(1_700_000_000, 0))
	for name, refund := range map[string]func(*traffik.Throttle, traffik.Result, traffik.Verdict) error{
		"Throttle.Refund": func(l *traffik.Throttle, r traffik.Result, _ traffik.Verdict) error {
			return l.Refund(t.Context(), r, 50)
		},
		"Verdict.Refund": func(_ *traffik.Throttle, _ traffik.Result, v traffik.Verdict) error { return v.Refund(t.Context()) },
		"Verdict.RefundWithin": func(_ *traffik.Throttle, _ traffik.Result, v traffik.Verdict) error {
			return v.RefundWithin(t.Context(), time.Minute)
		},
	} {
		for after, c := range map[time.Duration]struct{ take, want int64 }{15 * time.Second: {75, 25}, 30 * time.Second: {100, 0}} {
			t.Run(name+" after "+after.String(), func(t *testing.T) {
				t.Parallel()
				clock := new(traffiktest.Clock)
				clock.Set(start)
				memory, err := traffik.NewMemory(traffik.WithClock(clock))
				if err != nil {
					t.Fatal(err)
				}
				limit := traffik.MustNew("bucket", "100/min", traffik.WithStrategy(traffik.TokenBucket{}), traffik.WithBackend(memory))
				gate := traffik.All(limit, traffik.MustNew("other", "1000/min", traffik.WithBackend(memory)))
				v, err := gate.Key("user:1").HitN(t.Context(), 50)
				if err != nil || !v.Allowed() {
					t.Fatalf("%+v, %v", v, err)
				}
				clock.Set(start.Add(after))
				if res, err := limit.Key("user:1").HitN(t.Context(), c.take); err != nil || res.Remaining != 0 || !res.Allowed {
					t.Fatalf("%+v, %v; want all that is left", res, err)
				}
				if err := refund(limit, v.Results()[0], v); err != nil {
					t.Fatal(err)
				}
				if res, err := limit.Key("user:1").Stat(t.Context()); err != nil || res.Remaining != c.want {
					t.Errorf("%d remain, want %d (%v)", res.Remaining, c.want, err)
				}
			})
		}
	}
}

// A gate over two stores takes back what the first one charged: the last waiting draw of
// a queue leaves it, and a draw from a bucket that others have drawn on since is
// refunded as far as it holds anything.
func TestGateTakesBackFromAQueue(t *testing.T) {
	t.Parallel()
	clock := traffiktest.NewClock(time.Unix(1_700_000_000, 0))
	var stores [2]*traffik.Memory
	for i := range stores {
		memory, err := traffik.NewMemory(traffik.WithClock(clock))
		if err != nil {
			t.Fatal(err)
		}
		stores[i] = memory
	}
	queue := traffik.MustNew("queue", "5/min", traffik.WithStrategy(traffik.LeakyBucketWithQueue{}), traffik.WithBackend(stores[0]))
	full := traffik.MustNew("full", "1/h", traffik.WithBackend(stores[1]))
	gate := traffik.All(queue, full)
	if v, err := gate.Key("a").Hit(t.Context()); err != nil || !v.Allowed() {
		t.Fatalf("%+v, %v", v, err)
	}
	for range 3 {
		v, err := gate.Key("a").Hit(t.Context())
		if err != nil || v.Allowed() || v.Results()[0].Outcome != traffik.Uncharged || v.Results()[0].Remaining != 4 {
			t.Errorf("%+v, %v; want the draw off the queue again, and 4 remaining", v, err)
		}
	}
	// What would have started at once can't be told from what has started.
	clock.Advance(time.Minute)
	if v, err := gate.Key("a").Hit(t.Context()); err != nil || v.Allowed() || v.Results()[0].Remaining != 4 {
		t.Errorf("%+v, %v; want the first draw kept, and 4 remaining", v, err)
	}
}
