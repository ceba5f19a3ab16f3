package memcachedtest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/core/traffiktest"
	"github.com/traffik-go/traffik/internal/integration/fakememcached"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// appServer is one of several application servers that share counters, with a clock of
// its own.
type appServer struct {
	*traffikmemcached.Backend
	clock *traffiktest.Clock
}

// fleet returns application servers whose clocks are ahead of a common time by offsets.
func fleet(t *testing.T, s *servers.Server, offsets []time.Duration, opts ...traffikmemcached.Option) (fleet []appServer) {
	t.Helper()
	begin, opts := time.Now(), append(opts, traffikmemcached.WithNamespace(namespace(t)))
	for _, offset := range offsets {
		clock := traffiktest.NewClock(begin.Add(offset))
		opts := append(opts[:len(opts):len(opts)], traffikmemcached.WithClock(clock))
		fleet = append(fleet, appServer{newBackend(t, newClient(t, s), opts...), clock})
	}
	return fleet
}

// bucketOf is a draw of cost units from a full bucket of limit tokens.
func bucketOf(limit int64, period time.Duration, cost int64) traffik.Op {
	op := opOf("hot", cost)
	op.Strategy, op.Draw.Rate = traffik.TokenBucket{}, traffik.Per(limit, period)
	op.Key.Scope = store.ScopeOf("clocks", op.Strategy.ID())
	return op
}

// Two servers whose clocks differ and stand still draw in turns, one unit or all they are
// let. They admit what one clock would and what it would in the time by which they differ,
// once.
func TestClocksThatStandAdmitTheirDifferenceOnce(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t)
	for _, c := range []struct {
		limit      int64
		period     time.Duration
		difference time.Duration
		want       int
	}{
		{100, time.Minute, 1500 * time.Millisecond, 102},
		{100, time.Second, 20 * time.Millisecond, 102},
		{1000, time.Second, 2 * time.Millisecond, 1002},
	} {
		servers := fleet(t, s, []time.Duration{0, c.difference})
		for name, draws := range map[string]int{"one": 1, "all they are let": c.want + 1} {
			want := c.want
			if draws == 1 {
				want-- // when the fast one begins, no more than one unit is there to leak
			}
			draw := bucketOf(c.limit, c.period, 1)
			draw.Key.ID = name
			admitted := 0
			for turn := range 2*c.want/draws + 6 {
				for range draws {
					if !take(t, servers[turn%2], draw)[0].Allowed {
						break
					}
					admitted++
				}
			}
			if admitted != want {
				t.Errorf("%d per %v, clocks that differ by %v, %s in turns: %d admitted, want %d", c.limit, c.period, c.difference, name, admitted, want)
			}
		}
	}
}

// A refund that leaves a key untouched, again and again, hands out nothing either: the
// key keeps its time.
func TestUntouchedKeyKeepsItsTime(t *testing.T) {
	t.Parallel()
	const limit = 100
	servers := fleet(t, servers.Memcached(t), []time.Duration{0, time.Hour}, traffikmemcached.WithLogger(slog.New(slog.DiscardHandler)))
	draw, refund := bucketOf(limit, time.Minute, limit), bucketOf(limit, time.Minute, -limit)
	admitted, refunded := 0, 0
	for range 50 {
		for _, server := range servers {
			if dec := take(t, server, draw)[0]; dec.Allowed {
				admitted += limit
				refund.Draw.TakenAt, refund.Draw.FreeAt = dec.At, dec.FreeAt()
			}
		}
		if admitted-refunded >= limit { // the latest draw has not leaked
			take(t, servers[1], refund)
			refunded += limit
		}
	}
	if net := admitted - refunded; net > 2*limit {
		t.Errorf("%d admitted and %d refunded at clocks that stand still, %d remain, want %d at most: the limit, and once more for the difference", admitted, refunded, net, 2*limit)
	}
	if refunded < 10*limit {
		t.Errorf("only %d were refunded, which proves little", refunded)
	}
}

