package traffik

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeBackend fails when told to, and counts its calls.
type fakeBackend struct {
	*Memory
	err          error
	takes, peeks atomic.Int64
	policy       ErrorPolicy
}

func newFakeBackend(t testing.TB) *fakeBackend {
	t.Helper()
	m, _ := newTestMemory(t)
	return &fakeBackend{Memory: m}
}

func (f *fakeBackend) Take(ctx context.Context, ops []Op, out []Decision) error {
	f.takes.Add(1)
	if f.err != nil {
		return f.err
	}
	return f.Memory.Take(ctx, ops, out)
}

func (f *fakeBackend) Peek(ctx context.Context, ops []Op, out []Decision) error {
	f.peeks.Add(1)
	if f.err != nil {
		return f.err
	}
	return f.Memory.Peek(ctx, ops, out)
}

func (f *fakeBackend) ErrorPolicy(error) ErrorPolicy { return f.policy }

// onEvery runs a test on the in-process backend, which has short paths, and on one behind the
// interface.
func onEvery(t *testing.T, run func(t *testing.T, backend Backend)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		m, _ := newTestMemory(t)
		run(t, m)
	})
	t.Run("interface", func(t *testing.T) {
		t.Parallel()
		run(t, newFakeBackend(t))
	})
}

func TestThrottleHit(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		throttle := newTestThrottle(t, "3/h", WithBackend(backend))
		for want := int64(2); want >= 0; want-- {
			res := hit(t, throttle, "k")
			if !res.Allowed || res.Outcome != Admitted || res.Remaining != want || res.Limit != 3 {
				t.Errorf("%+v, want admitted with %d of 3 remaining", res, want)
			}
		}
		res := hit(t, throttle, "k")
		if res.Allowed || res.Outcome != Denied || res.RetryAfter <= 0 || res.RetryAfter > time.Hour {
			t.Errorf("%+v, want denied with a wait of up to an hour", res)
		}
		if res := hit(t, throttle, "another"); !res.Allowed {
			t.Errorf("another key: %+v", res)
		}
	})
}

func TestThrottleHitNCheckStatReset(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		throttle := newTestThrottle(t, "10/h", WithBackend(backend))
		subject := throttle.Key("k")
		ctx := t.Context()
		expect := func(call string, res Result, err error, allowed bool, remaining int64) {
			t.Helper()
			if err != nil || res.Allowed != allowed || res.Remaining != remaining {
				t.Errorf("%s: %+v, %v; want allowed %v with %d remaining", call, res, err, allowed, remaining)
			}
		}
		res, err := subject.HitN(ctx, 7)
		expect("HitN(7)", res, err, true, 3)
		res, err = subject.Check(ctx, 4)
		expect("Check(4)", res, err, false, 3)
		res, err = subject.Check(ctx, 3)
		expect("Check(3)", res, err, true, 0)
		res, err = subject.Stat(ctx)
		expect("Stat", res, err, true, 3)
		res, err = subject.Check(ctx, 11)
		expect("Check(11)", res, err, false, 3)
		if res.RetryAfter != Never {
			t.Errorf("Check(11) of 10: wait %v, want Never", res.RetryAfter)
		}
		res, err = subject.HitN(ctx, 0)
		if err != nil || !res.Allowed || res.Outcome != Exempt {
			t.Errorf("HitN(0): %+v, %v; want Exempt", res, err)
		}
		if err := subject.Reset(ctx); err != nil {
			t.Error(err)
		}
		res, err = subject.Stat(ctx)
		expect("Stat after Reset", res, err, true, 10)
		for _, call := range []func(context.Context, int64) (Result, error){subject.HitN, subject.Check} {
			if _, err := call(ctx, -1); !errors.Is(err, ErrUsage) {
				t.Errorf("a negative number: %v, want ErrUsage", err)
			}
		}
	})
}

