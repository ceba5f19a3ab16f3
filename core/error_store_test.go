package traffik_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// hung is a store that never answers, around a Memory.
func hung(t *testing.T) (*traffiktest.Faulty, *traffik.Memory) {
	t.Helper()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	faulty := traffiktest.Break(memory)
	faulty.Slow(time.Hour)
	return faulty, memory
}

func named(t *testing.T, name string, backend traffik.Backend, opts ...traffik.Option) *traffik.Throttle {
	t.Helper()
	throttle, err := traffik.New(name, "10/d", append([]traffik.Option{traffik.WithBackend(backend)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return throttle
}

// draws are all calls of a throttle and of a gate that draw or look.
func draws(throttle *traffik.Throttle) map[string]func(context.Context) (traffik.Verdict, traffik.Result, error) {
	single := func(use func(context.Context) (traffik.Result, error)) func(context.Context) (traffik.Verdict, traffik.Result, error) {
		return func(ctx context.Context) (traffik.Verdict, traffik.Result, error) {
			res, err := use(ctx)
			return traffik.Verdict{}, res, err
		}
	}
	joint := func(use func(context.Context) (traffik.Verdict, error)) func(context.Context) (traffik.Verdict, traffik.Result, error) {
		return func(ctx context.Context) (traffik.Verdict, traffik.Result, error) {
			v, err := use(ctx)
			if len(v.Results()) == 0 {
				return v, traffik.Result{}, err
			}
			return v, v.Results()[0], err
		}
	}
	gate, key := traffik.All(throttle), throttle.Key("k")
	joined := gate.Key("k")
	request := func() *traffik.Request { return &traffik.Request{RemoteAddr: "192.0.2.1:80"} }
	return map[string]func(context.Context) (traffik.Verdict, traffik.Result, error){
		"Hit":          single(key.Hit),
		"Hit for":      single(func(ctx context.Context) (traffik.Result, error) { return throttle.For(request()).Hit(ctx) }),
		"HitN":         single(func(ctx context.Context) (traffik.Result, error) { return key.HitN(ctx, 2) }),
		"Check":        single(func(ctx context.Context) (traffik.Result, error) { return key.Check(ctx, 2) }),
		"Stat":         single(key.Stat),
		"Admit":        joint(func(ctx context.Context) (traffik.Verdict, error) { return throttle.Admit(ctx, request()) }),
		"gate's Hit":   joint(joined.Hit),
		"gate's HitN":  joint(func(ctx context.Context) (traffik.Verdict, error) { return joined.HitN(ctx, 2) }),
		"gate's Check": joint(func(ctx context.Context) (traffik.Verdict, error) { return joined.Check(ctx, 2) }),
		"gate's Stat":  joint(joined.Stat),
		"gate's Admit": joint(func(ctx context.Context) (traffik.Verdict, error) { return gate.Admit(ctx, request()) }),
	}
}

var errTooSlow = errors.New("too slow")

// A deadline that passes while the store is asked is a failure of the store.
func TestDeadlineInFlightIsAStoreFailure(t *testing.T) {
	t.Parallel()
	isFailure := func(err error) bool {
		return errors.Is(err, traffik.ErrBackend) && errors.Is(err, context.DeadlineExceeded) && errors.Is(err, errTooSlow)
	}
	for name, c := range map[string]struct {
		opts    []traffik.Option
		outcome traffik.Outcome // Undecided: the error is returned
	}{
		"default":     {nil, traffik.FailedOpen},
		"open":        {[]traffik.Option{traffik.WithErrorPolicy(traffik.FailOpen)}, traffik.FailedOpen},
		"closed":      {[]traffik.Option{traffik.WithErrorPolicy(traffik.FailClosed)}, traffik.FailedClosed},
		"propagate":   {[]traffik.Option{traffik.WithErrorPolicy(traffik.Propagate)}, traffik.Undecided},
		"report only": {[]traffik.Option{traffik.WithErrorPolicy(traffik.FailClosed), traffik.WithReportOnly()}, traffik.FailedOpen},
		"function": {[]traffik.Option{traffik.WithErrorFunc(func(err error) traffik.ErrorPolicy {
			if isFailure(err) {
				return traffik.FailClosed
			}
			return traffik.FailOpen
		})}, traffik.FailedClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				faulty, _ := hung(t)
				for way, draw := range draws(named(t, t.Name(), faulty, c.opts...)) {
					ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errTooSlow)
					start := time.Now()
					_, res, err := draw(ctx)
					cancel()
					if took := time.Since(start); took != time.Second {
						t.Errorf("%s took %v, want until the deadline", way, took)
					}
					if c.outcome == traffik.Undecided {
						if !isFailure(err) {
							t.Errorf("%s: error %v, want the store's with the deadline and its cause", way, err)
						}
						continue
					}
					if err != nil || res.Outcome != c.outcome || res.Allowed != (c.outcome == traffik.FailedOpen) || !isFailure(res.Err) {
						t.Errorf("%s: %+v, %v; want %v with the store's error", way, res, err, c.outcome)
					}
				}
			})
		})
	}
}

