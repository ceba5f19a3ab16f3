// Package benchmarks compares in-process decisions with those of the peers, each configured
// as its documentation advises.
package benchmarks

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"time"

	"github.com/didip/tollbooth/v7"
	"github.com/didip/tollbooth/v7/limiter"
	"github.com/go-chi/httprate"
	"github.com/labstack/echo/v4/middleware"
	golimiter "github.com/sethvargo/go-limiter/memorystore"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"
	ulule "github.com/ulule/limiter/v3"
	ululememory "github.com/ulule/limiter/v3/drivers/store/memory"
	"golang.org/x/time/rate"

	traffik "github.com/traffik-go/traffik/core"
)

// Limit is how much a contender has to admit: Units per Period, even if all of them come at
// once.
type Limit struct {
	Units  int
	Period time.Duration
}

// Contender is one limiter under measurement.
type Contender struct {
	Name string
	// Ours marks Traffik's contenders, which are compared with the best of the others.
	Ours bool
	// New makes a limiter with room for keys and returns its decision. The
	// decision is safe for concurrent use; stop frees what it holds.
	New func(l Limit, keys int) (allow func(key string) bool, stop func())
	// NewGate makes several limits that all have to admit, nil for a contender that can
	// only ask its limiters one after the other.
	NewGate func(l Limit, keys, limits int) (allow func(key string) bool, stop func())
	// NewRefund makes a decision and refunds a part of it. It is nil for a contender
	// without refunds, whose plain decision is measured.
	NewRefund func(l Limit, keys int) (allow func(key string) bool, stop func())
}

// Gate makes several limits that all have to admit.
func (c Contender) Gate(l Limit, keys, limits int) (allow func(key string) bool, stop func()) {
	switch {
	case c.NewGate != nil:
		return c.NewGate(l, keys, limits)
	case limits == 1:
		return c.New(l, keys)
	}
	allows, stops := make([]func(string) bool, limits), make([]func(), limits)
	for i := range allows {
		allows[i], stops[i] = c.New(l, keys)
	}
	return func(key string) bool {
			for _, allow := range allows {
				if !allow(key) {
					return false
				}
			}
			return true
		}, func() {
			for _, stop := range stops {
				stop()
			}
		}
}

// Refund makes a decision and refunds a part of it, or makes a plain decision.
func (c Contender) Refund(l Limit, keys int) (allow func(key string) bool, stop func()) {
	if c.NewRefund != nil {
		return c.NewRefund(l, keys)
	}
	return c.New(l, keys)
}

// Check reports a contender that doesn't limit as configured: it must admit five at once
// and no sixth, with one limit and with five.
func (c Contender) Check() error {
	if err := check(c.New); err != nil {
		return fmt.Errorf("%s, one limit: %w", c.Name, err)
	}
	for _, limits := range []int{1, 5} {
		gate := func(l Limit, keys int) (func(string) bool, func()) { return c.Gate(l, keys, limits) }
		if err := check(gate); err != nil {
			return fmt.Errorf("%s, a gate of %d: %w", c.Name, limits, err)
		}
	}
	return nil
}

func check(newLimiter func(Limit, int) (func(string) bool, func())) error {
	five := Limit{Units: 5, Period: time.Hour}
	allow, stop := newLimiter(five, 100)
	defer stop()
	for _, key := range []string{"a", "b"} {
		if got := admitted(func() bool { return allow(key) }); got != five.Units {
			return fmt.Errorf("%d of 20 were admitted, want %d", got, five.Units)
		}
	}
	return nil
}

// admitted returns how many of 20 calls are admitted.
func admitted(allow func() bool) (n int) {
	for range 20 {
		if allow() {
			n++
		}
	}
	return n
}

func nothing() {}

// must ends the program on an error of a constructor: a contender that can't be
// made is a mistake of ours.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Contenders are all limiters that are measured.
func Contenders() []Contender {
	return append(ours(), peers()...)
}

// ours are timed as a user calls them: a throttle with default options on the
// real clock, its key a string. Room for keys is given only where it is above
// the default.
func ours() []Contender {
	return []Contender{
		ourContender("FixedWindow", func(Limit) traffik.Strategy { return traffik.FixedWindow{} }),
		ourContender("TokenBucket", func(Limit) traffik.Strategy { return traffik.TokenBucket{} }),
		ourContender("GCRA", func(l Limit) traffik.Strategy { return traffik.GCRA{Burst: int64(l.Units)} }),
	}
}

