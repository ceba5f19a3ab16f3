package traffik_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
)

// single is a custom strategy of one unit at any rate, without optional powers.
type single struct{ traffik.FixedWindow }

func (single) ID() string { return "single.1" }

func (s single) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	if d.Cost > 1 {
		return dst, traffik.Decision{Limit: 1, RetryAfter: traffik.Never, At: d.Now}
	}
	return s.FixedWindow.Decide(dst, state, d)
}

// closed admits nothing, on purpose.
type closed struct{ traffik.FixedWindow }

func (closed) ID() string { return "closed.1" }

func (closed) Decide(dst, _ []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	return dst, traffik.Decision{RetryAfter: traffik.Never, At: d.Now}
}

// New refuses a fixed cost that the strategy never admits, and accepts the largest cost that
// its error names.
func TestCostAboveCapacity(t *testing.T) {
	t.Parallel()
	byClass := traffik.WithClass(func(*traffik.Request) string { return "" })
	tiered := advanced.Tiered{Tiers: map[string]advanced.PPM{"free": advanced.Whole / 2, "pro": 3 * advanced.Whole}, Default: "free"}
	priority := advanced.Priority{Low: advanced.Whole / 10, Normal: advanced.Whole / 5, High: advanced.Whole / 2}
	for name, c := range map[string]struct {
		strategy traffik.Strategy
		most     int64 // at 100 a minute
		opts     []traffik.Option
	}{
		"FixedWindow":           {traffik.FixedWindow{}, 100, nil},
		"SlidingWindowCounter":  {traffik.SlidingWindowCounter{}, 100, nil},
		"SlidingWindowLog":      {traffik.SlidingWindowLog{}, 100, nil},
		"TokenBucket":           {traffik.TokenBucket{}, 100, nil},
		"TokenBucket, burst":    {traffik.TokenBucket{Burst: 7}, 7, nil},
		"TokenBucketWithDebt":   {traffik.TokenBucketWithDebt{Burst: 7, MaxDebt: 3}, 10, nil},
		"LeakyBucket":           {traffik.LeakyBucket{Capacity: 7}, 7, nil},
		"LeakyBucketWithQueue":  {traffik.LeakyBucketWithQueue{Capacity: 7}, 7, nil},
		"GCRA":                  {traffik.GCRA{}, 1, nil},
		"GCRA, burst":           {traffik.GCRA{Burst: 7}, 7, nil},
		"Adaptive":              {advanced.Adaptive{}, 100, nil},
		"QuotaWithRollover":     {advanced.QuotaWithRollover{}, 150, nil}, // with the carry of an unused window
		"TimeOfDay":             {advanced.TimeOfDay{Hours: []advanced.Hours{{From: 0, To: 12, Factor: 2 * advanced.Whole}, {From: 12, To: 24, Factor: advanced.Whole / 2}}}, 200, nil},
		"CostBasedTokenBucket":  {advanced.CostBasedTokenBucket{Burst: 7}, 7, nil},
		"Tiered, no class":      {tiered, 50, nil},
		"Tiered, by class":      {tiered, 300, []traffik.Option{byClass}},
		"Priority, no class":    {priority, 20, nil},
		"Priority, by class":    {priority, 100, []traffik.Option{byClass}},
		"the application's own": {single{}, 1, nil},
		"that only reports":     {traffik.GCRA{}, 1, []traffik.Option{traffik.WithReportOnly()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory, err := traffik.NewMemory()
			if err != nil {
				t.Fatal(err)
			}
			make := func(cost int64) (*traffik.Throttle, error) {
				return traffik.New("cost", "100/min", append(c.opts, traffik.WithStrategy(c.strategy), traffik.WithBackend(memory), traffik.WithCost(cost))...)
			}
			_, err = make(traffik.MaxUnits)
			if !errors.Is(err, traffik.ErrConfig) {
				t.Fatalf("a cost of 2^53: %v, want ErrConfig", err)
			}
			most := c.most
			for _, cost := range []int64{most + 1, 2 * (most + 1)} {
				_, err := make(cost)
				for _, word := range []string{fmt.Sprintf("WithCost(%d)", cost), c.strategy.ID(), "100/min", fmt.Sprintf("0 to %d,", most)} {
					if err == nil || !errors.Is(err, traffik.ErrConfig) || !strings.Contains(err.Error(), word) {
						t.Errorf("a cost of %d: %v, want ErrConfig with %q", cost, err, word)
					}
				}
			}
			throttle, err := make(most)
			if err != nil {
				t.Fatalf("a cost of %d: %v, want it accepted", most, err)
			}
			if res, err := throttle.Key("k").Hit(context.Background()); err != nil || len(c.opts) == 0 && res.RetryAfter == traffik.Never {
				t.Errorf("a cost of %d: %+v, %v; want one that can be admitted", most, res, err)
			}
		})
	}
}

