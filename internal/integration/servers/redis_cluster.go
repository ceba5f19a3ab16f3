package servers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	clusterMasters = 3
	clusterNodes   = 2 * clusterMasters
	slots          = 16384
	// groupTimeout bounds how long servers may take to find each other.
	groupTimeout = 2 * time.Minute
	// nodeTimeout is the time after which nodes give up a node that does not answer, and
	// its replica takes over.
	nodeTimeout = 2 * time.Second
)

// Cluster is a Redis Cluster of three masters with a replica each. A killed
// master's replica takes over after some four seconds.
type Cluster struct {
	// Nodes are its servers: first the three that were masters at the start,
	// then the replica of each.
	Nodes []*Server
}

// RedisCluster returns a Redis Cluster that takes writes. Arguments go to each
// of its nodes.
func RedisCluster(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	c := newCluster(t, opts)
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	if err := c.join(ctx); err != nil {
		t.Fatalf("servers: Redis Cluster: %v", err)
	}
	t.Logf("servers: Redis Cluster at %s, from %s", strings.Join(c.Addrs(), " "), c.Nodes[0].From)
	return c
}

// newCluster starts the nodes, which don't know each other yet.
func newCluster(t testing.TB, opts []Option) *Cluster {
	t.Helper()
	args := []string{
		"--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
		"--cluster-node-timeout", strconv.FormatInt(nodeTimeout.Milliseconds(), 10),
		// Until all serve, no replica takes over from a master that stalls.
		"--cluster-replica-no-failover", "yes",
		// A replica is announced to clients after its master's first ping.
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}
	nodes, err := group(t, clusterNodes, func(_, port int, dir string) program {
		return program{args: append(redisArgs(port, dir, opts), args...)}
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Cluster{Nodes: nodes}
}

// Addrs returns the addresses of all nodes.
func (c *Cluster) Addrs() []string { return addrs(c.Nodes) }

// Node returns the node that listens on addr, nil for none.
func (c *Cluster) Node(addr string) *Server {
	for _, node := range c.Nodes {
		if node.Addr == addr {
			return node
		}
	}
	return nil
}

func (c *Cluster) join(ctx context.Context) error {
	clients := clientsOf(c.Nodes)
	defer closeAll(clients)
	if err := c.assign(ctx, clients); err != nil {
		return err
	}
	if err := c.introduce(ctx, clients); err != nil {
		return err
	}
	if err := c.meet(ctx, clients); err != nil {
		return err
	}
	return c.replicate(ctx, clients)
}

// assign gives each node its epoch, and the masters their slots.
func (c *Cluster) assign(ctx context.Context, clients []*redis.Client) error {
	for i, client := range clients {
		if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
			return err
		}
	}
	for i, client := range clients[:clusterMasters] {
		if err := client.ClusterAddSlotsRange(ctx, slots*i/clusterMasters, slots*(i+1)/clusterMasters-1).Err(); err != nil {
			return err
		}
	}
	return nil
}

// meet waits until all know each other. A node forgets one that it was told of and
// that stalls for longer than the node timeout, so it is told again.
func (c *Cluster) meet(ctx context.Context, clients []*redis.Client) error {
	for {
		soon, cancel := context.WithTimeout(ctx, 2*nodeTimeout)
		err := each(soon, clients, knowsAll)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := c.introduce(ctx, clients); err != nil {
			return err
		}
	}
}

// replicate gives the masters their replicas, and waits until all serve.
func (*Cluster) replicate(ctx context.Context, clients []*redis.Client) error {
	for i, replica := range clients[clusterMasters:] {
		id, err := clients[i].ClusterMyID(ctx).Result()
		if err != nil {
			return err
		}
		if err := replica.ClusterReplicate(ctx, id).Err(); err != nil {
			return err
		}
	}
	if err := each(ctx, clients[clusterMasters:], linked); err != nil {
		return err
	}
	if err := each(ctx, clients, servesAll); err != nil {
		return err
	}
	for _, client := range clients {
		if err := client.ConfigSet(ctx, "cluster-replica-no-failover", "no").Err(); err != nil {
			return err
		}
	}
	return nil
}

// introduce tells each node about all others, since their gossip would take seconds.
func (c *Cluster) introduce(ctx context.Context, clients []*redis.Client) error {
	for i, client := range clients {
		for _, other := range c.Nodes[i+1:] {
			if err := client.ClusterMeet(ctx, "127.0.0.1", strconv.Itoa(other.Port())).Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// knowsAll: the node has met all others.
func knowsAll(ctx context.Context, client *redis.Client) error {
	text, err := client.ClusterNodes(ctx).Result()
	if err != nil {
		return err
	}
	if strings.Count(text, "\n") != clusterNodes || strings.Contains(text, "handshake") {
		return fmt.Errorf("a node knows only\n%s", text)
	}
	return nil
}

// servesAll: the node takes commands and knows a master and a replica of every
// slot.
func servesAll(ctx context.Context, client *redis.Client) error {
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "cluster_state:ok") {
		return errors.New("the cluster is down")
	}
	ranges, err := client.ClusterSlots(ctx).Result() //nolint:staticcheck // Redis 6.2 knows no CLUSTER SHARDS
	if err != nil {
		return err
	}
	members := 0
	for _, r := range ranges {
		members += len(r.Nodes)
	}
	if len(ranges) != clusterMasters || members != clusterNodes {
		return fmt.Errorf("a node knows only the slots %v", ranges)
	}
	return nil
}

// linked: the replica follows its master.
func linked(ctx context.Context, client *redis.Client) error {
	info, err := client.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "master_link_status:up") {
		return errors.New("a replica does not follow its master")
	}
	return nil
}

// each waits until good holds for every client.
func each(ctx context.Context, clients []*redis.Client, good func(context.Context, *redis.Client) error) error {
	for _, client := range clients {
		for {
			err := good(ctx, client)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return err
			}
			pause(ctx)
		}
	}
	return nil
}

// group starts n Redis servers at once.
func group(t testing.TB, n int, programOf func(i, port int, dir string) program) ([]*Server, error) {
	t.Helper()
	nodes, errs := make([]*Server, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			nodes[i], errs[i] = redisKind.launch(t, func(port int, dir string) program { return programOf(i, port, dir) })
		})
	}
	all.Wait()
	return nodes, errors.Join(errs...)
}

func redisArgs(port int, dir string, opts []Option) []string {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return append(redisKind.args(port, dir), o.args...)
}

func clientsOf(nodes []*Server) []*redis.Client {
	clients := make([]*redis.Client, len(nodes))
	for i, node := range nodes {
		clients[i] = redis.NewClient(&redis.Options{Addr: node.Addr, PoolSize: 1})
	}
	return clients
}

func closeAll(clients []*redis.Client) {
	for _, client := range clients {
		_ = client.Close()
	}
}

func addrs(nodes []*Server) []string {
	all := make([]string, len(nodes))
	for i, node := range nodes {
		all[i] = node.Addr
	}
	return all
}