// Servers whose clocks are up to a minute apart draw on one key while time passes: what
// they admit stays in the envelope over the time of the fastest clock, and the largest
// difference.
func TestFleetStaysInTheEnvelope(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t)
	const limit, period = 10, 20 * time.Second
	for name, c := range map[string]struct {
		strategy traffik.Strategy
		envelope func(length time.Duration) int64
	}{
		"TokenBucket":      {traffik.TokenBucket{}, func(l time.Duration) int64 { return limit + int64(l*limit/period) }},
		"GCRA":             {traffik.GCRA{Burst: 3}, func(l time.Duration) int64 { return 3 + int64(l*limit/period) }},
		"FixedWindow":      {traffik.FixedWindow{}, func(l time.Duration) int64 { return limit * (2 + int64(l/period)) }},
		"SlidingWindowLog": {traffik.SlidingWindowLog{}, func(l time.Duration) int64 { return limit * (1 + int64(l/period)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				offsets := []time.Duration{0}
				for range 1 + rnd.IntN(7) {
					offsets = append(offsets, time.Duration(rnd.Int64N(int64(time.Minute))))
				}
				servers := fleet(t, s, offsets)
				draw := bucketOf(limit, period, 1)
				draw.Strategy, draw.Key.Scope = c.strategy, store.ScopeOf("clocks", c.strategy.ID())
				var largest, passed time.Duration
				for _, offset := range offsets {
					largest = max(largest, offset)
				}
				var admitted int64
				for range 150 {
					d := time.Duration(rnd.Int64N(int64(time.Second)))
					passed += d
					for _, server := range servers {
						server.clock.Advance(d)
					}
					for server := servers[rnd.IntN(len(servers))]; take(t, server, draw)[0].Allowed; {
						admitted++
					}
					if most := c.envelope(passed + largest); admitted > most {
						t.Fatalf("seed %d: %d admitted by %d servers up to %v apart in %v, at most %d", seed, admitted, len(servers), largest, passed, most)
					}
				}
				if most := c.envelope(passed); admitted < most/2 {
					t.Errorf("seed %d: only %d of %d were admitted, which proves little", seed, admitted, most)
				}
			}
		})
	}
}

// Several keys of one Take each have a time of their own, and all or nothing holds: the
// one that denies does so at its own time, and the other is answered as a look at its.
func TestKeysOfOneTakeHaveTheirOwnTimes(t *testing.T) {
	t.Parallel()
	servers := fleet(t, servers.Memcached(t), []time.Duration{0, 20 * time.Second, 40 * time.Second})
	slow, middle, fast := servers[0], servers[1], servers[2]
	op := func(id string, cost int64) traffik.Op {
		op := bucketOf(60, time.Minute, cost)
		op.Key.ID = id
		return op
	}
	take(t, middle, op("a", 30))
	take(t, fast, op("b", 60))
	ops := []traffik.Op{op("a", 10), op("b", 5), op("c", 1)}
	want := []traffik.Decision{
		{Allowed: true, Limit: 60, Remaining: 30, ResetAfter: 50 * time.Second, At: middle.clock.Now(), Ahead: 20 * time.Second},
		{Limit: 60, RetryAfter: 45 * time.Second, ResetAfter: 100 * time.Second, At: fast.clock.Now(), Ahead: 40 * time.Second},
		{Allowed: true, Limit: 60, Remaining: 60, At: slow.clock.Now()},
	}
	wantAnswers(t, "denied", slow, ops, want)

	ops = []traffik.Op{op("a", 10), op("b", -20), op("c", 1)}
	want[0].Remaining, want[0].ResetAfter = 20, 60*time.Second
	want[1] = traffik.Decision{Allowed: true, Limit: 60, Remaining: 20, ResetAfter: 80 * time.Second, At: fast.clock.Now(), Ahead: 40 * time.Second}
	want[2].Remaining, want[2].ResetAfter = 59, time.Second
	wantAnswers(t, "admitted", slow, ops, want)
	look := []traffik.Op{op("a", 0), op("b", 0), op("c", 0)}
	want[1].ResetAfter, want[1].Ahead = 40*time.Second, 0
	want[0].Remaining, want[0].ResetAfter, want[0].At, want[0].Ahead = 40, 20*time.Second, fast.clock.Now(), 0
	want[2].Remaining, want[2].ResetAfter, want[2].At = 60, 0, fast.clock.Now()
	wantAnswers(t, "looked at by the fastest", fast, look, want)
}

