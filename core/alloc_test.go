//go:build !race

package traffik

import (
	"errors"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// A hit allocates nothing in process, whichever way it comes; finding the
// client's address costs the one string that names it. Built without the race
// detector, whose bookkeeping allocates.
func TestHitAllocations(t *testing.T) {
	m, err := NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	opts := []Option{WithBackend(m)}
	plain := newNamed(t, "plain", "1000000/s", opts...)
	bucket := newNamed(t, "bucket", "1000000/s", WithBackend(m), WithStrategy(TokenBucket{}))
	shared := newNamed(t, "shared", "1000000/s", WithBackend(m), WithIdentifier(Shared()))
	denied := newNamed(t, "denied", "1/h", opts...)
	known := &Request{RemoteAddr: "192.0.2.7:1"}
	ctx := t.Context()
	if _, err := plain.For(known).Hit(ctx); err != nil {
		t.Fatal(err)
	}
	named := newNamed(t, "named", "1000000/s", opts...)
	five := All(plain, bucket, named, newNamed(t, "four", "1000000/s", opts...), newNamed(t, "report", "1000000/s", WithBackend(m), WithReportOnly()))
	priced := newNamed(t, "priced", "1000000/s", WithBackend(m), WithCostFunc(func(*Request) (int64, error) { return 1, nil }))
	one, used := All(named), All(plain, denied)
	daily := All(newNamed(t, "a", "1000000/d", opts...), newNamed(t, "b", "1000000/d", WithBackend(m), WithStrategy(TokenBucket{})))
	if _, err := daily.Key("refunded").Hit(ctx); err != nil { // refunds leave its keys in the store
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		most float64
		hit  func() error
	}{
		"plain key":          {0, func() error { _, err := plain.Key("user:42").Hit(ctx); return err }},
		"bucket":             {0, func() error { _, err := bucket.Key("user:42").Hit(ctx); return err }},
		"denied":             {0, func() error { _, err := denied.Key("user:42").Hit(ctx); return err }},
		"HitN":               {0, func() error { _, err := plain.Key("user:42").HitN(ctx, 2); return err }},
		"Stat":               {0, func() error { _, err := plain.Key("user:42").Stat(ctx); return err }},
		"Shared":             {0, func() error { _, err := shared.For(known).Hit(ctx); return err }},
		"known":              {0, func() error { _, err := plain.For(known).Hit(ctx); return err }},
		"gate of one":        {0, func() error { v, err := one.Key("user:42").Hit(ctx); return undecided(v, err) }},
		"gate of one, known": {0, func() error { v, err := one.For(known).Hit(ctx); return undecided(v, err) }},
		"five limits":        {0, func() error { v, err := five.Key("user:42").Hit(ctx); return undecided(v, err) }},
		"five, known":        {0, func() error { v, err := five.For(known).Hit(ctx); return undecided(v, err) }},
		"two, denied":        {0, func() error { v, err := used.Key("user:42").Hit(ctx); return undecided(v, err) }},
		"cost function":      {0, func() error { _, err := priced.For(known).Hit(ctx); return err }},
		"refund": {0, func() error {
			res, err := plain.Key("user:42").HitN(ctx, 2)
			return errors.Join(err, plain.Refund(ctx, res, 1))
		}},
		"refund of a verdict": {1, func() error {
			v, err := daily.Key("refunded").Hit(ctx)
			return errors.Join(err, v.Refund(ctx))
		}},
		"kept verdict": {1, func() (err error) {
			keptVerdict, err = five.Key("user:42").Hit(ctx)
			return err
		}},
		"new client": {1, func() error {
			*known = Request{RemoteAddr: "192.0.2.7:1"}
			_, err := plain.For(known).Hit(ctx)
			return err
		}},
	} {
		_ = c.hit() // the key's own entry
		if got := testing.AllocsPerRun(1000, func() {
			if err := c.hit(); err != nil {
				t.Error(err)
			}
		}); got > c.most {
			t.Errorf("%s: %v allocations a hit, want at most %v", name, got, c.most)
		}
	}
}

// undecided returns an error for a verdict that says nothing.
func undecided(v Verdict, err error) error {
	if err == nil && !v.Tightest().Counted() {
		return errors.New("nothing was counted")
	}
	return err
}

// keptVerdict has a verdict escape.
var keptVerdict Verdict

func BenchmarkHit(b *testing.B) {
	for name, strategy := range map[string]Strategy{"FixedWindow": FixedWindow{}, "TokenBucket": TokenBucket{}, "GCRA": GCRA{Burst: 100}} {
		m, err := NewMemory()
		if err != nil {
			b.Fatal(err)
		}
		throttle := MustNew("bench", Per(1_000_000_000, time.Second), WithBackend(m), WithStrategy(strategy))
		ctx := b.Context()
		b.Run(name+"/plain key", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := throttle.Key("user:42").Hit(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/client address", func(b *testing.B) {
			b.ReportAllocs()
			var r Request
			for b.Loop() {
				r = Request{RemoteAddr: "192.0.2.7:1"}
				if _, err := throttle.For(&r).Hit(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A million keys hold at most 200 bytes each, whether their states are kept in
// integers or in bytes.
func TestMemoryPerKey(t *testing.T) {
	const keys = 1_000_000
	for _, strategy := range []Strategy{FixedWindow{}, TokenBucket{}, TokenBucketWithDebt{}, SlidingWindowCounter{}} {
		before := heapBytes()
		m, err := NewMemory(WithMaxKeys(2 * keys))
		if err != nil {
			t.Fatal(err)
		}
		throttle := newNamed(t, "many", "10/h", WithBackend(m), WithStrategy(strategy))
		for i := range keys {
			if res, err := throttle.Key("user:" + strconv.Itoa(i)).Hit(t.Context()); err != nil || !res.Allowed {
				t.Fatalf("%+v, error %v", res, err)
			}
		}
		held := float64(heapBytes()-before) / keys
		if t.Logf("%T: %.0f bytes a key", strategy, held); held > 200 || m.Len() != keys {
			t.Errorf("%T: %.0f bytes for each of %d keys, want at most 200 for %d", strategy, held, m.Len(), keys)
		}
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
