package traffik

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// records is a handler that keeps each record as a text.
type records struct {
	mu    sync.Mutex
	texts []string
}

func (*records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r *records) WithGroup(string) slog.Handler          { return r }

func (r *records) Handle(_ context.Context, record slog.Record) error {
	text := record.Level.String() + " " + record.Message
	record.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, text)
	return nil
}

// take returns the records since the last call.
func (r *records) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	texts := r.texts
	r.texts = nil
	return texts
}

func keptRecords() (*records, Option) {
	r := new(records)
	return r, WithLogger(slog.New(r))
}

// expectLogged checks that one record was logged, with all of words.
func expectLogged(t *testing.T, name string, got []string, words ...string) {
	t.Helper()
	if len(got) != 1 {
		t.Errorf("%s: %d records, want one:\n%s", name, len(got), strings.Join(got, "\n"))
		return
	}
	for _, word := range append(words, "WARN ", "throttle=") {
		if !strings.Contains(got[0], word) {
			t.Errorf("%s: no %q in %q", name, word, got[0])
		}
	}
	if strings.Contains(got[0], "alice") || strings.Contains(got[0], "secret") {
		t.Errorf("%s: an identity or a header in %q", name, got[0])
	}
}

// A decision of an error policy is logged once a minute for each throttle and each kind, by
// every way to ask.
func TestDecisionsOfErrorPoliciesAreLogged(t *testing.T) {
	t.Parallel()
	unknown := errors.New("no such user: alice")
	byUser := WithIdentifier(Identify("user", func(*Request) (string, error) { return "", unknown }))
	byRate := func(*Request) (Rate, error) { return Rate{}, unknown }
	for name, c := range map[string]struct {
		rate  func(*Request) (Rate, error) // nil: 5/d
		store error
		opts  []Option
		words []string
	}{
		"store, default":     {nil, errors.New("down"), nil, []string{"pass without a limit", "down", "FailClosed"}},
		"store, closed":      {nil, errors.New("down"), []Option{WithErrorPolicy(FailClosed)}, []string{"are denied", "down", "FailOpen"}},
		"store, report only": {nil, errors.New("down"), []Option{WithErrorPolicy(FailClosed), WithReportOnly()}, []string{"pass without a limit", "report_only=true"}},
		"closed store":       {nil, ErrClosed, nil, []string{"pass without a limit", "closed"}},
		"identity":           {nil, nil, []Option{byUser}, []string{"are denied", "reading=identity"}},
		"identity, open":     {nil, nil, []Option{byUser, WithErrorPolicy(FailOpen)}, []string{"pass without a limit", "reading=identity"}},
		"rate, report only":  {byRate, nil, []Option{WithReportOnly()}, []string{"pass without a limit", "reading=rate", "report_only=true"}},
		"cost":               {nil, nil, []Option{WithCostFunc(func(*Request) (int64, error) { return 0, unknown })}, []string{"are denied", "reading=cost"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				logged, logger := keptRecords()
				backend := newFakeBackend(t)
				backend.err = c.store
				opts := append(c.opts, WithBackend(backend), logger)
				throttle, err := New(t.Name(), "5/d", opts...)
				if c.rate != nil {
					throttle, err = New(t.Name(), c.rate, opts...)
				}
				if err != nil {
					t.Fatal(err)
				}
				request := func() *Request {
					return &Request{RemoteAddr: "192.0.2.1:80", Header: headerOf("Authorization", "secret")}
				}
				gate := All(throttle)
				for range 3 {
					for way, use := range map[string]func() error{
						"Hit":          func() error { _, err := throttle.For(request()).Hit(t.Context()); return err },
						"HitN":         func() error { _, err := throttle.For(request()).HitN(t.Context(), 1); return err },
						"Check":        func() error { _, err := throttle.For(request()).Check(t.Context(), 1); return err },
						"Admit":        func() error { _, err := throttle.Admit(t.Context(), request()); return err },
						"gate's Admit": func() error { _, err := gate.Admit(t.Context(), request()); return err },
					} {
						if name == "cost" && (way == "HitN" || way == "Check") {
							continue // they name the cost
						}
						for range 3 {
							if err := use(); err != nil {
								t.Fatalf("%s: %v", way, err)
							}
						}
						expectLogged(t, way, logged.take(), c.words...)
						time.Sleep(time.Minute - time.Nanosecond) //nolint:forbidigo // the bubble's clock
						if err := use(); err != nil || len(logged.take()) != 0 {
							t.Errorf("%s: %v, or logged again before a minute was over", way, err)
						}
						time.Sleep(time.Nanosecond) //nolint:forbidigo // the bubble's clock
					}
				}
			})
		})
	}
}