// A context that ended before the call, or that its caller cancels during the call, is no
// failure: the cause is returned, whatever the policy, and nothing is charged.
func TestCallersEndIsNoFailure(t *testing.T) {
	t.Parallel()
	ends := map[string]func(context.Context) (context.Context, context.CancelFunc){
		"cancelled before": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errTooSlow)
			return ctx, func() {}
		},
		"deadline before": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithDeadlineCause(ctx, time.Now().Add(-1), errTooSlow)
		},
		"cancelled in flight": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(errTooSlow) })
			return ctx, func() { cancel(nil) }
		},
	}
	for name, end := range ends {
		for policy, opts := range map[string][]traffik.Option{
			"open":        {traffik.WithErrorPolicy(traffik.FailOpen)},
			"closed":      {traffik.WithErrorPolicy(traffik.FailClosed)},
			"report only": {traffik.WithReportOnly()},
		} {
			t.Run(name+"/"+policy, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					faulty, memory := hung(t)
					throttle := named(t, t.Name(), faulty, opts...)
					for way, draw := range draws(throttle) {
						ctx, cancel := end(t.Context())
						_, res, err := draw(ctx)
						cancel()
						if !errors.Is(err, errTooSlow) || errors.Is(err, traffik.ErrBackend) || res.Allowed {
							t.Errorf("%s: %+v, %v; want the cause of the context's end", way, res, err)
						}
					}
					if memory.Len() != 0 {
						t.Errorf("%d keys were charged, want none", memory.Len())
					}
				})
			})
		}
	}
}

// In process the same holds: a draw with an ended context charges nothing.
func TestCallersEndInProcess(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithDeadlineCause(t.Context(), time.Now().Add(-1), errTooSlow)
	defer cancel()
	throttle := named(t, t.Name(), memory)
	for way, draw := range draws(throttle) {
		if _, res, err := draw(ctx); !errors.Is(err, errTooSlow) || errors.Is(err, traffik.ErrBackend) || res.Allowed {
			t.Errorf("%s: %+v, %v; want the cause of the context's end", way, res, err)
		}
	}
	if err := throttle.Key("k").Reset(ctx); !errors.Is(err, errTooSlow) || errors.Is(err, traffik.ErrBackend) {
		t.Errorf("Reset: %v, want the cause of the context's end", err)
	}
	if _, err := throttle.Key("k").Describe(ctx); !errors.Is(err, errTooSlow) || errors.Is(err, traffik.ErrBackend) {
		t.Errorf("Describe: %v, want the cause of the context's end", err)
	}
	if memory.Len() != 0 {
		t.Errorf("%d keys were charged, want none", memory.Len())
	}
}

// A deadline that passes while a function of the application looks something up is a
// failure of that function. A caller that cancels meanwhile is none.
func TestDeadlineWhileARequestIsRead(t *testing.T) {
	t.Parallel()
	slow := traffik.Identify("user", func(r *traffik.Request) (string, error) {
		<-r.Context.Done()
		return "", errors.New("the database closed the connection")
	})
	for name, c := range map[string]struct {
		opts    []traffik.Option
		outcome traffik.Outcome
	}{
		"default":     {nil, traffik.FailedClosed},
		"open":        {[]traffik.Option{traffik.WithErrorPolicy(traffik.FailOpen)}, traffik.FailedOpen},
		"report only": {[]traffik.Option{traffik.WithReportOnly()}, traffik.FailedOpen},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				throttle := named(t, t.Name(), memory, append(c.opts, traffik.WithIdentifier(slow))...)
				for _, limit := range []traffik.Limiter{throttle, traffik.All(throttle)} {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					v, err := limit.Admit(ctx, &traffik.Request{Context: ctx})
					cancel()
					if err != nil || v.Results()[0].Outcome != c.outcome {
						t.Errorf("%T, a deadline: %+v, %v; want %v", limit, v, err, c.outcome)
					}
					ctx, cancel = context.WithCancel(t.Context())
					time.AfterFunc(time.Second, cancel)
					if v, err := limit.Admit(ctx, &traffik.Request{Context: ctx}); !errors.Is(err, context.Canceled) {
						t.Errorf("%T, a caller who gave up: %+v, %v; want the cause", limit, v, err)
					}
				}
			})
		})
	}
}

