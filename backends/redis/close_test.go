package traffikredis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// answering is a hook of the client that answers instead of Redis.
type answering func(ctx context.Context) error

func (answering) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (a answering) ProcessHook(goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		cmd.SetErr(a(ctx))
		return cmd.Err()
	}
}

func (a answering) ProcessPipelineHook(goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		for _, cmd := range commands {
			cmd.SetErr(a(ctx))
		}
		return commands[0].Err()
	}
}

const errNoMemory = serverError("OOM command not allowed")

// full answers at once.
func full(context.Context) error { return errNoMemory }

// hung answers nothing.
func hung(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// answered returns a backend over a client that answer answers for.
func answered(t *testing.T, answer func(context.Context) error, options ...Option) *Backend {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:1"}) // is not dialed
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(answering(answer))
	b, err := New(client, options...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inGo is a strategy without a script.
type inGo struct{ traffik.FixedWindow }

func (inGo) ID() string { return "traffikredis_in_go.1" }

func takeOf(id string, strategy traffik.Strategy) []traffik.Op {
	return []traffik.Op{{
		Key: traffik.Key{Scope: store.ScopeOf("close", "x"), ID: id}, Strategy: strategy,
		Draw: traffik.Draw{Rate: traffik.Per(3, time.Hour), Cost: 1},
	}}
}

// goroutines returns the stacks of the goroutines that backends have started. No other
// test of this package runs at the same time as one that is not parallel.
func goroutines() []string {
	synctest.Wait() // until those that end have ended; time stands still
	buf := make([]byte, 1<<20)
	var all []string
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")[1:] {
		if strings.Contains(stack, "created by github.com/traffik-go/traffik/backends/redis.(*") {
			all = append(all, stack)
		}
	}
	return all
}

// Close leaves neither a goroutine at work for a caller that has left, nor
// a timer that would start another one.
func TestCloseLeavesNoGoroutine(t *testing.T) { //nolint:paralleltest // it counts goroutines
	for name, c := range map[string]struct {
		answer   func(context.Context) error
		strategy traffik.Strategy
		reset    bool
		options  []Option
		leave    bool // callers leave before their answer
	}{
		"by script":                {answer: full, strategy: traffik.FixedWindow{}},
		"by script, one by one":    {answer: full, strategy: traffik.FixedWindow{}, options: []Option{WithoutCoalescing()}},
		"in Go":                    {answer: full, strategy: inGo{}},
		"Reset":                    {answer: full, reset: true},
		"hung, by script":          {answer: hung, strategy: traffik.FixedWindow{}},
		"hung, in Go":              {answer: hung, strategy: inGo{}},
		"hung, left, by script":    {answer: hung, strategy: traffik.FixedWindow{}, leave: true},
		"hung, left, in Go":        {answer: hung, strategy: inGo{}, leave: true},
		"hung, left, Reset":        {answer: hung, reset: true, leave: true},
		"hung, left, one by one":   {answer: hung, strategy: traffik.FixedWindow{}, options: []Option{WithoutCoalescing()}, leave: true},
		"hung, left, second batch": {answer: hung, strategy: traffik.TokenBucket{}, leave: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := answered(t, c.answer, c.options...)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				for i := range 20 {
					wg.Go(func() {
						id := fmt.Sprint(i)
						if c.reset {
							_ = b.Reset(ctx, takeOf(id, nil)[0].Key)
							return
						}
						_ = b.Take(ctx, takeOf(id, c.strategy), make([]traffik.Decision, 1))
					})
				}
				synctest.Wait()
				if c.leave {
					cancel()
				}
				start := time.Now()
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took > 2*roundTripTimeout {
					t.Errorf("Close took %v", took)
				}
				if left := goroutines(); len(left) > 0 {
					t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
				}
				wg.Wait()
				if late := b.queues.only.late; late != nil {
					select {
					case <-late:
					default:
						t.Error("a timer is left, which would start a goroutine")
					}
				}
				if err := b.Take(t.Context(), takeOf("late", inGo{}), make([]traffik.Decision, 1)); !errors.Is(err, traffik.ErrClosed) {
					t.Errorf("a Take afterwards: %v, want ErrClosed", err)
				}
			})
		})
	}
}