func TestThrottleDescribe(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		window := newTestThrottle(t, "10/h", WithBackend(backend))
		hit(t, window, "k")
		got, err := window.Key("k").Describe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := testEpoch.Time().Truncate(time.Hour)
		want := WindowInfo{Start: start, End: start.Add(time.Hour), Limit: 10, Used: 1}
		if got != want {
			t.Errorf("Describe: %+v, want %+v", got, want)
		}
		bucket := newTestThrottle(t, "10/s", WithBackend(backend), WithStrategy(TokenBucket{Burst: 4}))
		if _, err := bucket.Key("k").HitN(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		got, err = bucket.Key("k").Describe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := (BucketInfo{Capacity: 4, Level: 3, Tokens: 1, EmptyAt: testEpoch.Time().Add(300 * time.Millisecond)}); got != want {
			t.Errorf("Describe: %+v, want %+v", got, want)
		}
		if res, err := bucket.Key("k").Stat(t.Context()); err != nil || res.Remaining != 1 {
			t.Errorf("describing charged: %+v, %v", res, err)
		}
		if _, err := newTestThrottle(t, "unlimited", WithBackend(backend)).Key("k").Describe(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("describing an unlimited rate: %v, want ErrUnsupported", err)
		}
	})
}

func TestThrottleRefund(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		throttle := newTestThrottle(t, "10/h", WithBackend(backend))
		res, err := throttle.Key("k").HitN(t.Context(), 6)
		if err != nil {
			t.Fatal(err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel() // the request is over by the time of the refund
		if err := throttle.Refund(ended, res, 4); err != nil {
			t.Fatal(err)
		}
		stat, _ := throttle.Key("k").Stat(t.Context())
		if stat.Remaining != 8 {
			t.Errorf("%d remaining after 6 taken and 4 refunded, want 8", stat.Remaining)
		}
		for _, n := range []int64{-1, 7} {
			if err := throttle.Refund(t.Context(), res, n); !errors.Is(err, ErrUsage) {
				t.Errorf("Refund(%d) of 6: %v, want ErrUsage", n, err)
			}
		}
		other := newTestThrottle(t, "10/h", WithBackend(backend))
		if err := other.Refund(t.Context(), res, 1); !errors.Is(err, ErrUsage) {
			t.Errorf("Refund on another throttle: %v, want ErrUsage", err)
		}
		if err := throttle.Refund(t.Context(), Result{}, 1); !errors.Is(err, ErrUsage) {
			t.Errorf("Refund of the zero Result: %v, want ErrUsage", err)
		}
		denied, _ := throttle.Key("k").HitN(t.Context(), 9)
		check, _ := throttle.Key("k").Check(t.Context(), 1)
		for _, res := range []Result{denied, check} {
			if err := throttle.Refund(t.Context(), res, 1); err != nil {
				t.Errorf("Refund of a result that took nothing: %v", err)
			}
		}
		if stat, _ := throttle.Key("k").Stat(t.Context()); stat.Remaining != 8 {
			t.Errorf("%d remaining, want 8 still", stat.Remaining)
		}
	})
}

// A refund names the window that counted the draw. After that window has rolled, nothing is
// restored.
func TestThrottleRefundAfterTheWindow(t *testing.T) {
	t.Parallel()
	m, clock := newTestMemory(t)
	throttle := newTestThrottle(t, "5/min", WithBackend(m))
	old := hit(t, throttle, "k")
	clock.advance(time.Minute)
	hit(t, throttle, "k")
	if err := throttle.Refund(t.Context(), old, 1); err != nil {
		t.Fatal(err)
	}
	if stat, _ := throttle.Key("k").Stat(t.Context()); stat.Remaining != 4 {
		t.Errorf("%d remaining, want 4: the old draw is gone with its window", stat.Remaining)
	}
}

func TestThrottleForRequest(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		throttle := newTestThrottle(t, "2/h", WithBackend(backend))
		from := func(addr string) Result {
			res, err := throttle.For(&Request{RemoteAddr: addr}).Hit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		if a, b := from("192.0.2.1:1000"), from("192.0.2.1:2000"); a.Remaining != 1 || b.Remaining != 0 {
			t.Errorf("%d and %d remaining for two ports of one address, want 1 and 0", a.Remaining, b.Remaining)
		}
		if res := from("192.0.2.2:1000"); res.Remaining != 1 {
			t.Errorf("%d remaining for another address, want 1", res.Remaining)
		}
		// Key addresses what the identifier counts.
		if res, err := throttle.Key(IdentityOf("ip", "192.0.2.1")).Stat(t.Context()); err != nil || res.Remaining != 0 {
			t.Errorf("the plain key of the address: %+v, %v; want nothing remaining", res, err)
		}
		// No address is one anonymous identity and no way around the limit.
		from("@")
		from("")
		if res := from("@"); res.Allowed {
			t.Errorf("a third request without an address was admitted: %+v", res)
		}
	})
}