// wantAnswers takes ops and checks the answers and the times that the ops were drawn at.
func wantAnswers(t *testing.T, what string, b traffik.Backend, ops []traffik.Op, want []traffik.Decision) {
	t.Helper()
	for i, dec := range take(t, b, ops...) {
		if dec != want[i] {
			t.Errorf("%s, op %d:\n got %+v\nwant %+v", what, i, dec, want[i])
		}
		if ops[i].Draw.Now != want[i].At {
			t.Errorf("%s, op %d: Draw.Now is %d, want %d", what, i, ops[i].Draw.Now, want[i].At)
		}
	}
}

// On what a clock that ran ahead wrote, the wait that is told never outlasts the item:
// Memcached forgets it by its own clock.
func TestRetryAfterEndsWhenTheItemExpires(t *testing.T) {
	t.Parallel()
	fake := fakememcached.New()
	t.Cleanup(fake.Close)
	client := fake.Client()
	t.Cleanup(func() { _ = client.Close() })
	const skew = 30 * time.Second
	for ahead, want := range map[time.Duration]time.Duration{
		0:                10 * time.Second,
		20 * time.Second: 30 * time.Second,
		84 * time.Second: 93 * time.Second, // ResetAfter of 60 s, WithMaxSkew, 3 s
		time.Hour:        93 * time.Second,
	} {
		now := time.Now()
		ns, quiet := traffikmemcached.WithNamespace(namespace(t)), traffikmemcached.WithLogger(slog.New(slog.DiscardHandler))
		at := func(clock traffik.Clock) *traffikmemcached.Backend {
			return newBackend(t, client, ns, quiet, traffikmemcached.WithMaxSkew(skew), traffikmemcached.WithClock(clock))
		}
		own := traffiktest.NewClock(now)
		honest, fast := at(own), at(traffiktest.NewClock(now.Add(ahead)))
		take(t, fast, bucketOf(6, time.Minute, 6))
		draw := bucketOf(6, time.Minute, 1)
		dec := take(t, honest, draw)[0]
		if dec.Allowed || dec.RetryAfter != want || dec.ResetAfter != time.Minute+ahead || dec.Ahead != ahead {
			t.Errorf("%v behind: %+v, want a wait of %v and a reset after %v", ahead, dec, want, time.Minute+ahead)
		}
		never := take(t, honest, bucketOf(6, time.Minute, 7))[0]
		if never.RetryAfter != traffik.Never {
			t.Errorf("%v behind, a cost above the burst: %+v, want Never", ahead, never)
		}
		own.Advance(want)
		fake.Advance(want)
		if dec := take(t, honest, draw)[0]; !dec.Allowed {
			t.Errorf("%v behind, after the wait of %v that was told: %+v", ahead, want, dec)
		}
	}
}

// inMemory returns servers whose clocks are ahead by offsets, on a Memcached in memory,
// and a function that lets time pass everywhere.
func inMemory(t *testing.T, offsets ...time.Duration) (fleet []appServer, pass func(time.Duration)) {
	t.Helper()
	fake := fakememcached.New()
	t.Cleanup(fake.Close)
	client := fake.Client()
	t.Cleanup(func() { _ = client.Close() })
	begin, ns := time.Now(), traffikmemcached.WithNamespace(namespace(t))
	for _, offset := range offsets {
		clock := traffiktest.NewClock(begin.Add(offset))
		b := newBackend(t, client, ns, traffikmemcached.WithClock(clock), traffikmemcached.WithLogger(slog.New(slog.DiscardHandler)))
		fleet = append(fleet, appServer{b, clock})
	}
	return fleet, func(d time.Duration) {
		fake.Advance(d)
		for _, server := range fleet {
			server.clock.Advance(d)
		}
	}
}