// Contention is logged beside the policy's decision, and where there is none.
func TestContentionIsLogged(t *testing.T) {
	t.Parallel()
	for policy, more := range map[ErrorPolicy]int{FailOpen: 1, FailClosed: 1, Propagate: 0} {
		logged, logger := keptRecords()
		backend := newFakeBackend(t)
		backend.err = fmt.Errorf("%w: memcached: 8 attempts", ErrContention)
		throttle := newTestThrottle(t, "5/d", WithBackend(backend), WithErrorPolicy(policy), logger)
		for range 5 {
			_, _ = throttle.Key("alice").Hit(t.Context())
			_, _ = All(throttle).Key("alice").Hit(t.Context())
		}
		got := logged.take()
		if len(got) != 1+more {
			t.Fatalf("policy %d: %d records, want %d:\n%s", policy, len(got), 1+more, strings.Join(got, "\n"))
		}
		expectLogged(t, "contention", got[:1], "gave up on a key", "8 attempts", "narrower identity")
	}
}

// The identity shared by all requests without one is logged, a composed one too.
func TestAnonymousIdentityIsLogged(t *testing.T) {
	t.Parallel()
	byKey, byUser := ByHeader("X-API-Key"), ByValue("user")
	for name, c := range map[string]struct {
		id       *Identifier
		identity string // that is logged, "" for none
	}{
		"header":                    {byKey, "identity=header.x-api-key"},
		"no address":                {ClientIP(), "identity=ip"},
		"first of":                  {FirstOf(byKey, byUser), "identity=anonymous"},
		"first of, with a fallback": {FirstOf(byKey, Shared()), ""},
		"all together":              {Combine(byKey, byUser), "identity=combine"},
		"nested":                    {FirstOf(Combine(Combine(byKey), byUser), byUser), "identity=anonymous"},
		"one of them":               {Combine(byKey, Shared()), ""},
		"shared":                    {Shared(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				logged, logger := keptRecords()
				memory, _ := newTestMemory(t)
				throttle := newTestThrottle(t, "50/d", WithBackend(memory), WithIdentifier(c.id), logger)
				for range 2 {
					for range 3 {
						v, err := throttle.Admit(t.Context(), new(Request))
						if err != nil || !v.Allowed() {
							t.Fatal(v, err)
						}
					}
					if got := logged.take(); c.identity != "" {
						expectLogged(t, name, got, "share one counter", c.identity, "FirstOf")
					} else if len(got) != 0 {
						t.Errorf("%s was logged", got)
					}
					time.Sleep(time.Minute) //nolint:forbidigo // the bubble's clock
				}
				if _, err := throttle.Key("").Hit(t.Context()); err != nil || len(logged.take()) != 0 {
					t.Errorf("%v, or a plain key was logged", err)
				}
			})
		})
	}
}