func TestThrottleCost(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		fixed := newTestThrottle(t, "10/h", WithBackend(backend), WithCost(4))
		if res := hit(t, fixed, "k"); res.Remaining != 6 {
			t.Errorf("%d remaining after a cost of 4 of 10, want 6", res.Remaining)
		}
		free := newTestThrottle(t, "10/h", WithBackend(backend), WithCost(0))
		if res := hit(t, free, "free"); res.Outcome != Exempt || !res.Allowed {
			t.Errorf("a cost of 0: %+v, want Exempt", res)
		}
		broken := errors.New("no content length")
		byPath := newTestThrottle(t, "10/h", WithBackend(backend), WithIdentifier(Shared()), WithCostFunc(func(r *Request) (int64, error) {
			switch r.Path {
			case "/error":
				return 0, broken
			case "/negative":
				return -5, nil
			}
			return int64(len(r.Path)), nil
		}))
		res, err := byPath.For(&Request{Path: "/abc"}).Hit(t.Context())
		if err != nil || res.Remaining != 6 {
			t.Errorf("a computed cost of 4 of 10: %+v, %v; want 6 remaining", res, err)
		}
		for path, want := range map[string]error{"/error": broken, "/negative": ErrUsage} {
			res, err := byPath.For(&Request{Path: path}).Hit(t.Context())
			if err != nil || res.Allowed || res.Outcome != FailedClosed || !errors.Is(res.Err, want) {
				t.Errorf("%s: %+v, %v; want FailedClosed with %v", path, res, err, want)
			}
		}
		if _, err := byPath.Key("plain").Hit(t.Context()); err != nil {
			t.Errorf("a cost function for a plain key: %v", err)
		}
	})
}

func TestThrottleRateFunc(t *testing.T) {
	t.Parallel()
	noPlan := errors.New("no plan")
	onEvery(t, func(t *testing.T, backend Backend) {
		throttle, err := New(t.Name(), func(r *Request) (Rate, error) {
			switch r.Path {
			case "/free":
				return Per(2, time.Hour), nil
			case "/pro":
				return Per(100, time.Hour), nil
			case "/staff":
				return Unlimited, nil
			case "/forgotten":
				return Rate{}, nil
			}
			return Rate{}, noPlan
		}, WithBackend(backend), WithIdentifier(Shared()))
		if err != nil {
			t.Fatal(err)
		}
		from := func(path string) Result {
			res, err := throttle.For(&Request{Path: path}).Hit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		if res := from("/free"); res.Remaining != 1 || res.Rate() != Per(2, time.Hour) {
			t.Errorf("%+v, want 1 of 2", res)
		}
		if res := from("/pro"); res.Remaining != 98 {
			t.Errorf("%d remaining for a larger plan on the same counter, want 98", res.Remaining)
		}
		if res := from("/staff"); res.Outcome != NoLimit || !res.Allowed {
			t.Errorf("%+v, want NoLimit", res)
		}
		// A missing rate must not mean unlimited.
		for path, want := range map[string]error{"/forgotten": ErrRate, "/unknown": noPlan} {
			if res := from(path); res.Allowed || !errors.Is(res.Err, want) {
				t.Errorf("%s: %+v, want FailedClosed with %v", path, res, want)
			}
		}
	})
}

func TestUnlimitedTouchesNoBackend(t *testing.T) {
	t.Parallel()
	backend := newFakeBackend(t)
	throttle := newTestThrottle(t, "unlimited", WithBackend(backend))
	for range 10 {
		if res := hit(t, throttle, "k"); res.Outcome != NoLimit || !res.Allowed {
			t.Fatalf("%+v, want NoLimit", res)
		}
	}
	if n := backend.takes.Load() + backend.peeks.Load(); n != 0 {
		t.Errorf("%d calls of the backend, want none", n)
	}
}

// tierStrategy admits nothing to class "none".
type tierStrategy struct{ FixedWindow }

func (tierStrategy) ID() string { return "tier_test.1" }
func (s tierStrategy) Decide(dst, state []byte, d *Draw) ([]byte, Decision) {
	if d.Class == "none" {
		return dst, Decision{Limit: 1, RetryAfter: Never, At: d.Now}
	}
	return s.FixedWindow.Decide(dst, state, d)
}

func TestThrottleClass(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		throttle := newTestThrottle(t, "5/h", WithBackend(backend), WithStrategy(tierStrategy{}),
			WithClass(func(r *Request) string { return r.Path }))
		for path, want := range map[string]bool{"none": false, "gold": true} {
			res, err := throttle.For(&Request{Path: path}).Hit(t.Context())
			if err != nil || res.Allowed != want {
				t.Errorf("class %q: %+v, %v", path, res, err)
			}
		}
	})
}

