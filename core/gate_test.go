package traffik

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func newNamed(t testing.TB, uid, rate string, opts ...Option) *Throttle {
	t.Helper()
	throttle, err := New(t.Name()+"/"+uid, rate, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return throttle
}

func TestGateAllOrNothing(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		burst := newNamed(t, "burst", "2/s", WithBackend(backend))
		daily := newNamed(t, "daily", "20/d", WithBackend(backend))
		gate := All(burst, daily)
		for range 2 {
			if v, err := gate.Key("k").Hit(t.Context()); err != nil || !v.Allowed() {
				t.Fatalf("%+v, %v", v, err)
			}
		}
		v, err := gate.Key("k").Hit(t.Context())
		if err != nil || v.Allowed() || v.Failed() {
			t.Fatalf("%+v, %v; want denied", v, err)
		}
		if got := v.Results()[1]; got.Outcome != Uncharged || got.Remaining != 18 {
			t.Errorf("the daily limit beside a denial: %+v, want Uncharged with 18 remaining", got)
		}
		if shown := v.Tightest(); shown.UID() != burst.UID() || v.RetryAfter() != shown.RetryAfter {
			t.Errorf("shown is %q, want the burst limit, which denies", shown.UID())
		}
		if stat, _ := daily.Key("k").Stat(t.Context()); stat.Remaining != 18 {
			t.Errorf("%d of the day remaining, want 18: a denial by the burst limit charges nothing", stat.Remaining)
		}
	})
}

func TestGateIsOneTakePerBackend(t *testing.T) {
	t.Parallel()
	one, two := newFakeBackend(t), newFakeBackend(t)
	a := newNamed(t, "a", "5/h", WithBackend(one))
	b := newNamed(t, "b", "5/h", WithBackend(two))
	c := newNamed(t, "c", "5/h", WithBackend(one))
	gate := All(a, b, c)
	if v, err := gate.Key("k").Hit(t.Context()); err != nil || !v.Allowed() {
		t.Fatalf("%+v, %v", v, err)
	}
	if one.takes.Load() != 1 || two.takes.Load() != 1 {
		t.Errorf("%d and %d Takes, want one for each backend", one.takes.Load(), two.takes.Load())
	}
	if v, err := gate.Key("k").Stat(t.Context()); err != nil || v.Tightest().Remaining != 4 {
		t.Errorf("Stat: %+v, %v; want 4 remaining", v, err)
	}
	if one.peeks.Load() != 1 || two.peeks.Load() != 1 {
		t.Errorf("%d and %d Peeks, want one for each backend", one.peeks.Load(), two.peeks.Load())
	}
}

// A denial by a later backend gives the charges of the earlier ones back, and
// the results tell how those stand then.
func TestGateAcrossBackends(t *testing.T) {
	t.Parallel()
	one, two := newFakeBackend(t), newFakeBackend(t)
	early := newNamed(t, "early", "10/h", WithBackend(one), WithCost(3))
	late := newNamed(t, "late", "1/h", WithBackend(two))
	last := newNamed(t, "last", "10/h", WithBackend(newFakeBackend(t)))
	gate := All(early, late, last)
	if v, _ := gate.Key("k").Hit(t.Context()); !v.Allowed() {
		t.Fatalf("%+v", v)
	}
	v, err := gate.Key("k").Hit(t.Context())
	if err != nil || v.Allowed() {
		t.Fatalf("%+v, %v; want denied", v, err)
	}
	if got := v.Results()[0]; got.Outcome != Uncharged || got.Remaining != 7 {
		t.Errorf("the earlier backend: %+v, want Uncharged with 7 remaining", got)
	}
	if got := v.Results()[2].Outcome; got != Undecided {
		t.Errorf("the backend after the denier: %v, want Undecided", got)
	}
	if stat, _ := early.Key("k").Stat(t.Context()); stat.Remaining != 7 {
		t.Errorf("%d remaining on the earlier backend, want 7", stat.Remaining)
	}
	if stat, _ := last.Key("k").Stat(t.Context()); stat.Remaining != 9 {
		t.Errorf("%d remaining on the last backend, want 9", stat.Remaining)
	}
	for _, res := range v.Results() {
		if err := res.settings.owner.Refund(t.Context(), res, 0); err != nil {
			t.Errorf("Refund(0): %v", err)
		}
	}
}

