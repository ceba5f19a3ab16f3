package traffik_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
)

// misuse calls f, which is a programmer's mistake: it must return an error that wraps
// ErrUsage, or panic with a text of the module, and say what to do.
func misuse(t *testing.T, name string, f func() error) {
	t.Helper()
	said := func() (said string) {
		defer func() {
			if p := recover(); p != nil {
				said, _ = p.(string)
				if !strings.HasPrefix(said, "traffik") {
					t.Errorf("%s: panic %v, want one that says what to do", name, p)
				}
			}
		}()
		err := f()
		if !errors.Is(err, traffik.ErrUsage) {
			t.Errorf("%s: error %v, want one that wraps ErrUsage, or a panic", name, err)
			return ""
		}
		return err.Error()
	}()
	if !strings.Contains(said, "make") && !strings.Contains(said, "give") && !strings.Contains(said, "check the error") && said != "" {
		t.Errorf("%s: %q does not say what to do", name, said)
	}
}

// Nil receivers and zero values have one behaviour: an error wrapping ErrUsage where
// there is an error to return, a panic that says what to do where there is none.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	real := traffik.MustNew("real", "5/d")
	res, err := real.Key("k").Hit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	throttles := map[string]*traffik.Throttle{"nil": nil, "zero": new(traffik.Throttle)}
	for name, throttle := range throttles {
		for way, draw := range map[string]func() error{
			"Hit":        func() error { _, err := throttle.Key("k").Hit(ctx); return err },
			"Hit for":    func() error { _, err := throttle.For(nil).Hit(ctx); return err },
			"HitN":       func() error { _, err := throttle.Key("k").HitN(ctx, 2); return err },
			"Check":      func() error { _, err := throttle.Key("k").Check(ctx, 2); return err },
			"Stat":       func() error { _, err := throttle.Key("k").Stat(ctx); return err },
			"Describe":   func() error { _, err := throttle.Key("k").Describe(ctx); return err },
			"Reset":      func() error { return throttle.Key("k").Reset(ctx) },
			"Admit":      func() error { _, err := throttle.Admit(ctx, new(traffik.Request)); return err },
			"Admit none": func() error { _, err := throttle.Admit(ctx, nil); return err },
			"Refund":     func() error { return throttle.Refund(ctx, res, 1) },
			"UID":        func() error { _ = throttle.UID(); return nil },
			"All":        func() error { traffik.All(throttle); return nil },
		} {
			misuse(t, name+" Throttle: "+way, draw)
		}
	}
	for name, gate := range map[string]*traffik.Gate{"nil": nil, "zero": new(traffik.Gate)} {
		for way, draw := range map[string]func() error{
			"Hit":     func() error { _, err := gate.Key("k").Hit(ctx); return err },
			"Hit for": func() error { _, err := gate.For(nil).Hit(ctx); return err },
			"HitN":    func() error { _, err := gate.Key("k").HitN(ctx, 2); return err },
			"Check":   func() error { _, err := gate.Key("k").Check(ctx, 2); return err },
			"Stat":    func() error { _, err := gate.Key("k").Stat(ctx); return err },
			"Reset":   func() error { return gate.Key("k").Reset(ctx) },
			"Admit":   func() error { _, err := gate.Admit(ctx, new(traffik.Request)); return err },
			"All":     func() error { traffik.All(gate); return nil },
		} {
			misuse(t, name+" Gate: "+way, draw)
		}
	}
	var subject traffik.Subject
	var joined traffik.GateSubject
	var identifier *traffik.Identifier
	for name, f := range map[string]func() error{
		"zero Subject: Hit":       func() error { _, err := subject.Hit(ctx); return err },
		"zero Subject: HitN":      func() error { _, err := subject.HitN(ctx, 1); return err },
		"zero Subject: Check":     func() error { _, err := subject.Check(ctx, 1); return err },
		"zero Subject: Stat":      func() error { _, err := subject.Stat(ctx); return err },
		"zero Subject: Reset":     func() error { return subject.Reset(ctx) },
		"zero Subject: Describe":  func() error { _, err := subject.Describe(ctx); return err },
		"zero GateSubject: Hit":   func() error { _, err := joined.Hit(ctx); return err },
		"zero GateSubject: HitN":  func() error { _, err := joined.HitN(ctx, 1); return err },
		"zero GateSubject: Check": func() error { _, err := joined.Check(ctx, 1); return err },
		"zero GateSubject: Stat":  func() error { _, err := joined.Stat(ctx); return err },
		"zero GateSubject: Reset": func() error { return joined.Reset(ctx) },
		"nil Identifier":          func() error { _, err := identifier.Identity(new(traffik.Request)); return err },
		"zero Identifier":         func() error { _, err := new(traffik.Identifier).Identity(new(traffik.Request)); return err },
		"zero Result: Refund":     func() error { return real.Refund(ctx, traffik.Result{}, 1) },
		"All of nothing":          func() error { traffik.All(); return nil },
		"All of nil":              func() error { traffik.All(nil); return nil },
	} {
		misuse(t, name, f)
	}
}