func TestReportOnly(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		report := newTestThrottle(t, "1/h", WithBackend(backend), WithReportOnly(), WithErrorPolicy(FailClosed))
		hit(t, report, "k")
		res := hit(t, report, "k")
		if !res.Allowed || res.Outcome != Denied || res.RetryAfter <= 0 {
			t.Errorf("%+v, want allowed with the outcome Denied", res)
		}
		if fake, ok := backend.(*fakeBackend); ok {
			fake.err = errors.New("down")
			if res := hit(t, report, "k"); !res.Allowed || res.Outcome != FailedOpen {
				t.Errorf("%+v with the store down, want FailedOpen: a report blocks nobody", res)
			}
		}
	})
}

func TestErrorPolicy(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	absurd := errors.New("no user")
	cases := []struct {
		name            string
		opts            []Option
		backendPolicy   ErrorPolicy
		store, identity Outcome // Undecided stands for a returned error
	}{
		{"default", nil, DefaultPolicy, FailedOpen, FailedClosed},
		{"backend default", nil, FailClosed, FailedClosed, FailedClosed},
		{"allow", []Option{WithErrorPolicy(FailOpen)}, FailClosed, FailedOpen, FailedOpen},
		{"deny", []Option{WithErrorPolicy(FailClosed)}, DefaultPolicy, FailedClosed, FailedClosed},
		{"propagate", []Option{WithErrorPolicy(Propagate)}, DefaultPolicy, Undecided, Undecided},
		{"function", []Option{WithErrorFunc(func(err error) ErrorPolicy {
			if errors.Is(err, ErrIdentity) {
				return Propagate
			}
			return FailClosed
		})}, DefaultPolicy, FailedClosed, Undecided},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			backend := newFakeBackend(t)
			backend.policy = c.backendPolicy
			backend.err = down
			opts := append([]Option{WithBackend(backend)}, c.opts...)
			res, err := newTestThrottle(t, "5/h", opts...).Key("k").Hit(t.Context())
			wantOutcome(t, "store", res, err, c.store, down)

			nobody := Identify("user", func(*Request) (string, error) { return "", absurd })
			opts = append(opts, WithIdentifier(nobody))
			res, err = newTestThrottle(t, "5/h", opts...).For(&Request{}).Hit(t.Context())
			wantOutcome(t, "identity", res, err, c.identity, absurd)
		})
	}
}

func wantOutcome(t *testing.T, what string, res Result, err error, want Outcome, cause error) {
	t.Helper()
	if want == Undecided {
		if !errors.Is(err, cause) || res.Allowed {
			t.Errorf("%s: %+v, error %v; want the error %v", what, res, err, cause)
		}
		return
	}
	if err != nil || res.Outcome != want || !errors.Is(res.Err, cause) || res.Allowed != (want == FailedOpen) {
		t.Errorf("%s: %+v, error %v; want %v because of %v", what, res, err, want, cause)
	}
}

// A caller that cancels is no failure of the store, so no policy is asked.
func TestCancelledCaller(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		throttle := newTestThrottle(t, "5/h", WithBackend(backend), WithErrorPolicy(FailOpen))
		cause := errors.New("client gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if res, err := throttle.Key("k").Hit(ctx); !errors.Is(err, cause) || res.Allowed {
			t.Errorf("%+v, %v; want the cause of the context's end", res, err)
		}
		if v, err := All(throttle, newNamed(t, "other", "6/h", WithBackend(backend))).Key("k").Hit(ctx); !errors.Is(err, cause) || v.Allowed() && len(v.Results()) == 0 {
			t.Errorf("%+v, %v; want the cause of the context's end", v, err)
		}
		if stat, _ := throttle.Key("k").Stat(t.Context()); stat.Remaining != 5 {
			t.Errorf("%d remaining, want 5", stat.Remaining)
		}
	})
}