func TestGateErrorPolicies(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	for _, c := range []struct {
		name     string
		policies [2]ErrorPolicy
		want     Outcome // Undecided stands for a returned error
	}{
		{"allow", [2]ErrorPolicy{FailOpen, FailOpen}, FailedOpen},
		{"deny before allow", [2]ErrorPolicy{FailOpen, FailClosed}, FailedClosed},
		{"propagate before deny", [2]ErrorPolicy{Propagate, FailClosed}, Undecided},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			broken, sound := newFakeBackend(t), newFakeBackend(t)
			first := newNamed(t, "first", "5/h", WithBackend(sound))
			a := newNamed(t, "a", "5/h", WithBackend(broken), WithErrorPolicy(c.policies[0]))
			b := newNamed(t, "b", "5/h", WithBackend(broken), WithErrorPolicy(c.policies[1]))
			broken.err = down
			v, err := All(first, a, b).Key("k").Hit(t.Context())
			stat, _ := first.Key("k").Stat(t.Context())
			if c.want == Undecided {
				if !errors.Is(err, down) {
					t.Errorf("%+v, error %v; want the store's", v, err)
				}
			} else if err != nil || v.Results()[1].Outcome != c.want || v.Results()[2].Outcome != c.want {
				t.Errorf("%+v, %v; want %v", v, err, c.want)
			}
			want := int64(5)
			if c.want == FailedOpen {
				want = 4
			}
			if stat.Remaining != want {
				t.Errorf("%d remaining on the sound backend, want %d", stat.Remaining, want)
			}
			if c.want == FailedClosed && (!v.Failed() || v.Status() != 503 || !errors.Is(v.Err(), down)) {
				t.Errorf("Failed %v, status %d, error %v; want 503 because the store is down", v.Failed(), v.Status(), v.Err())
			}
		})
	}
}

// When the identity can't be found out, nothing is charged anywhere.
func TestGateWithAFailingIdentity(t *testing.T) {
	t.Parallel()
	backend := newFakeBackend(t)
	sound := newNamed(t, "sound", "5/h", WithBackend(backend), WithIdentifier(Shared()))
	failing := newNamed(t, "failing", "5/h", WithBackend(backend), WithIdentifier(Identify("user", func(*Request) (string, error) {
		return "", errors.New("bad token")
	})))
	v, err := All(sound, failing).For(&Request{}).Hit(t.Context())
	if err != nil || v.Allowed() || !v.Failed() {
		t.Errorf("%+v, %v; want FailedClosed", v, err)
	}
	if backend.takes.Load() != 0 {
		t.Error("the backend was charged though one throttle could not be judged")
	}
}

func TestGateReportOnly(t *testing.T) {
	t.Parallel()
	onEvery(t, func(t *testing.T, backend Backend) {
		report := newNamed(t, "report", "1/h", WithBackend(backend), WithReportOnly())
		firm := newNamed(t, "firm", "3/h", WithBackend(backend))
		gate := All(report, firm)
		for i := range 3 {
			if v, err := gate.Key("k").Hit(t.Context()); err != nil || !v.Allowed() {
				t.Errorf("hit %d: %+v, %v; a throttle that only reports stopped it", i, v, err)
			}
		}
		if v, _ := gate.Key("k").Hit(t.Context()); v.Allowed() {
			t.Error("the firm limit did not deny")
		}
	})
}

// An inner use charges what the outer one did not, and repeats its results.
func TestNestedUses(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	engine := newNamed(t, "engine", "5/h", WithBackend(m), WithIdentifier(Shared()))
	route := newNamed(t, "route", "3/h", WithBackend(m), WithIdentifier(Shared()))
	outer := &Request{}
	if _, err := engine.Admit(t.Context(), outer); err != nil {
		t.Fatal(err)
	}
	inner := &Request{}
	inner.Continue(outer)
	v, err := All(engine, route).Admit(t.Context(), inner)
	if err != nil || len(v.Results()) != 2 || v.Results()[0].Remaining != 4 || v.Results()[1].Remaining != 2 {
		t.Errorf("%+v, %v; want engine at 4 and route at 2", v, err)
	}
	again, err := All(engine, route).Admit(t.Context(), inner)
	if err != nil || len(again.Results()) != 2 || again.Results()[1].Remaining != 2 {
		t.Errorf("a third use: %+v, %v; want the same results", again, err)
	}
	if got := inner.Verdict().Results(); len(got) != 2 {
		t.Errorf("%d results remembered, want 2", len(got))
	}
	for _, res := range v.Results() { // the engine's charge is the outer use's to refund
		if err := res.settings.owner.Refund(t.Context(), res, res.cost); err != nil {
			t.Errorf("Refund: %v", err)
		}
	}
	if stat, _ := engine.For(&Request{}).Stat(t.Context()); stat.Remaining != 4 {
		t.Errorf("%d remaining on the engine's limit, want one charge", stat.Remaining)
	}
}

