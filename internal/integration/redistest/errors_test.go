package redistest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/core/backendtest"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// wantError takes by script and in Go, and wants errors of kind from both.
func wantError(t *testing.T, backend traffik.Backend, kind error) {
	t.Helper()
	inGo := in("go", "a", 1)
	inGo.Strategy = advanced.Tiered{}
	for _, op := range []traffik.Op{in("lua", "a", 1), inGo} {
		err := backend.Take(t.Context(), []traffik.Op{op}, make([]traffik.Decision, 1))
		if !errors.Is(err, kind) || !errors.Is(err, traffik.ErrBackend) {
			t.Errorf("%s: error %v, want one of the kind %v", op.Strategy.ID(), err, kind)
		}
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close() // nobody listens there now
	client := newClient(t, listener.Addr().String())
	backend := newBackend(t, client)
	wantError(t, backend, traffikredis.ErrUnreachable)
	slow, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := backend.Take(slow, draws("a", 1), make([]traffik.Decision, 1)); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v looks as if the caller's context had ended", err)
	}
	if err := backend.Reset(t.Context(), in("u", "a", 1).Key); !errors.Is(err, traffikredis.ErrUnreachable) {
		t.Errorf("Reset: %v", err)
	}
	if err := backend.ResetNamespace(t.Context()); !errors.Is(err, traffikredis.ErrUnreachable) {
		t.Errorf("ResetNamespace: %v", err)
	}
	if _, _, err := backend.ReadStates(t.Context(), []traffik.Key{in("u", "a", 1).Key}, nil); !errors.Is(err, traffikredis.ErrUnreachable) {
		t.Errorf("ReadStates: %v", err)
	}
}

// silent is a server that takes connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// TestTimeout: the client's own time runs out. A caller whose context ends first
// gets that, and no error of the store.
func TestTimeout(t *testing.T) {
	t.Parallel()
	client := newClientOf(t, &redis.Options{Addr: silent(t), ReadTimeout: time.Second, MaxRetries: -1})
	backend := newBackend(t, client)
	wantError(t, backend, traffikredis.ErrTimeout)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	err := backend.Take(ctx, []traffik.Op{in("u", "a", 1)}, make([]traffik.Decision, 1))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, traffik.ErrBackend) {
		t.Errorf("with a deadline: %v, want the context's alone", err)
	}
}

// TestOutOfMemory: nothing is drawn, of several ops none.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client)
	take(t, backend, in("lua", "a", 1), in("b", "a", 1))
	if err := client.ConfigSet(t.Context(), "maxmemory", "1000").Err(); err != nil { // less than it needs empty
		t.Fatal(err)
	}
	wantError(t, backend, traffikredis.ErrMemory)
	if err := backend.Take(t.Context(), []traffik.Op{in("lua", "a", 1), in("b", "a", 1)}, make([]traffik.Decision, 2)); !errors.Is(err, traffikredis.ErrMemory) {
		t.Errorf("two ops: %v, want ErrMemory", err)
	}
	if a, b := left(t, backend, in("lua", "a", 0)), left(t, backend, in("b", "a", 0)); a != 9 || b != 9 {
		t.Errorf("%d and %d remain after Takes that failed, want 9 each", a, b)
	}
}

func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client)
	take(t, backend, in("lua", "a", 1))
	if err := client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	wantError(t, backend, traffikredis.ErrReadOnly)
	if err := client.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	take(t, backend, in("lua", "a", 1))
}

// rights are those that docs/redis.md documents for the namespace app.
const rights = "resetkeys ~app:{* resetchannels -@all +evalsha +eval +mget +set +unlink +time +pttl +pexpire +scan"

// TestRights runs the conformance suite as a user with no more rights than the
// documentation asks for, and misses each of them once.
func TestRights(t *testing.T) {
	t.Parallel()
	addr := servers.Redis(t, servers.Own()).Addr
	admin := newClient(t, addr)
	login := func(t *testing.T, name, rules string) *redis.Client {
		t.Helper()
		args := []any{"acl", "setuser", name, "on", ">secret"}
		for _, rule := range strings.Fields(rules) {
			args = append(args, rule)
		}
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
		return newClientOf(t, &redis.Options{Addr: addr, Username: name, Password: "secret"})
	}
	app := login(t, "app", rights)
	t.Run("enough", func(t *testing.T) {
		backendtest.Run(t, backendtest.Features{}, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
			t.Helper()
			return quietReset{newBackend(t, app, traffikredis.WithNamespace("app"))}, nil
		})
		if err := newBackend(t, app, traffikredis.WithNamespace("app")).ResetNamespace(t.Context()); err != nil {
			t.Error(err)
		}
	})
	for _, missing := range []string{"+evalsha", "+mget", "+set", "+time", "~app:{*"} {
		t.Run("without "+missing, func(t *testing.T) {
			client := login(t, "poor"+missing[1:], strings.Replace(rights, missing, "", 1))
			wantError(t, newBackend(t, client, traffikredis.WithNamespace("app")), traffikredis.ErrPermission)
		})
	}
}