func TestExempted(t *testing.T) {
	t.Parallel()
	backend := newFakeBackend(t)
	calls := 0
	id := Identify("user", func(*Request) (string, error) {
		calls++
		return "", Exempted
	})
	throttle := newTestThrottle(t, "1/h", WithBackend(backend), WithIdentifier(id))
	for range 3 {
		res, err := throttle.For(&Request{}).Hit(t.Context())
		if err != nil || !res.Allowed || res.Outcome != Exempt {
			t.Errorf("%+v, %v; want Exempt", res, err)
		}
	}
	if backend.takes.Load() != 0 {
		t.Error("an exempted request reached the backend")
	}
}

func TestIdentityIsComputedOnce(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	calls := 0
	id := Identify("user", func(*Request) (string, error) {
		calls++
		return "alice", nil
	})
	a := newNamed(t, "a", "5/h", WithBackend(m), WithIdentifier(id))
	b := newNamed(t, "b", "6/h", WithBackend(m), WithIdentifier(id))
	outer := &Request{}
	if _, err := All(a, b).Admit(t.Context(), outer); err != nil {
		t.Fatal(err)
	}
	inner := &Request{}
	inner.Continue(outer)
	c := newTestThrottle(t, "7/h", WithBackend(m), WithIdentifier(id))
	if _, err := c.Admit(t.Context(), inner); err != nil {
		t.Fatal(err)
	}
	if calls != 1 {
		t.Errorf("the identifier was called %d times for one request, want once", calls)
	}
}

// A detached copy knows the identities found so far, decides anew, and may be
// used beside the request.
func TestDetach(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	calls := 0
	id := Identify("user", func(*Request) (string, error) {
		calls++
		return "alice", nil
	})
	throttle := newTestThrottle(t, "5/h", WithBackend(m), WithIdentifier(id))
	r := &Request{Path: "/ws"}
	if _, err := throttle.Admit(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	d := r.Detach()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = throttle.For(d).Hit(t.Context()) })
	_, _ = throttle.For(r).Hit(t.Context())
	wg.Wait()
	v, err := throttle.Admit(t.Context(), d)
	if err != nil || v.Tightest().Remaining != 1 || calls != 1 || d.Path != "/ws" {
		t.Errorf("%+v, %v after %d calls of the identifier; want a fourth charge and one call", v, err, calls)
	}
}

// pooled is the context of a framework that reuses it.
type pooled struct{ user string }

func (p *pooled) Param(string) string { return p.user }
func (p *pooled) Value(any) any       { return p.user }
func (p *pooled) Detach() Source      { return traceless{p.user} }

type traceless struct{ user string }

func (s traceless) Param(string) string { return s.user }
func (s traceless) Value(any) any       { return s.user }