// drainAll lets all servers draw all they are let, one after the other.
func drainAll(t *testing.T, servers []appServer, op func(cost int64) traffik.Op) (admitted int64) {
	t.Helper()
	for _, server := range servers {
		if left := take(t, server, op(0))[0].Remaining; left > 0 {
			take(t, server, op(left))
			admitted += left
		}
	}
	return admitted
}

// A clock that is as far behind as WithMaxSkew allows finds the item still there when it
// needs it: whenever the others are done with it, nothing begins anew.
func TestSlowestClockFindsTheItem(t *testing.T) {
	t.Parallel()
	const limit, difference, cycles = 100, time.Minute, 20
	for _, pause := range []time.Duration{0, 3 * time.Second, 30 * time.Second, 59 * time.Second, 63 * time.Second} {
		servers, pass := inMemory(t, 0, difference)
		var admitted int64
		var passed time.Duration
		for range cycles {
			admitted += drainAll(t, servers, func(cost int64) traffik.Op { return bucketOf(limit, time.Minute, cost) })
			pass(time.Minute + pause)
			passed += time.Minute + pause
		}
		if most := limit + int64((passed+difference)*limit/time.Minute); admitted > most || admitted < cycles*limit {
			t.Errorf("with pauses of %v after each reset %d are admitted, at most %d", pause, admitted, most)
		}
	}
}

// Clocks further apart than WithMaxSkew, the slowest first: each time the item expires
// the bound begins anew, and a bucket hands out one limit more for each further server.
func TestClocksFurtherApartBeginAnewAtEachExpiry(t *testing.T) {
	t.Parallel()
	const limit, cycles = 100, 20
	for _, n := range []int{2, 8} {
		var offsets []time.Duration
		for i := range n {
			offsets = append(offsets, time.Duration(i)*10*time.Minute)
		}
		servers, pass := inMemory(t, offsets...)
		const pause = time.Minute + time.Minute + 3*time.Second // ResetAfter, WithMaxSkew, 3 s
		var admitted int64
		for range cycles {
			if got := drainAll(t, servers, func(cost int64) traffik.Op { return bucketOf(limit, time.Minute, cost) }); got != int64(n)*limit {
				t.Errorf("%d servers: %d admitted between two expiries, want a limit each", n, got)
			} else {
				admitted += got
			}
			pass(pause)
		}
		expiries, largest := int64(cycles-1), offsets[n-1]
		once := limit + int64((time.Duration(expiries)*pause+largest)*limit/time.Minute)
		if most := once + expiries*int64(n-1)*limit; admitted > most {
			t.Errorf("%d servers: %d admitted, at most %d", n, admitted, most)
		}
		if few := once + expiries*limit; n > 2 && admitted <= few {
			t.Errorf("%d servers: %d admitted; one limit for each expiry, %d, would do", n, admitted, few)
		}
	}
}

// Reset and ResetNamespace forget a key's time with its state: the cure for what a clock
// that ran ahead left.
func TestResetForgetsTheTime(t *testing.T) {
	t.Parallel()
	servers := fleet(t, servers.Memcached(t), []time.Duration{0, time.Hour}, traffikmemcached.WithLogger(slog.New(slog.DiscardHandler)))
	honest, fast := servers[0], servers[1]
	draw := bucketOf(100, time.Minute, 100)
	for name, reset := range map[string]func() error{
		"Reset":          func() error { return honest.Reset(t.Context(), draw.Key) },
		"ResetNamespace": func() error { return honest.ResetNamespace(t.Context()) },
	} {
		take(t, fast, draw)
		if dec := take(t, honest, draw)[0]; dec.Allowed || dec.Ahead != time.Hour {
			t.Errorf("%s: before it %+v, want a denial an hour ahead", name, dec)
		}
		if err := reset(); err != nil {
			t.Fatal(err)
		}
		if dec := take(t, honest, draw)[0]; !dec.Allowed || dec.At != honest.clock.Now() || dec.Ahead != 0 || dec.RetryAfter != 0 {
			t.Errorf("%s: after it %+v, want 100 admitted at this server's own time", name, dec)
		}
		if err := reset(); err != nil {
			t.Fatal(err)
		}
	}
}