// TestRightsInCluster: the same with what a Cluster's client needs besides.
func TestRightsInCluster(t *testing.T) {
	t.Parallel()
	cluster := servers.RedisCluster(t)
	for _, addr := range cluster.Addrs() {
		args := []any{"acl", "setuser", "app", "on", ">secret"}
		for _, rule := range strings.Fields(rights + " +cluster|slots +asking") {
			args = append(args, rule)
		}
		if err := newClient(t, addr).Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	client := newClusterClientOf(t, &redis.ClusterOptions{Addrs: cluster.Addrs(), Username: "app", Password: "secret"})
	backend := newBackend(t, client, traffikredis.WithNamespace("app"))
	inGo := in("go", "b", 1)
	inGo.Strategy = advanced.Tiered{}
	for range 3 {
		take(t, backend, in("u", "a", 1), in("u", "b", 1), in("u", "c", 1), inGo)
	}
	if err := backend.Reset(t.Context(), in("u", "a", 1).Key, in("u", "b", 1).Key); err != nil {
		t.Error(err)
	}
	if a, c := left(t, backend, in("u", "a", 1)), left(t, backend, in("u", "c", 1)); a != 10 || c != 7 {
		t.Errorf("%d and %d left after a reset of the first, want 10 and 7", a, c)
	}
	if err := backend.ResetNamespace(t.Context()); err != nil {
		t.Error(err)
	}
	if c := left(t, backend, in("u", "c", 1)); c != 10 {
		t.Errorf("%d left after a reset of the namespace, want 10", c)
	}
}

// quietReset is a backend without the power to reset its namespace, which it
// shares with others here.
type quietReset struct{ traffik.Backend }

// TestNamespaces: resetting one leaves the others alone, on every master, with
// characters that mean something to SCAN in their names.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	single := newClient(t, servers.Redis(t, servers.Own()).Addr)
	cluster := newClusterClient(t, servers.RedisCluster(t).Addrs())
	for where, client := range map[string]redis.UniversalClient{"one server": single, "a cluster": cluster} {
		t.Run(where, func(t *testing.T) {
			names := []string{"a", "a*", "a:b", "[ab]", "a?", "{"}
			var backends []*traffikredis.Backend
			for _, name := range names {
				backend := newBackend(t, client, traffikredis.WithNamespace(name))
				backends = append(backends, backend)
				for i := range 2000 {
					if i > 50 && name != "a*" { // one that takes more than one SCAN
						break
					}
					take(t, backend, in("u", fmt.Sprint("id", i), 3))
				}
			}
			slot := newBackend(t, client, traffikredis.WithNamespace("a*"), traffikredis.WithSlot("tenant"))
			take(t, slot, in("u", "id1", 3))
			beside := newBackend(t, client, traffikredis.WithNamespace("b"))
			tenant := newBackend(t, client, traffikredis.WithNamespace("b"), traffikredis.WithSlot("acme"))
			for _, id := range []string{"", "acme", "x"} {
				take(t, beside, in("u", id, 3))
				take(t, tenant, in("u", id, 3))
			}
			if err := tenant.ResetNamespace(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"", "acme", "x"} {
				if without, within := left(t, beside, in("u", id, 1)), left(t, tenant, in("u", id, 1)); without != 7 || within != 10 {
					t.Errorf("%q after a reset of a slot: %d left without it, %d within, want 7 and 10", id, without, within)
				}
			}
			if err := backends[1].ResetNamespace(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i, backend := range backends {
				for _, id := range []string{"id0", "id7", "id50"} {
					if got, want := left(t, backend, in("u", id, 1)), map[bool]int64{true: 10, false: 7}[i == 1]; got != want {
						t.Errorf("%s of the namespace %q has %d left, want %d", id, names[i], got, want)
					}
				}
			}
			if got := left(t, slot, in("u", "id1", 1)); got != 10 {
				t.Errorf("a slot of the namespace has %d left, want 10", got)
			}
		})
	}
}

// TestExpiry: every key that is written expires, one that lost its expiry gets it
// back from a draw that is denied, and what expired longs ago denies nobody.
func TestExpiry(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client)
	for name, strategies := range twins {
		for i, s := range strategies {
			op := in(fmt.Sprint(name, i), "a", 1)
			op.Strategy, op.Draw.Rate = s, traffik.Per(1, time.Hour)
			if !take(t, backend, op)[0].Allowed {
				t.Errorf("%s: denied at once", name)
			}
			op.Draw.Cost = traffik.MaxUnits
			for _, key := range client.Keys(t.Context(), "*").Val() {
				ttl := client.PTTL(t.Context(), key).Val()
				if ttl <= 0 || ttl > 2*time.Hour+time.Second {
					t.Errorf("%s: the expiry of %s is %v", name, key, ttl)
				}
				client.Persist(t.Context(), key)
				take(t, backend, op)
				if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 {
					t.Errorf("%s: %s did not get its expiry back", name, key)
				}
				client.Persist(t.Context(), key)
				take(t, backend, in("beside", "a", 0), op)
				if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 {
					t.Errorf("%s: %s did not get its expiry back in a Take of two", name, key)
				}
			}
			client.FlushAll(t.Context())
		}
	}
	inGo := in("go", "a", 1)
	inGo.Strategy = advanced.Tiered{}
	take(t, backend, inGo)
	inGo.Draw.Cost = 10
	key := client.Keys(t.Context(), "*").Val()[0]
	client.Persist(t.Context(), key)
	if take(t, backend, inGo)[0].Allowed {
		t.Error("eleven of ten were admitted")
	}
	if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 {
		t.Errorf("%s did not get its expiry back from a denial in Go", key)
	}
	client.FlushAll(t.Context())
	short := in("short", "a", 1)
	short.Draw.Rate = traffik.Per(1, 20*time.Millisecond)
	// It may be gone before it is made to stay: at the end of its window, and on a
	// machine that stalls.
	for stays := false; !stays; {
		take(t, backend, short)
		for _, key := range client.Keys(t.Context(), "*").Val() {
			stays = client.Persist(t.Context(), key).Val()
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
	for !take(t, backend, short)[0].Allowed {
		time.Sleep(time.Millisecond) //nolint:forbidigo // Redis' clock goes by itself
	}
}

// TestWrongType: a key that holds something else reads as untouched.
func TestWrongType(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t).Addr)
	backend := newBackend(t, client, traffikredis.WithNamespace("wrong"))
	inGo := in("go", "a", 1)
	inGo.Strategy = advanced.Tiered{}
	for _, op := range []traffik.Op{in("lua", "a", 1), inGo} {
		if err := client.RPush(t.Context(), "wrong:{a}!"+op.Key.Scope.Value(), "x").Err(); err != nil {
			t.Fatal(err)
		}
		if dec := take(t, backend, op)[0]; !dec.Allowed || dec.Remaining != 9 {
			t.Errorf("%s: %+v on a list, want it as untouched", op.Strategy.ID(), dec)
		}
		if got := left(t, backend, op); got != 9 {
			t.Errorf("%s: %d left afterwards, want 9", op.Strategy.ID(), got)
		}
	}
}