// A look-up that ends because the request's context was cancelled is no failure: the cause is
// returned, whatever the policy. A deadline is a failure.
func TestLookUpEndsWithTheRequest(t *testing.T) {
	t.Parallel()
	cause := errors.New("the client is gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	m, _ := newTestMemory(t)
	lookUp := func(r *Request) error {
		own, stop := context.WithTimeout(r.Context, 0)
		defer stop()
		return fmt.Errorf("look-up: %w", own.Err())
	}
	byFunction, err := New(t.Name(), func(r *Request) (Rate, error) { return Rate{}, lookUp(r) }, WithBackend(m))
	if err != nil {
		t.Fatal(err)
	}
	for name, throttle := range map[string]*Throttle{
		"identity": newTestThrottle(t, "5/h", WithBackend(m), WithIdentifier(Identify("user", func(r *Request) (string, error) { return "", lookUp(r) }))),
		"cost":     newTestThrottle(t, "5/h", WithBackend(m), WithCostFunc(func(r *Request) (int64, error) { return 0, lookUp(r) })),
		"rate":     byFunction,
	} {
		for _, limit := range []Limiter{throttle, All(throttle)} {
			if v, err := limit.Admit(ctx, &Request{Context: ctx}); !errors.Is(err, cause) {
				t.Errorf("%s of %T: %+v, %v; want the cause of the context's end", name, limit, v, err)
			}
			if v, err := limit.Admit(t.Context(), &Request{Context: t.Context()}); err != nil || !v.Failed() {
				t.Errorf("%s of %T with a deadline: %+v, %v; want a failure", name, limit, v, err)
			}
		}
	}
}

// A nil Request is an empty one.
func TestNilRequest(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	throttle := newTestThrottle(t, "5/h", WithBackend(m))
	for i, hit := range []func() (Verdict, error){
		func() (Verdict, error) { return throttle.Admit(t.Context(), nil) },
		func() (Verdict, error) { return All(throttle).Admit(t.Context(), nil) },
		func() (Verdict, error) { return All(throttle).For(nil).Hit(t.Context()) },
		func() (Verdict, error) {
			res, err := throttle.For(nil).Hit(t.Context())
			return verdictOf(res), err
		},
	} {
		if v, err := hit(); err != nil || v.Tightest().Remaining != int64(4-i) {
			t.Errorf("way %d: %+v, %v; want %d remaining", i, v, err, 4-i)
		}
	}
	if res, err := throttle.For(&Request{}).Stat(t.Context()); err != nil || res.Remaining != 1 {
		t.Errorf("an empty request: %+v, %v; want the same counter", res, err)
	}
}

// An exempt limit has nothing to reset, and the others of the gate are reset.
func TestResetOfTheExempt(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	exempt := Identify("staff", func(*Request) (string, error) { return "", Exempted })
	a := newTestThrottle(t, "5/h", WithBackend(m), WithIdentifier(exempt))
	b, err := New("other", "5/h", WithBackend(m))
	if err != nil {
		t.Fatal(err)
	}
	r := &Request{RemoteAddr: "192.0.2.1:1"}
	if _, err := b.For(r).Hit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := All(a, b).For(r).Reset(t.Context()); err != nil {
		t.Error(err)
	}
	if res, err := b.For(r).Stat(t.Context()); err != nil || res.Remaining != 5 {
		t.Errorf("after the reset %+v, %v", res, err)
	}
}

// A detached copy keeps the client of its request, also when the framework reuses the context,
// and writes no answer.
func TestDetachFromAFrameworkThatUsesItsContextAgain(t *testing.T) {
	t.Parallel()
	source := &pooled{"alice"}
	rec := httptest.NewRecorder()
	d := (&Request{Source: source, Writer: rec}).Detach()
	source.user = "mallory"
	for _, id := range []*Identifier{ByParam("user"), ByValue("user")} {
		if got, err := id.Identity(d); err != nil || !strings.HasSuffix(got, ":alice") {
			t.Errorf("it counts for %q, %v; want alice", got, err)
		}
	}
	m, _ := newTestMemory(t)
	if _, err := newTestThrottle(t, "5/h", WithBackend(m), WithIdentifier(ByParam("user"))).Admit(t.Context(), d); err != nil || d.Writer != nil {
		t.Errorf("error %v, a writer %v of a response that may be over", err, d.Writer)
	}
}

// A detached copy is used after its request: an identifier that fails then is a failure for
// the error policy and no cancellation.
func TestDetachOutlivesItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), pooled{}, "value"))
	d := (&Request{Context: ctx}).Detach()
	if again := d.Detach(); again.Context != d.Context || d.Context.Value(pooled{}) != "value" {
		t.Errorf("context %v, then %v; want one with the values of the request's", d.Context, again.Context)
	}
	cancel()
	id := Identify("user", func(r *Request) (string, error) {
		if err := r.Context.Err(); err != nil {
			return "", err
		}
		return "", errors.New("down")
	})
	m, _ := newTestMemory(t)
	res, err := newTestThrottle(t, "5/h", WithBackend(m), WithIdentifier(id), WithErrorPolicy(FailClosed)).For(d).Hit(t.Context())
	if err != nil || res.Outcome != FailedClosed {
		t.Errorf("%v, %v; want FailedClosed", res.Outcome, err)
	}
}