// Public peers look like proxies once nearly all requests carry a forwarding header. The
// headers of a few clients don't count.
func TestPublicProxyIsLogged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts []ClientIPOption
		with func(i int) bool
		want bool
	}{
		"all":              {nil, func(int) bool { return true }, true},
		"all but health":   {nil, func(i int) bool { return i%10 != 0 }, true},
		"one in two":       {nil, func(i int) bool { return i%2 == 0 }, false},
		"the first 50":     {nil, func(i int) bool { return i < 50 }, false},
		"later":            {nil, func(i int) bool { return i > 1000 }, true},
		"trusted":          {[]ClientIPOption{WithTrustedProxies("0.0.0.0/0")}, func(int) bool { return true }, false},
		"trusted hop":      {[]ClientIPOption{WithTrustedHops(1)}, func(int) bool { return true }, false},
		"of another proxy": {[]ClientIPOption{WithTrustedProxies("198.51.100.0/24")}, func(int) bool { return true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory, _ := newTestMemory(t)
			id := ClientIP(c.opts...)
			logged, logger := keptRecords()
			silent := newNamed(t, "silent", "1000000/d", WithBackend(memory), WithIdentifier(id), WithLogger(slog.New(slog.DiscardHandler)))
			speaking := newNamed(t, "speaking", "1000000/d", WithBackend(memory), WithIdentifier(id), logger)
			gate := All(silent, speaking)
			for i := range 10_000 {
				r := &Request{RemoteAddr: fmt.Sprintf("203.0.113.%d:80", i%7), Header: http.Header{}}
				if c.with(i) {
					r.Header.Set("X-Forwarded-For", "secret")
				}
				if _, err := gate.Admit(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			got := logged.take()
			if !c.want {
				if len(got) != 0 {
					t.Errorf("%s was logged", got)
				}
				return
			}
			expectLogged(t, name, got, "nearly all requests", "TrustedProxies", "header=X-Forwarded-For")
			if strings.Contains(strings.Join(got, ""), "203.0.113") {
				t.Errorf("an identity in %q", got)
			}
		})
	}
}

// About one in sampleEvery requests is looked at.
func TestSampleOfRequests(t *testing.T) {
	t.Parallel()
	const requests = 16_000
	got := 0
	for range requests {
		if sampled() {
			got++
		}
	}
	if got < requests/sampleEvery/2 || got > requests/sampleEvery*3/2 {
		t.Errorf("%d of %d requests are looked at, want about one in %d", got, requests, sampleEvery)
	}
}

// A throttle with WithLogger logs all of its records there, even if others have logged them
// already, and none elsewhere.
func TestLoggerOfAThrottle(t *testing.T) { //nolint:paralleltest // see captureLog
	out := captureLog(t)
	warnedOf.Clear()
	memory, _ := newTestMemory(t)
	id := ClientIP()
	silent := newNamed(t, "silent", "5/d", WithBackend(memory), WithIdentifier(id), WithLogger(slog.New(slog.DiscardHandler)))
	logged, logger := keptRecords()
	own := newNamed(t, "own", "5/d", WithBackend(memory), WithIdentifier(id), logger)
	proxied := func(limit Limiter) {
		t.Helper()
		r := &Request{RemoteAddr: "10.0.0.1:1", Header: headerOf("X-Forwarded-For", "secret")}
		if _, err := limit.Admit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		proxied(All(silent, own))
	}
	expectLogged(t, "own", logged.take(), "peer=10.0.0.1", "throttle=TestLoggerOfAThrottle/own")
	if out.Len() != 0 {
		t.Errorf("slog.Default got records of throttles with loggers of their own:\n%s", out)
	}
	proxied(newNamed(t, "default", "5/d", WithBackend(memory), WithIdentifier(id)))
	if !strings.Contains(out.String(), "throttle=TestLoggerOfAThrottle/default") {
		t.Errorf("slog.Default got no record after others had logged theirs: %s", out)
	}
	for _, option := range []Option{WithLogger(nil)} {
		if _, err := New("nil", "5/d", option); !errors.Is(err, ErrConfig) {
			t.Errorf("WithLogger(nil): %v, want ErrConfig", err)
		}
	}
}

// Looking for proxies costs a look at the headers of a few requests.
func TestAnonymousRequestsAllocateNothingMore(t *testing.T) {
	memory, _ := newTestMemory(t)
	throttle := newTestThrottle(t, "1000000/d", WithBackend(memory), WithIdentifier(ByHeader("X-API-Key")), WithLogger(slog.New(slog.DiscardHandler)))
	r := &Request{}
	_, _ = throttle.For(r).Hit(t.Context())
	if got := testing.AllocsPerRun(1000, func() {
		*r = Request{}
		_, _ = throttle.For(r).Hit(t.Context())
	}); got > 1 {
		t.Errorf("%v allocations for a request without an identity, want at most its name", got)
	}
}