// TestAppBeforeRedis: an app starts while Redis is down; limits begin with it.
func TestAppBeforeRedis(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.Own())
	server.Kill()
	limit := traffik.MustNew("early", "3/h", traffik.WithBackend(newBackend(t, newClient(t, server.Addr))))
	if res, err := limit.Key("a").Hit(t.Context()); err != nil || res.Outcome != traffik.FailedOpen || !errors.Is(res.Err, traffikredis.ErrUnreachable) {
		t.Errorf("while Redis is down: %+v, %v; want it to fail open", res, err)
	}
	server.Restart()
	for i := range 5 {
		if res, err := limit.Key("a").Hit(t.Context()); err != nil || res.Allowed != (i < 3) {
			t.Errorf("hit %d: %+v, %v", i, res, err)
		}
	}
}

// TestConstructor makes no call and says what is wrong.
func TestConstructor(t *testing.T) {
	t.Parallel()
	var none *redis.Client
	client := newClient(t, silent(t))
	for what, err := range map[string]error{
		"no client":    second(traffikredis.New(nil)),
		"a nil client": second(traffikredis.New(none)),
		"no namespace": second(traffikredis.New(client, traffikredis.WithNamespace(""))),
		"no slot":      second(traffikredis.New(client, traffikredis.WithSlot(""))),
		"no clock":     second(traffikredis.New(client, traffikredis.WithClock(nil))),
	} {
		if !errors.Is(err, traffik.ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", what, err)
		}
	}
	backend := newBackend(t, client)
	if err := backend.Close(); err != nil {
		t.Error(err)
	}
	if err := client.Close(); err != nil {
		t.Errorf("the client was closed: %v", err)
	}
}