func TestConcurrentHitsAdmitExactlyTheLimit(t *testing.T) {
	t.Parallel()
	for _, s := range []Strategy{FixedWindow{}, TokenBucket{}, TokenBucket{Burst: 150}, GCRA{Burst: 100}} {
		t.Run(s.ID(), func(t *testing.T) {
			t.Parallel()
			m, _ := newTestMemory(t)
			throttle := newTestThrottle(t, "100/min", WithBackend(m), WithStrategy(s))
			want := int64(100)
			if s == (TokenBucket{Burst: 150}) {
				want = 150
			}
			var admitted atomic.Int64
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 10 {
						if res, err := throttle.Key("k").Hit(t.Context()); err == nil && res.Allowed {
							admitted.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if got := admitted.Load(); got != want {
				t.Errorf("64 goroutines were admitted %d times, want exactly %d", got, want)
			}
		})
	}
}

// uncomparable is a backend whose values can't be compared.
type uncomparable struct {
	Backend
	_ []int
}

// holder is a backend of a comparable type whose value is not.
type holder struct {
	Backend
	held any
}

func TestConfigurationErrors(t *testing.T) {
	t.Parallel()
	var nilMemory *Memory
	for name, c := range map[string]struct {
		make func() (*Throttle, error)
		says string
	}{
		"empty uid":      {func() (*Throttle, error) { return New("", "5/s") }, "uid is empty"},
		"blank uid":      {func() (*Throttle, error) { return New(" ", "5/s") }, "uid is empty"},
		"zero Memory":    {func() (*Throttle, error) { return New("a", "5/s", WithBackend(&Memory{})) }, "NewMemory"},
		"zero identity":  {func() (*Throttle, error) { return New("a", "5/s", WithIdentifier(&Identifier{})) }, "ClientIP"},
		"nested slice":   {func() (*Throttle, error) { return New("a", "5/s", WithBackend(holder{held: []int{1}})) }, "pointer"},
		"bad rate":       {func() (*Throttle, error) { return New("a", "5s") }, `"5s"`},
		"zero rate":      {func() (*Throttle, error) { return New("a", Rate{}) }, "zero Rate"},
		"bad period":     {func() (*Throttle, error) { return New("a", Per(5, 1500*time.Nanosecond)) }, "1.5µs"},
		"nil rate func":  {func() (*Throttle, error) { return New("a", RateFunc(nil)) }, "rate function is nil"},
		"negative burst": {func() (*Throttle, error) { return New("a", "5/s", WithStrategy(TokenBucket{Burst: -1})) }, "-1"},
		"huge burst":     {func() (*Throttle, error) { return New("a", "5/s", WithStrategy(GCRA{Burst: MaxUnits + 1})) }, "GCRA.Burst"},
		"nil backend":    {func() (*Throttle, error) { return New("a", "5/s", WithBackend(nil)) }, "WithBackend(nil)"},
		"nil *Memory":    {func() (*Throttle, error) { return New("a", "5/s", WithBackend(nilMemory)) }, "WithBackend(nil)"},
		"uncomparable":   {func() (*Throttle, error) { return New("a", "5/s", WithBackend(uncomparable{})) }, "pointer"},
		"nil strategy":   {func() (*Throttle, error) { return New("a", "5/s", WithStrategy(nil)) }, "WithStrategy(nil)"},
		"nil identifier": {func() (*Throttle, error) { return New("a", "5/s", WithIdentifier(nil)) }, "WithIdentifier(nil)"},
		"bad identifier": {func() (*Throttle, error) { return New("a", "5/s", WithIdentifier(Identify("", nil))) }, "scheme"},
		"bad prefix": {func() (*Throttle, error) {
			return New("a", "5/s", WithIdentifier(ClientIP(WithTrustedProxies("10.0.0.0/99"))))
		}, "10.0.0.0/99"},
		"bad convention": {func() (*Throttle, error) {
			return New("a", "5/s", WithIdentifier(ClientIP(WithTrustedHops(1), WithProxyHeader("X-Client"))))
		}, "X-Client"},
		"untrusted": {func() (*Throttle, error) {
			return New("a", "5/s", WithIdentifier(ClientIP(WithProxyHeader(XForwardedFor))))
		}, "TrustedProxies"},
		"negative cost":   {func() (*Throttle, error) { return New("a", "5/s", WithCost(-1)) }, "WithCost(-1)"},
		"nil option":      {func() (*Throttle, error) { return New("a", "5/s", WithCost(1), nil) }, "option 2 of 2 is nil"},
		"nil cost func":   {func() (*Throttle, error) { return New("a", "5/s", WithCostFunc(nil)) }, "WithCostFunc(nil)"},
		"nil class":       {func() (*Throttle, error) { return New("a", "5/s", WithClass(nil)) }, "WithClass(nil)"},
		"unknown policy":  {func() (*Throttle, error) { return New("a", "5/s", WithErrorPolicy(9)) }, "WithErrorPolicy(9)"},
		"nil error func":  {func() (*Throttle, error) { return New("a", "5/s", WithErrorFunc(nil)) }, "WithErrorFunc(nil)"},
		"nil denied func": {func() (*Throttle, error) { return New("a", "5/s", WithDeniedHandler(nil)) }, "WithDeniedHandler(nil)"},
		"too large a state": {func() (*Throttle, error) {
			return New("a", "5/s", WithBackend(&smallStates{}), WithStrategy(TokenBucket{}))
		}, "10"},
		"too large a state at any rate": {func() (*Throttle, error) {
			perRequest := func(*Request) (Rate, error) { return Per(5, time.Second), nil }
			return New("a", perRequest, WithBackend(&smallStates{}), WithStrategy(SlidingWindowLog{}))
		}, "at any rate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			throttle, err := c.make()
			if throttle != nil || err == nil || !errors.Is(err, ErrConfig) && !errors.Is(err, ErrRate) {
				t.Fatalf("New returned %v, %v; want an error wrapping ErrConfig or ErrRate", throttle, err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("the error %q does not say %q", err, c.says)
			}
		})
	}
	if _, err := New("", "x", WithCost(-1)); err == nil || strings.Count(err.Error(), "\n") < 2 {
		t.Errorf("three mistakes at once are reported as %q, want all three", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustNew of a bad rate did not panic")
		}
	}()
	MustNew("a", "never")
}

// smallStates is a backend with little room.
type smallStates struct{ *Memory }

func (*smallStates) MaxStateBytes() int { return 10 }

func TestSharedBackend(t *testing.T) {
	t.Parallel()
	rate := Per(2, 100*365*24*time.Hour) // no window ends while the test runs
	a, b, other := MustNew("TestSharedBackend", rate), MustNew("TestSharedBackend", rate), MustNew("TestSharedBackend 2", rate)
	t.Cleanup(func() { // the backend lives on, for -count
		for _, throttle := range []*Throttle{a, other} {
			if err := throttle.Key("k").Reset(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}
	})
	hit(t, a, "k")
	if res := hit(t, b, "k"); res.Remaining != 0 {
		t.Errorf("%d remaining, want 0: one uid on one backend is one counter", res.Remaining)
	}
	if res := hit(t, other, "k"); res.Remaining != 1 {
		t.Errorf("%d remaining, want 1: another uid is another counter", res.Remaining)
	}
}

// Outcomes have names, future ones included.
func TestOutcomeString(t *testing.T) {
	t.Parallel()
	if got := FailedOpen.String(); got != "failed open" {
		t.Errorf("FailedOpen is %q", got)
	}
	if got := Outcome(200).String(); got != "unknown outcome" {
		t.Errorf("Outcome(200) is %q", got)
	}
}

// Every optional power that core knows is one the in-process backend or a
// decorator of it can have; this keeps the list in one place.
func TestMemoryPowers(t *testing.T) {
	t.Parallel()
	var m any = new(Memory)
	for _, power := range []reflect.Type{reflect.TypeFor[StateReader](), reflect.TypeFor[NamespaceResetter](), reflect.TypeFor[io.Closer]()} {
		if !reflect.TypeOf(m).Implements(power) {
			t.Errorf("*Memory is no %v", power)
		}
	}
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	header := http.Header{"Origin": {"https://a.example"}, "Access-Control-Request-Method": {"GET"}}
	if !(&Request{Method: "OPTIONS", Header: header}).IsPreflight() {
		t.Error("a preflight is not seen as one")
	}
	for _, r := range []*Request{{Method: "GET", Header: header}, {Method: "OPTIONS"}, {Method: "OPTIONS", Header: http.Header{"Origin": {"x"}}}, {Method: "OPTIONS", Header: header, HasBody: true}} {
		if r.IsPreflight() {
			t.Errorf("%+v is seen as a preflight", r)
		}
	}
}

// Every error of New wraps ErrConfig.
func TestEveryErrorOfNewIsErrConfig(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"text of a rate":               second(New("u", "5 apples")),
		"zero rate":                    second(New("u", Rate{})),
		"strategy":                     second(New("u", "5/s", WithStrategy(invalid{}))),
		"zero identifier in another":   second(New("u", "5/s", WithIdentifier(FirstOf(new(Identifier), ClientIP())))),
		"zero identifier among others": second(New("u", "5/s", WithIdentifier(Combine(ClientIP(), new(Identifier))))),
	} {
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want one that wraps ErrConfig", name, err)
		}
	}
}

func second(_ *Throttle, err error) error { return err }

// invalid is a custom strategy whose Validate fails.
type invalid struct{ FixedWindow }

func (invalid) Validate() error { return errors.New("invalid: it is") }