// A nil context is an error wrapping ErrUsage, whatever is called and whatever would be
// decided.
func TestNilContext(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string][]traffik.Option{
		"memory":      nil,
		"remote":      {traffik.WithBackend(foreign{memory})},
		"report only": {traffik.WithReportOnly(), traffik.WithErrorPolicy(traffik.FailOpen)},
		"no cost":     {traffik.WithCost(0)},
	} {
		throttle := named(t, name, memory, opts...)
		res, err := throttle.Key("k").Hit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v, err := traffik.All(throttle).Key("k").Hit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for way, draw := range draws(throttle) {
			misuse(t, name+": "+way, func() error { _, _, err := draw(nil); return err })
		}
		var none context.Context
		for way, f := range map[string]func() error{
			"Reset":        func() error { return throttle.Key("k").Reset(none) },
			"Describe":     func() error { _, err := throttle.Key("k").Describe(none); return err },
			"Refund":       func() error { return throttle.Refund(none, res, 1) },
			"Verdict's":    func() error { return v.Refund(none) },
			"within":       func() error { return v.RefundWithin(none, 1) },
			"gate's Reset": func() error { return traffik.All(throttle).Key("k").Reset(none) },
		} {
			misuse(t, name+": "+way, f)
		}
	}
	ops, out := []traffik.Op{}, []traffik.Decision{}
	for name, f := range map[string]func(context.Context) error{
		"Take":           func(ctx context.Context) error { return memory.Take(ctx, ops, out) },
		"Peek":           func(ctx context.Context) error { return memory.Peek(ctx, ops, out) },
		"Reset":          func(ctx context.Context) error { return memory.Reset(ctx) },
		"ResetNamespace": memory.ResetNamespace,
		"ReadStates":     func(ctx context.Context) error { _, _, err := memory.ReadStates(ctx, nil, nil); return err },
	} {
		misuse(t, "Memory: "+name, func() error { return f(nil) })
	}
}

// foreign is a store that is not known to be in process.
type foreign struct{ *traffik.Memory }

// Zero values that mean something, and a nil Request, which is an empty one.
func TestZeroValuesThatMeanSomething(t *testing.T) {
	t.Parallel()
	var v traffik.Verdict
	if !v.Allowed() || v.Failed() || v.Status() != 200 || v.Err() != nil || v.Delay() != 0 || v.RetryAfter() != 0 || v.Tightest().Counted() || v.Results() != nil {
		t.Errorf("the zero Verdict: %+v", v)
	}
	if err := v.Refund(t.Context()); err != nil {
		t.Errorf("Refund of the zero Verdict: %v", err)
	}
	var res traffik.Result
	if res.Allowed || res.Counted() || res.UID() != "" || res.Identity() != "" || !res.Rate().IsZero() || res.Outcome.String() != "undecided" {
		t.Errorf("the zero Result: %+v", res)
	}
	var r *traffik.Request
	r.Continue(new(traffik.Request))
	r.PerUse()
	r.WriteHeaders()
	r.WriteDenied(v)
	r.WriteUnavailable()
	if r.Pattern() != "" || !r.Verdict().Allowed() || r.IsPreflight() || r.Detach() == nil {
		t.Error("something is known of a nil Request")
	}
	if id, err := traffik.ClientIP().Identity(nil); err != nil || id != "ip:" {
		t.Errorf("the address of a nil Request: %q, %v", id, err)
	}
}

// The identity of a result is the text by which Key finds the same counter.
func TestResultIdentity(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("é", 100)
	for name, c := range map[string]struct {
		id *traffik.Identifier
		r  *traffik.Request
		by string // what IdentityOf makes, "" if it has no part in it
	}{
		"address":  {traffik.ClientIP(), &traffik.Request{RemoteAddr: "192.0.2.1:80"}, ""},
		"header":   {traffik.ByHeader("X-API-Key"), &traffik.Request{Header: map[string][]string{"X-Api-Key": {"secret"}}}, ""},
		"function": {traffik.Identify("user", func(*traffik.Request) (string, error) { return "alice:1+1", nil }), new(traffik.Request), traffik.IdentityOf("user", "alice:1+1")},
		"long":     {traffik.Identify("user", func(*traffik.Request) (string, error) { return long, nil }), new(traffik.Request), traffik.IdentityOf("user", long)},
		"nobody":   {traffik.ByHeader("X-API-Key"), new(traffik.Request), ""},
	} {
		throttle := named(t, "identity/"+name, memory, traffik.WithIdentifier(c.id))
		res, err := throttle.For(c.r).Hit(t.Context())
		if err != nil || res.Identity() == "" || c.by != "" && res.Identity() != c.by {
			t.Fatalf("%s: %q, %v; want %q", name, res.Identity(), err, c.by)
		}
		key := throttle.Key(res.Identity())
		if stat, err := key.Stat(t.Context()); err != nil || stat.Remaining != 9 || stat.Identity() != res.Identity() {
			t.Errorf("%s: %+v, %v; want the counter of the request", name, stat, err)
		}
		if err := key.Reset(t.Context()); err != nil {
			t.Error(err)
		}
		if stat, err := throttle.For(c.r).Stat(t.Context()); err != nil || stat.Remaining != 10 {
			t.Errorf("%s: %+v, %v after Reset; want it forgotten", name, stat, err)
		}
	}
	exempt := named(t, "identity/exempt", memory, traffik.WithIdentifier(traffik.Identify("user", func(*traffik.Request) (string, error) { return "", traffik.Exempted })))
	failed := named(t, "identity/failed", memory, traffik.WithCostFunc(func(*traffik.Request) (int64, error) { return -1, nil }))
	for _, throttle := range []*traffik.Throttle{exempt, failed} {
		if res, err := throttle.For(&traffik.Request{RemoteAddr: "192.0.2.1:80"}).Hit(t.Context()); err != nil || res.Identity() != "" {
			t.Errorf("%v: identity %q, %v; want none", res.Outcome, res.Identity(), err)
		}
	}
}