func TestAll(t *testing.T) {
	t.Parallel()
	a, b := newNamed(t, "a", "5/h"), newNamed(t, "b", "5/h")
	if got := len(All(a, All(b, a)).throttles); got != 2 {
		t.Errorf("%d throttles in All(a, All(b, a)), want 2", got)
	}
	var none *Throttle
	for name, limiters := range map[string][]Limiter{
		"none": {}, "nil": {a, nil}, "nil pointer": {none}, "one uid twice": {a, All(b), newNamed(t, "a", "6/h")},
	} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "traffik: All()") {
					t.Errorf("All of %s: panic %q", name, text)
				}
			}()
			All(limiters...)
		}()
	}
}

// Throttles of one uid with counters of their own do go together.
func TestAllOfOneNameApart(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	v, err := All(newNamed(t, "a", "5/h"), newNamed(t, "a", "5/h", WithBackend(m)),
		newNamed(t, "a", "5/h", WithStrategy(TokenBucket{}))).Key("k").Hit(t.Context())
	if err != nil || len(v.Results()) != 3 {
		t.Errorf("%+v, %v; want three results", v, err)
	}
}

// An admission that another throttle's denial or an error took back answers for
// nothing: the next use is charged, and takes its place.
func TestUseAfterADenial(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	wide := newNamed(t, "wide", "5/h", WithBackend(m), WithIdentifier(Shared()))
	narrow := newNamed(t, "narrow", "1/h", WithBackend(m), WithIdentifier(Shared()), WithCostFunc(func(*Request) (int64, error) { return 2, nil }))
	r := &Request{}
	denied, err := All(wide, narrow).Admit(t.Context(), r)
	if err != nil || denied.Allowed() {
		t.Fatalf("%+v, %v; want denied", denied, err)
	}
	for range 2 {
		if v, err := wide.Admit(t.Context(), r); err != nil || v.Results()[0].Outcome != Admitted || v.Results()[0].Remaining != 4 {
			t.Errorf("%+v, %v; want one charge", v, err)
		}
	}
	if got := denied.Results()[0].Outcome; got != Uncharged {
		t.Errorf("the first verdict now says %v, want it left alone", got)
	}
	if r.Verdict().Allowed() {
		t.Error("the later charge made the verdict of the request allow")
	}
	if got := r.Verdict().Results(); len(got) != 2 || got[0].Outcome != Denied || got[1].Outcome != Admitted {
		t.Errorf("remembered: %+v, want the denial and the charge", got)
	}
	if v, err := All(wide, narrow).Admit(t.Context(), r); err != nil || v.Allowed() {
		t.Errorf("%+v, %v; want the denial repeated", v, err)
	}
}

func TestUseAfterAnError(t *testing.T) {
	t.Parallel()
	sound, broken := newFakeBackend(t), newFakeBackend(t)
	broken.err = errors.New("down")
	first := newNamed(t, "first", "5/h", WithBackend(sound), WithIdentifier(Shared()))
	second := newNamed(t, "second", "5/h", WithBackend(broken), WithIdentifier(Shared()), WithErrorPolicy(Propagate))
	for name, limit := range map[string]Limiter{"gate": All(first, second), "throttle": second} {
		r := &Request{}
		if _, err := limit.Admit(t.Context(), r); !errors.Is(err, broken.err) {
			t.Errorf("%s: %v, want the store's error", name, err)
		}
		if v, err := limit.Admit(t.Context(), r); !errors.Is(err, broken.err) {
			t.Errorf("%s again: %+v, %v; want the store's error", name, v, err)
		}
		if got := r.Verdict().Results(); len(got) != 0 {
			t.Errorf("%s: remembered %+v, want nothing", name, got)
		}
	}
	r := &Request{}
	_, _ = All(first, second).Admit(t.Context(), r)
	if v, err := first.Admit(t.Context(), r); err != nil || v.Results()[0].Remaining != 4 {
		t.Errorf("%+v, %v; want a charge of its own", v, err)
	}
}

// A use from within a use is charged like any other, and the outer one stays
// what it is.
func TestUseWithinAUse(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	a := newNamed(t, "a", "5/h", WithBackend(m), WithIdentifier(Shared()))
	b := newNamed(t, "b", "5/h", WithBackend(m), WithIdentifier(Shared()))
	outer := newNamed(t, "outer", "9/h", WithBackend(m), WithIdentifier(Shared()), WithCostFunc(func(r *Request) (int64, error) {
		v, err := All(a, b).Admit(context.Background(), r)
		return v.Tightest().Limit - 4, err
	}))
	r := &Request{}
	for range 2 {
		if v, err := outer.Admit(t.Context(), r); err != nil || v.Results()[0].Remaining != 8 {
			t.Errorf("%+v, %v; want one charge", v, err)
		}
	}
	if got := r.Verdict().Results(); len(got) != 1 || got[0].Outcome != Admitted {
		t.Errorf("remembered: %+v, want the outer use", got)
	}
	if stat, _ := a.For(&Request{}).Stat(t.Context()); stat.Remaining != 4 {
		t.Errorf("%d remaining for the inner use, want one charge", stat.Remaining)
	}
}