// A goroutine that has sent calls rests for senderRest and ends, though nobody closes the
// backend.
func TestIdleBackendKeepsNoGoroutine(t *testing.T) { //nolint:paralleltest // it counts goroutines
	for name, c := range map[string]struct {
		strategy traffik.Strategy
		rest     int // goroutines that rest
	}{"by script": {traffik.FixedWindow{}, 1}, "in Go": {inGo{}, 0}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := answered(t, full)
				defer func() { _ = b.Close() }()
				for range 3 {
					_ = b.Take(t.Context(), takeOf("a", c.strategy), make([]traffik.Decision, 1))
					time.Sleep(senderRest / 2) //nolint:forbidigo // the bubble's clock
					if n := len(goroutines()); n != c.rest {
						t.Errorf("%d goroutines half of the rest after a call, want %d", n, c.rest)
					}
				}
				time.Sleep(senderRest/2 + 1) //nolint:forbidigo // the bubble's clock
				if left := goroutines(); len(left) > 0 {
					t.Errorf("%d goroutines are left when the rest is over:\n%s", len(left), strings.Join(left, "\n\n"))
				}
			})
		})
	}
}

// Close waits for calls under way, with or without an end of their own, and returns
// with the last of them.
func TestCloseWaitsForCalls(t *testing.T) {
	t.Parallel()
	for name, plain := range map[string]bool{"may end": false, "can't end": true} {
		for _, strategy := range []traffik.Strategy{traffik.FixedWindow{}, inGo{}} {
			t.Run(name+" "+strategy.ID(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					answer := make(chan struct{})
					b := answered(t, func(context.Context) error {
						<-answer
						return errNoMemory
					})
					var closed atomic.Int32
					go func() {
						ctx := t.Context()
						if plain {
							ctx = context.Background()
						}
						if err := b.Take(ctx, takeOf("a", strategy), make([]traffik.Decision, 1)); !errors.Is(err, ErrMemory) {
							t.Errorf("the call got %v, want its answer", err)
						}
					}()
					synctest.Wait()
					for range 2 { // both wait
						go func() {
							_ = b.Close()
							closed.Add(1)
						}()
					}
					synctest.Wait()
					if closed.Load() > 0 {
						t.Error("Close returned while a call was under way")
					}
					if err := b.Take(t.Context(), takeOf("b", strategy), make([]traffik.Decision, 1)); !errors.Is(err, traffik.ErrClosed) {
						t.Errorf("a Take during Close: %v, want ErrClosed", err)
					}
					close(answer)
					synctest.Wait()
					if n := closed.Load(); n != 2 {
						t.Errorf("%d of 2 calls of Close returned with the last call", n)
					}
				})
			})
		}
	}
}

// Calls that come while the backend is closed get their answers or ErrClosed, and start
// nothing after Close has returned.
func TestCloseBesideCalls(t *testing.T) {
	t.Parallel()
	for round := range 200 {
		var finished atomic.Bool // no round trip may see it
		var roundTrips atomic.Int64
		b := answered(t, func(context.Context) error {
			roundTrips.Add(1)
			for range 3 {
				runtime.Gosched() // so that Close comes while it is under way
			}
			if finished.Load() {
				t.Error("a round trip after Close has returned")
			}
			return errNoMemory
		})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for err := error(nil); !errors.Is(err, traffik.ErrClosed); {
					strategy := []traffik.Strategy{traffik.FixedWindow{}, inGo{}}[i%2]
					ctx := []context.Context{t.Context(), context.Background()}[i/2%2]
					if err = b.Take(ctx, takeOf("a", strategy), make([]traffik.Decision, 1)); !errors.Is(err, ErrMemory) && !errors.Is(err, traffik.ErrClosed) {
						t.Errorf("a call got %v", err)
						return
					}
				}
			})
		}
		for roundTrips.Load() < int64(1+round%40) {
			runtime.Gosched()
		}
		_ = b.Close()
		finished.Store(true)
		wg.Wait()
	}
}

// While the server hangs, callers without a deadline get ErrTimeout within the time that
// a round trip and the wait for it may take together, however many they are, and Close
// returns soon after them.
func TestPatientCallersOfAHungServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := answered(t, hung)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() {
				strategy := traffik.Strategy(traffik.FixedWindow{})
				if i%100 == 0 {
					strategy = inGo{}
				}
				err := b.Take(t.Context(), takeOf(fmt.Sprint(i), strategy), make([]traffik.Decision, 1))
				if !errors.Is(err, ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("caller %d got %v, want ErrTimeout alone", i, err)
				}
				if took := time.Since(start); took > roundTripTimeout+patienceStep {
					t.Errorf("caller %d had its answer after %v", i, took)
				}
			})
		}
		wg.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 2*roundTripTimeout {
			t.Errorf("it was closed after %v", took)
		}
	})
}