// A gate refunds its draws on other stores when the deadline passes at a store whose policy
// denies, and keeps them where the request passes.
func TestDeadlineInFlightOfAGate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy traffik.ErrorPolicy
		used   int64
	}{"open": {traffik.FailOpen, 1}, "closed": {traffik.FailClosed, 0}, "propagate": {traffik.Propagate, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				first, err := traffik.NewMemory()
				if err != nil {
					t.Fatal(err)
				}
				faulty, _ := hung(t)
				early, late := named(t, "early", first), named(t, "late", faulty, traffik.WithErrorPolicy(c.policy))
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				v, err := traffik.All(early, late).Key("k").Hit(ctx)
				if (err != nil) != (c.policy == traffik.Propagate) || err == nil && v.Allowed() != (c.policy == traffik.FailOpen) {
					t.Errorf("%+v, %v", v, err)
				}
				if stat, err := early.Key("k").Stat(t.Context()); err != nil || stat.Limit-stat.Remaining != c.used {
					t.Errorf("%+v, %v; want %d in use of the store that had answered", stat, err, c.used)
				}
			})
		})
	}
}

// Calls that draw nothing have a bound and typed errors, also if the caller sets no deadline.
func TestCallsOnAHungStoreAreBounded(t *testing.T) {
	t.Parallel()
	const bound = 5 * time.Second
	synctest.Test(t, func(t *testing.T) {
		faulty, _ := hung(t)
		throttle := named(t, "hung", faulty, traffik.WithErrorPolicy(traffik.Propagate))
		gate := traffik.All(throttle)
		faulty.Slow(0)
		res, err := throttle.Key("k").Hit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		v, err := gate.Key("k").Hit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		faulty.Slow(time.Hour)
		describe := func(ctx context.Context) error { _, err := throttle.Key("k").Describe(ctx); return err }
		for name, call := range map[string]func(context.Context) error{
			"Refund":         func(ctx context.Context) error { return throttle.Refund(ctx, res, 1) },
			"Reset":          throttle.Key("k").Reset,
			"gate's Reset":   gate.Key("k").Reset,
			"Describe":       describe,
			"Stat":           func(ctx context.Context) error { _, err := throttle.Key("k").Stat(ctx); return err },
			"Check":          func(ctx context.Context) error { _, err := throttle.Key("k").Check(ctx, 1); return err },
			"gate's Stat":    func(ctx context.Context) error { _, err := gate.Key("k").Stat(ctx); return err },
			"gate's Check":   func(ctx context.Context) error { _, err := gate.Key("k").Check(ctx, 1); return err },
			"Verdict.Refund": func(ctx context.Context) error { return v.Refund(ctx) },
		} {
			start := time.Now()
			err := call(context.Background())
			if took := time.Since(start); took != bound || !errors.Is(err, traffik.ErrBackend) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v after %v, want ErrBackend and a deadline after %v", name, err, took, bound)
			}
		}
		// A caller's deadline is a failure of the store too; cancelling is none.
		for name, call := range map[string]func(context.Context) error{"Reset": throttle.Key("k").Reset, "Describe": describe} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := call(ctx)
			cancel()
			if !errors.Is(err, traffik.ErrBackend) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s with a deadline: %v, want ErrBackend and the deadline", name, err)
			}
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if err := call(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, traffik.ErrBackend) {
				t.Errorf("%s whose caller gives up: %v, want the cause alone", name, err)
			}
		}
		// A plain error of a foreign store gets its kind.
		faulty.Slow(0)
		faulty.Fail(errTooSlow)
		for name, call := range map[string]func(context.Context) error{
			"Hit":      func(ctx context.Context) error { _, err := throttle.Key("k").Hit(ctx); return err },
			"Reset":    throttle.Key("k").Reset,
			"Describe": describe,
			"Refund":   func(ctx context.Context) error { return throttle.Refund(ctx, res, 1) },
		} {
			if err := call(t.Context()); !errors.Is(err, traffik.ErrBackend) || !errors.Is(err, errTooSlow) {
				t.Errorf("%s: %v, want ErrBackend around the store's error", name, err)
			}
		}
	})
}

// A wrong call is an error for its caller, and never fails open.
func TestWrongUseOfAStoreIsReturned(t *testing.T) {
	t.Parallel()
	faulty, _ := hung(t)
	faulty.Slow(0)
	faulty.Fail(traffik.ErrDuplicateKey)
	for way, draw := range draws(named(t, t.Name(), faulty, traffik.WithErrorPolicy(traffik.FailOpen))) {
		if _, res, err := draw(t.Context()); !errors.Is(err, traffik.ErrUsage) || res.Allowed {
			t.Errorf("%s: %+v, %v; want the error", way, res, err)
		}
	}
}