func ourContender(name string, strategy func(Limit) traffik.Strategy) Contender {
	newThrottle := func(uid string, l Limit, backend traffik.Backend) *traffik.Throttle {
		return must(traffik.New(uid, traffik.Per(int64(l.Units), l.Period), traffik.WithBackend(backend), traffik.WithStrategy(strategy(l))))
	}
	ctx := context.Background()
	return Contender{Name: name, Ours: true, New: func(l Limit, keys int) (func(string) bool, func()) {
		backend := must(traffik.NewMemory(traffik.WithMaxKeys(max(traffik.DefaultMaxKeys, 2*keys))))
		t := newThrottle("bench", l, backend)
		return func(key string) bool {
			res, err := t.Key(key).Hit(ctx)
			return err == nil && res.Allowed
		}, func() { _ = backend.Close() }
	}, NewGate: func(l Limit, keys, n int) (func(string) bool, func()) {
		backend := must(traffik.NewMemory(traffik.WithMaxKeys(max(traffik.DefaultMaxKeys, 2*n*keys))))
		var limits []traffik.Limiter
		for i := range n {
			limits = append(limits, newThrottle("bench:"+strconv.Itoa(i), l, backend))
		}
		gate := traffik.All(limits...)
		return func(key string) bool {
			v, err := gate.Key(key).Hit(ctx)
			return err == nil && v.Allowed()
		}, func() { _ = backend.Close() }
	}, NewRefund: func(l Limit, keys int) (func(string) bool, func()) {
		backend := must(traffik.NewMemory(traffik.WithMaxKeys(max(traffik.DefaultMaxKeys, 2*keys))))
		t := newThrottle("bench", l, backend)
		return func(key string) bool {
			res, err := t.Key(key).HitN(ctx, 2)
			return err == nil && res.Allowed && t.Refund(ctx, res, 1) == nil
		}, func() { _ = backend.Close() }
	}}
}

func peers() []Contender {
	return []Contender{
		{Name: "sethvargo/go-limiter", New: newGoLimiter},
		{Name: "x/time/rate in sync.Map", New: newXTime},
		{Name: "echo", New: newEcho},
		{Name: "throttled", New: newThrottled},
		{Name: "ulule", New: newUlule},
		{Name: "tollbooth", New: newTollbooth},
		{Name: "httprate", New: newHTTPRate},
	}
}

func newGoLimiter(l Limit, _ int) (func(string) bool, func()) {
	store := must(golimiter.New(&golimiter.Config{Tokens: uint64(l.Units), Interval: l.Period}))
	ctx := context.Background()
	return func(key string) bool {
		_, _, _, ok, err := store.Take(ctx, key)
		return err == nil && ok
	}, func() { _ = store.Close(ctx) }
}

// newXTime is the usual result of tutorials: a limiter for each key in a sync.Map that
// nobody ever empties.
func newXTime(l Limit, _ int) (func(string) bool, func()) {
	var limiters sync.Map
	perSecond := rate.Limit(float64(l.Units) / l.Period.Seconds())
	return func(key string) bool {
		if known, ok := limiters.Load(key); ok {
			return known.(*rate.Limiter).Allow() //nolint:errcheck // nothing else is stored
		}
		known, _ := limiters.LoadOrStore(key, rate.NewLimiter(perSecond, l.Units))
		return known.(*rate.Limiter).Allow() //nolint:errcheck // nothing else is stored
	}, nothing
}

func newEcho(l Limit, _ int) (func(string) bool, func()) {
	store := middleware.NewRateLimiterMemoryStoreWithConfig(middleware.RateLimiterMemoryStoreConfig{
		Rate: rate.Limit(float64(l.Units) / l.Period.Seconds()), Burst: l.Units,
	})
	return func(key string) bool {
		ok, err := store.Allow(key)
		return err == nil && ok
	}, nothing
}

// newThrottled has the 65,536 keys of its documentation, or as many as needed.
func newThrottled(l Limit, keys int) (func(string) bool, func()) {
	store := must(memstore.NewCtx(max(65_536, 2*keys)))
	limiter := must(throttled.NewGCRARateLimiterCtx(store, throttled.RateQuota{
		MaxRate: throttled.PerDuration(l.Units, l.Period), MaxBurst: l.Units - 1,
	}))
	ctx := context.Background()
	return func(key string) bool {
		limited, _, err := limiter.RateLimitCtx(ctx, key, 1)
		return err == nil && !limited
	}, nothing
}

func newUlule(l Limit, _ int) (func(string) bool, func()) {
	instance := ulule.New(ululememory.NewStore(), ulule.Rate{Period: l.Period, Limit: int64(l.Units)})
	ctx := context.Background()
	return func(key string) bool {
		res, err := instance.Get(ctx, key)
		return err == nil && !res.Reached
	}, nothing
}

func newTollbooth(l Limit, _ int) (func(string) bool, func()) {
	lmt := tollbooth.NewLimiter(float64(l.Units)/l.Period.Seconds(), &limiter.ExpirableOptions{DefaultExpirationTTL: time.Hour})
	lmt.SetBurst(l.Units)
	return func(key string) bool { return !lmt.LimitReached(key) }, nothing
}

// newHTTPRate goes through its HTTP call, the only one it has that decides.
func newHTTPRate(l Limit, _ int) (func(string) bool, func()) {
	lmt := httprate.NewRateLimiter(l.Units, l.Period)
	pool := sync.Pool{New: func() any { return httptest.NewRecorder() }}
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	return func(key string) bool {
		w, _ := pool.Get().(*httptest.ResponseRecorder)
		defer pool.Put(w)
		return !lmt.OnLimit(w, r, key)
	}, nothing
}

// Keys returns n keys such as applications have.
func Keys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = "user:" + strconv.Itoa(1_000_000+i)
	}
	return keys
}