// Describe sees a key at the key's time.
func TestStatesAreReadAtTheKeysTime(t *testing.T) {
	t.Parallel()
	servers := fleet(t, servers.Memcached(t), []time.Duration{0, 20 * time.Second})
	throttle, err := traffik.New("described", "60/min", traffik.WithBackend(servers[0]), traffik.WithStrategy(traffik.TokenBucket{}))
	if err != nil {
		t.Fatal(err)
	}
	op := bucketOf(60, time.Minute, 30)
	op.Key = traffik.Key{Scope: store.ScopeOf("described", op.Strategy.ID()), ID: "user:1"}
	at := take(t, servers[1], op)[0].At
	states, now, err := servers[0].ReadStates(t.Context(), []traffik.Key{opOf("unknown", 0).Key, op.Key}, nil)
	if err != nil || now != at || states[0] != nil || states[1] == nil {
		t.Errorf("states %x at %d, %v; want the second one's at %d", states, now, err, at)
	}
	info, err := throttle.Key("user:1").Describe(t.Context())
	if bucket, ok := info.(traffik.BucketInfo); err != nil || !ok || bucket.Level != 30 {
		t.Errorf("Describe: %+v, %v; want a level of 30", info, err)
	}
}

// records is a handler that keeps what is logged.
type records struct {
	mu   sync.Mutex
	text []string
}

func (*records) Enabled(context.Context, slog.Level) bool { return true }
func (r *records) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r *records) WithGroup(string) slog.Handler          { return r }

func (r *records) Handle(_ context.Context, record slog.Record) error {
	text := record.Level.String() + " " + record.Message
	record.Attrs(func(attr slog.Attr) bool {
		text += " " + attr.String()
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = append(r.text, text)
	return nil
}

func (r *records) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.text...)
}

// Clocks that differ by more than WithMaxSkew are logged with the cure, once a minute,
// by draws and looks; smaller differences are not. Nothing in it names a client.
func TestClocksApartAreLogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		fake := fakememcached.New()
		defer fake.Close()
		client := fake.Client()
		defer func() { _ = client.Close() }()
		logged := new(records)
		var backends []*traffikmemcached.Backend
		for _, ahead := range []time.Duration{0, time.Minute, time.Minute + time.Microsecond} {
			b, err := traffikmemcached.New(client,
				traffikmemcached.WithClock(traffiktest.NewClock(time.Now().Add(ahead))), traffikmemcached.WithLogger(slog.New(logged)))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Close() }()
			backends = append(backends, b)
		}
		slow, minute, fast := backends[0], backends[1], backends[2]
		take(t, minute, bucketOf(100, time.Minute, 1))
		take(t, slow, bucketOf(100, time.Minute, 1))
		if got := logged.all(); len(got) != 0 {
			t.Errorf("a minute apart, which is allowed, and logged: %q", got)
		}
		want := 0
		for range 3 {
			take(t, fast, bucketOf(100, time.Minute, 1))
			want++
			for range 5 {
				take(t, slow, bucketOf(100, time.Minute, 1))
				if err := slow.Peek(t.Context(), []traffik.Op{bucketOf(100, time.Minute, 1)}, make([]traffik.Decision, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if got := logged.all(); len(got) != want {
				t.Fatalf("%d records, want %d: %q", len(got), want, got)
			}
			time.Sleep(time.Minute - time.Microsecond) //nolint:forbidigo // inside a bubble
			take(t, slow, bucketOf(100, time.Minute, 1))
			if got := logged.all(); len(got) != want {
				t.Fatalf("%d records within a minute, want %d", len(got), want)
			}
			time.Sleep(time.Microsecond) //nolint:forbidigo // inside a bubble
		}
		got := logged.all()[0]
		for _, part := range []string{"WARN traffik: memcached: ", "NTP", "Reset", "ahead=1m0.000001s", "max_skew=1m0s", "scope=clocks|token_bucket.1"} {
			if !strings.Contains(got, part) {
				t.Errorf("the record %q lacks %q", got, part)
			}
		}
		if strings.Contains(got, "hot") {
			t.Errorf("the record %q names a client", got)
		}
	})
}
