package redistest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// move is a slot of a Cluster on its way to another master.
type move struct {
	*testing.T
	client   *redis.ClusterClient
	slot     int64
	from, to *redis.Client
}

// startMove begins to move the slot of a hash tag.
func startMove(t *testing.T, client *redis.ClusterClient, tag string) *move {
	t.Helper()
	m := &move{T: t, client: client}
	m.from = newClient(t, masterOf(t, client, tag))
	for i := 0; m.to == nil; i++ {
		if addr := masterOf(t, client, fmt.Sprint("other", i)); addr != m.from.Options().Addr {
			m.to = newClient(t, addr)
		}
	}
	m.slot = client.ClusterKeySlot(t.Context(), tag).Val()
	m.do(m.to, "cluster", "setslot", m.slot, "importing", m.id(m.from))
	m.do(m.from, "cluster", "setslot", m.slot, "migrating", m.id(m.to))
	return m
}

func (m *move) id(node *redis.Client) string {
	m.Helper()
	id, err := node.Do(m.Context(), "cluster", "myid").Text()
	if err != nil {
		m.Fatal(err)
	}
	return id
}

func (m *move) do(node *redis.Client, args ...any) {
	m.Helper()
	if err := node.Do(m.Context(), args...).Err(); err != nil {
		m.Fatalf("%v: %v", args, err)
	}
}

// finish moves the keys and tells all masters.
func (m *move) finish() {
	m.Helper()
	keys, err := m.from.ClusterGetKeysInSlot(m.Context(), int(m.slot), 1000).Result()
	if err != nil {
		m.Fatal(err)
	}
	host, port, _ := strings.Cut(m.to.Options().Addr, ":")
	for _, key := range keys {
		m.do(m.from, "migrate", host, port, key, 0, 5000)
	}
	m.do(m.to, "cluster", "setslot", m.slot, "node", m.id(m.to))
	m.do(m.from, "cluster", "setslot", m.slot, "node", m.id(m.to))
}

// TestSlotMoves: while a slot moves, callers whose keys lie at its old server and
// those whose lie at the new one are admitted, also in one round trip, and what
// they drew moves along.
func TestSlotMoves(t *testing.T) {
	t.Parallel()
	client := newClusterClient(t, servers.RedisCluster(t).Addrs())
	j := newJamOn(t, client, []string{"plug1", "plug2"}, traffikredis.WithSlot("tenant"))
	m := startMove(t, client, "tenant")
	old := []string{"warm", "plug1", "plug2"}
	var waiting []<-chan taken
	for _, id := range append([]string{"new1", "new2"}, old...) {
		waiting = append(waiting, j.take(t.Context(), draws(id, 1)))
	}
	j.release()
	for i, done := range waiting {
		want := int64(1) // of three, one drawn before
		if i < 2 {
			want = 2
		}
		if got := <-done; got.err != nil || got.out[0].Remaining != want {
			t.Errorf("call %d while its slot moves: %+v, want %d remaining", i, got, want)
		}
	}
	m.finish()
	for i, id := range append([]string{"new1", "new2"}, old...) {
		want := int64(0)
		if i < 2 {
			want = 1
		}
		if got := take(t, j.backend, draws(id, 1)...)[0]; got.Remaining != want {
			t.Errorf("%s after its slot moved: %+v, want %d remaining", id, got, want)
		}
	}
}

// TestNeighboursOfAMovingSlot: a Take of two throttles whose keys are at two servers
// while their slot moves is decided key by key, all or nothing, and costs those that
// went with it nothing.
func TestNeighboursOfAMovingSlot(t *testing.T) {
	t.Parallel()
	client := newClusterClient(t, servers.RedisCluster(t).Addrs())
	var near []string // ids at one master, in slots of their own
	for i := 0; len(near) < 4; i++ {
		if id := fmt.Sprint("id", i); masterOf(t, client, id) == masterOf(t, client, "id0") {
			near = append(near, id)
		}
	}
	moving, neighbour := near[2], near[3]
	namespace := traffikredis.WithNamespace("moving")
	take(t, newBackend(t, client, namespace), in("u", moving, 1))
	j := newJamOn(t, client, near[:2], namespace)
	m := startMove(t, client, moving)
	two := j.take(t.Context(), []traffik.Op{in("u", moving, 1), in("v", moving, 1)}) // one here, one nowhere yet
	lone := j.take(t.Context(), []traffik.Op{in("u", neighbour, 1)})
	j.release()
	if got := <-lone; got.err != nil || got.out[0].Remaining != 9 {
		t.Errorf("the neighbour: %+v, want 9 of 10 remaining", got)
	}
	if got := left(t, j.backend, in("u", neighbour, 1)); got != 9 {
		t.Errorf("%d of the neighbour's remain, want 9", got)
	}
	if got := <-two; got.err != nil || got.out[0].Remaining != 8 || got.out[1].Remaining != 9 {
		t.Errorf("two throttles of which one has moved: %+v, want 8 and 9 remaining", got)
	}
	out := take(t, j.backend, in("u", moving, 9), in("v", moving, 1), in("w", moving, 1))
	if out[0].Allowed || out[1].Remaining != 9 || out[2].Remaining != 10 {
		t.Errorf("%+v, want the first to deny all", out)
	}
	m.finish()
	out = take(t, j.backend, in("u", moving, 1), in("v", moving, 1), in("w", moving, 1))
	if out[0].Remaining != 7 || out[1].Remaining != 8 || out[2].Remaining != 9 {
		t.Errorf("after the move: %+v, want 7, 8 and 9 remaining", out)
	}
}

// TestRefundsWhileASlotMoves: a refund over several slots is made once each, also if the
// keys of one lie at two servers. A reset finds keys at both.
func TestRefundsWhileASlotMoves(t *testing.T) {
	t.Parallel()
	client := newClusterClient(t, servers.RedisCluster(t).Addrs())
	const moving = "id"
	other := ""
	for i := 0; other == ""; i++ {
		if id := fmt.Sprint("other", i); masterOf(t, client, id) != masterOf(t, client, moving) {
			other = id
		}
	}
	backend := newBackend(t, client, traffikredis.WithNamespace("refunds"))
	take(t, backend, in("u", moving, 5), in("u", other, 9))
	m := startMove(t, client, moving)
	take(t, backend, in("v", moving, 5)) // at the new server
	take(t, backend, in("u", moving, -1), in("v", moving, -1), in("u", other, -1))
	all := []traffik.Op{in("u", moving, 1), in("v", moving, 1), in("u", other, 1)}
	for i, want := range []int64{6, 6, 2} {
		if got := left(t, backend, all[i]); got != want {
			t.Errorf("key %d: %d remain after one refund, want %d", i, got, want)
		}
	}
	states, _, err := backend.ReadStates(t.Context(), []traffik.Key{all[0].Key, all[1].Key, all[2].Key}, nil)
	if err != nil || len(states[0]) == 0 || len(states[1]) == 0 || len(states[2]) == 0 {
		t.Errorf("the states are %x, %v", states, err)
	}
	if err := backend.ResetNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if got := left(t, backend, all[i]); got != 10 {
			t.Errorf("key %d: %d remain after a reset, want 10", i, got)
		}
	}
	m.finish()
}