// panicking is a store whose code has a defect.
type panicking struct{ Backend }

func (panicking) Take(context.Context, []Op, []Decision) error { panic("defect") }

func TestGateGivesBackOnAPanic(t *testing.T) {
	t.Parallel()
	sound := newFakeBackend(t)
	first := newNamed(t, "first", "5/h", WithBackend(sound))
	second := newNamed(t, "second", "5/h", WithBackend(panicking{sound}))
	func() {
		defer func() {
			if recover() != "defect" {
				t.Error("the panic did not come through")
			}
		}()
		_, _ = All(first, second).Key("k").Hit(t.Context())
	}()
	if stat, _ := first.Key("k").Stat(t.Context()); stat.Remaining != 5 {
		t.Errorf("%d remaining, want the charge refunded", stat.Remaining)
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	counted := func(outcome Outcome, remaining int64, retry time.Duration) Result {
		return Result{Decision: Decision{Allowed: outcome != Denied, Remaining: remaining, RetryAfter: retry}, Outcome: outcome}
	}
	var zero Verdict
	if !zero.Allowed() || zero.Failed() || zero.Status() != 200 || zero.Tightest().Counted() || zero.Err() != nil {
		t.Errorf("the zero Verdict does not simply allow: %+v", zero)
	}
	v := verdictOf(counted(Denied, 0, 5*time.Second), counted(Uncharged, 0, 0), counted(Denied, 3, time.Minute))
	if v.Tightest().RetryAfter != time.Minute || v.RetryAfter() != time.Minute || v.Status() != 429 {
		t.Errorf("shown %+v, want the denier with the longest wait", v.Tightest())
	}
	v = verdictOf(counted(Admitted, 7, 0), Result{Outcome: Exempt, Decision: Decision{Allowed: true}}, counted(Admitted, 2, 0))
	if v.Tightest().Remaining != 2 || v.Status() != 200 {
		t.Errorf("shown %+v, want the least remaining", v.Tightest())
	}
	failed := Result{Outcome: FailedClosed}
	if v := verdictOf(failed, counted(Denied, 0, time.Second)); v.Failed() || v.Status() != 429 {
		t.Errorf("a denial beside a failure has status %d, want 429", v.Status())
	}
}

// After a panic of a function of the application a request is judged as before.
func TestUseAfterAPanic(t *testing.T) {
	t.Parallel()
	m, _ := newTestMemory(t)
	fails := true
	cost := WithCostFunc(func(*Request) (int64, error) {
		if fails {
			panic("defect")
		}
		return 1, nil
	})
	throttle := newNamed(t, "one", "10/h", WithBackend(m), cost)
	gate := All(newNamed(t, "two", "10/h", WithBackend(m)), newNamed(t, "three", "10/h", WithBackend(m), cost))
	r := &Request{RemoteAddr: "192.0.2.1:1"}
	for _, limiter := range []Limiter{throttle, gate} {
		fails = true
		func() {
			defer func() { _ = recover() }()
			_, _ = limiter.Admit(t.Context(), r)
			t.Error("the panic did not come through")
		}()
		fails = false
		for range 3 { // the second and third repeat the first
			if v, err := limiter.Admit(t.Context(), r); err != nil || v.Tightest().Remaining != 9 {
				t.Errorf("%+v, %v; want one charge", v.Results(), err)
			}
		}
	}
}

// A Gate that All did not make limits nothing, and says so.
func TestZeroGate(t *testing.T) {
	t.Parallel()
	zero := new(Gate)
	if _, err := zero.Admit(t.Context(), new(Request)); !errors.Is(err, ErrUsage) {
		t.Errorf("Admit: %v, want ErrUsage", err)
	}
	if _, err := zero.Key("k").Hit(t.Context()); !errors.Is(err, ErrUsage) {
		t.Errorf("Hit: %v, want ErrUsage", err)
	}
	for _, limiter := range []Limiter{zero, new(Throttle)} {
		func() {
			defer func() {
				if text, _ := recover().(string); !strings.Contains(text, "make") {
					t.Errorf("All(%T) panicked with %q, want the way to make one", limiter, text)
				}
			}()
			All(limiter)
		}()
	}
}