func second(_ *traffikredis.Backend, err error) error { return err }

// TestShortRateLengthens: a key that was written under a short rate stays for as long
// as a denial under a longer one says.
func TestShortRateLengthens(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client)
	all := maps.Clone(twins)
	all["in Go"] = []traffik.Strategy{advanced.Tiered{}}
	for name, strategies := range all {
		for i, s := range strategies {
			op := in(fmt.Sprint(name, i), "a", 1)
			op.Strategy, op.Draw.Rate = s, traffik.Per(1, time.Minute)
			take(t, backend, op)
			op.Draw.Rate = traffik.Per(1, long)
			key := client.Keys(t.Context(), "*").Val()[0]
			for _, with := range [][]traffik.Op{nil, {in("beside", "a", 0)}, nil} {
				op.Draw.Cost = traffik.MaxUnits + 1 - op.Draw.Cost // large, 1, large
				client.PExpire(t.Context(), key, time.Minute)
				out := take(t, backend, append(with, op)...)
				want := out[len(out)-1].ResetAfter
				if ttl := client.PTTL(t.Context(), key).Val(); ttl < want-10*time.Second || want < time.Hour {
					t.Errorf("%s: %s expires in %v, %v before it is as if untouched", name, key, ttl, want-ttl)
				}
			}
			client.FlushAll(t.Context())
		}
	}
}

// TestMemoryIsReachedByOthers: whoever is denied needs no memory, and is told so when
// others that went along do.
func TestMemoryIsReachedByOthers(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	j := newJamOn(t, client, []string{"plug1", "plug2"})
	j.release()
	take(t, j.backend, draws("used", 3)...)
	client.ConfigSet(t.Context(), "maxmemory", "1")
	j.open = j.gate.close()
	for _, id := range []string{"plug1", "plug2"} {
		go func() { j.plugs <- j.backend.Peek(t.Context(), draws(id, 1), make([]traffik.Decision, 1)) }()
		<-j.gate.arrived
	}
	fresh, used := j.take(t.Context(), draws("fresh", 1)), j.take(t.Context(), draws("used", 1))
	j.release()
	if got := <-fresh; !errors.Is(got.err, traffikredis.ErrMemory) {
		t.Errorf("a new key without memory for it: %+v, want ErrMemory", got)
	}
	if got := <-used; got.err != nil || got.out[0].Allowed {
		t.Errorf("a denied caller beside it: %+v, want a denial", got)
	}
}

// TestLongLogsOfAHigherLimit: logs that were filled under a higher limit do not hold up
// everybody else by being read together.
func TestLongLogsOfAHigherLimit(t *testing.T) {
	t.Parallel()
	const entries = 8000
	addr := servers.Redis(t, servers.Own()).Addr
	client := newClient(t, addr)
	op := func(i int, limit int64) []traffik.Op {
		op := in("u", fmt.Sprint("log", i), 1)
		op.Strategy, op.Draw.Rate = traffik.SlidingWindowLog{}, traffik.Per(limit, time.Hour)
		return []traffik.Op{op}
	}
	namespace := traffikredis.WithNamespace("logs")
	j := newJamOn(t, newClient(t, addr), []string{"plug1", "plug2"}, namespace)
	state := []byte{'W'}
	now := time.Now().UnixMicro()
	for i := range int64(entries) {
		state = binary.LittleEndian.AppendUint64(state, math.Float64bits(float64(now-entries+i)))
		state = binary.LittleEndian.AppendUint64(state, math.Float64bits(1))
	}
	var waiting []<-chan taken
	for i := range 20 {
		take(t, newBackend(t, client, namespace), op(i, entries)...)
	}
	for _, key := range client.Keys(t.Context(), "*log*").Val() {
		client.Set(t.Context(), key, state, time.Hour)
	}
	client.ConfigResetStat(t.Context())
	for i := range 20 {
		waiting = append(waiting, j.take(t.Context(), op(i, 10)))
	}
	j.release()
	for i, done := range waiting {
		if got := <-done; got.err != nil || got.out[0].Allowed {
			t.Errorf("call %d: %+v, want a denial", i, got)
		}
	}
	if n := commands(t, client)["evalsha"]; n < 20 {
		t.Errorf("%d scripts read 20 logs of %d entries", n, entries)
	}
}