// New accepts a cost that it can't check.
func TestCostsThatNewAccepts(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]traffik.Option{
		"cost function":       {traffik.WithStrategy(traffik.GCRA{}), costs(5)},
		"no cost":             {traffik.WithStrategy(traffik.GCRA{}), traffik.WithCost(0)},
		"custom classes":      {traffik.WithStrategy(single{}), traffik.WithCost(5), traffik.WithClass(func(*traffik.Request) string { return "" })},
		"nothing is admitted": {traffik.WithStrategy(closed{})},
	} {
		if _, err := traffik.New("accepted", "100/min", opts...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	rate := func(*traffik.Request) (traffik.Rate, error) { return traffik.Unlimited, nil }
	if _, err := traffik.New("rate function", rate, traffik.WithCost(500)); err != nil {
		t.Errorf("a rate function: %v", err)
	}
	if _, err := traffik.New("unlimited", traffik.Unlimited, traffik.WithCost(500)); err != nil {
		t.Errorf("unlimited: %v", err)
	}
}

// A request that passes in any case passes without its identity.
func TestPassesBeforeTheIdentityIsAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rate    traffik.Rate
		cost    int64
		units   int64 // of HitN, -1 for Hit
		outcome traffik.Outcome
	}{
		"unlimited":            {traffik.Unlimited, 1, -1, traffik.NoLimit},
		"unlimited HitN":       {traffik.Unlimited, 1, 3, traffik.NoLimit},
		"a cost of 0":          {traffik.Per(5, 1e9), 0, -1, traffik.Exempt},
		"HitN of 0":            {traffik.Per(5, 1e9), 1, 0, traffik.Exempt},
		"unlimited, HitN of 0": {traffik.Unlimited, 1, 0, traffik.NoLimit},
	} {
		asked := 0
		throttle := traffik.MustNew("passes", c.rate, traffik.WithCost(c.cost), traffik.WithErrorPolicy(traffik.Propagate),
			traffik.WithIdentifier(traffik.Identify("user", func(*traffik.Request) (string, error) { asked++; return "", errors.New("unknown") })))
		ctx := t.Context()
		for _, use := range []func() (traffik.Result, error){
			func() (traffik.Result, error) {
				if c.units < 0 {
					return throttle.For(new(traffik.Request)).Hit(ctx)
				}
				return throttle.For(new(traffik.Request)).HitN(ctx, c.units)
			},
			func() (traffik.Result, error) {
				use := traffik.All(throttle).For(new(traffik.Request)).Hit
				if c.units >= 0 {
					use = func(ctx context.Context) (traffik.Verdict, error) {
						return traffik.All(throttle).For(new(traffik.Request)).HitN(ctx, c.units)
					}
				}
				v, err := use(ctx)
				if err != nil {
					return traffik.Result{}, err
				}
				return v.Results()[0], nil
			},
		} {
			if res, err := use(); err != nil || res.Outcome != c.outcome || !res.Allowed || res.Rate() != c.rate || res.Identity() != "" || asked > 0 {
				t.Errorf("%s: %+v, %v after asking %d times; want %v without", name, res, err, asked, c.outcome)
			}
		}
		if c.rate == traffik.Unlimited {
			if res, err := throttle.For(new(traffik.Request)).Stat(ctx); err != nil || res.Outcome != traffik.NoLimit || asked > 0 {
				t.Errorf("%s: Stat: %+v, %v", name, res, err)
			}
		}
	}
}
