package servers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

const (
	sentinelReplicas = 2
	sentinelCount    = 3
	sentinelQuorum   = 2
	sentinelFile     = "sentinel.conf"
)

// Sentinels is a Redis master with two replicas, watched by three sentinels. A
// killed master's replica takes over after some three seconds.
type Sentinels struct {
	// Name is the name under which the sentinels know the master.
	Name string
	// Nodes are the servers: first the one that was master at the start.
	Nodes []*Server
	// Sentinels are the sentinels.
	Sentinels []*Server
}

// Sentinel returns a Redis master with replicas and sentinels that know each
// other. Arguments go to the master and the replicas.
func Sentinel(t testing.TB, opts ...Option) *Sentinels {
	t.Helper()
	s := &Sentinels{Name: "traffik"}
	ctx, cancel := context.WithTimeout(context.Background(), groupTimeout)
	defer cancel()
	if err := s.start(ctx, t, opts); err != nil {
		t.Fatalf("servers: Redis Sentinel: %v", err)
	}
	t.Logf("servers: Redis at %s, sentinels at %s, from %s",
		strings.Join(addrs(s.Nodes), " "), strings.Join(s.Addrs(), " "), s.Nodes[0].From)
	return s
}

// Addrs returns the addresses of the sentinels.
func (s *Sentinels) Addrs() []string { return addrs(s.Sentinels) }

// Node returns the server that listens on addr, nil for none.
func (s *Sentinels) Node(addr string) *Server {
	return (&Cluster{Nodes: s.Nodes}).Node(addr)
}

// start starts the replicas after the master and the sentinels after both:
// sentinels find replicas by asking the master, once in ten seconds.
func (s *Sentinels) start(ctx context.Context, t testing.TB, opts []Option) error {
	t.Helper()
	master, err := group(t, 1, func(_, port int, dir string) program {
		return program{args: append(redisArgs(port, dir, opts), "--repl-diskless-sync-delay", "0")}
	})
	if err != nil {
		return err
	}
	masterPort := strconv.Itoa(master[0].Port())
	replicas, err := group(t, sentinelReplicas, func(_, port int, dir string) program {
		return program{args: append(redisArgs(port, dir, opts), "--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1 "+masterPort)}
	})
	if err != nil {
		return err
	}
	s.Nodes = slices.Concat(master, replicas)
	if err := waitFor(ctx, replicas, linked); err != nil {
		return err
	}
	s.Sentinels, err = group(t, sentinelCount, func(_, port int, dir string) program {
		return program{args: []string{dir + "/" + sentinelFile, "--sentinel"}, files: map[string]string{sentinelFile: s.config(port, dir, masterPort)}}
	})
	if err != nil {
		return err
	}
	return waitFor(ctx, s.Sentinels, s.complete)
}

func (s *Sentinels) config(port int, dir, masterPort string) string {
	return fmt.Sprintf(`port %d
bind 127.0.0.1
protected-mode no
dir %s
sentinel monitor %[3]s 127.0.0.1 %s %d
sentinel down-after-milliseconds %[3]s 1000
sentinel failover-timeout %[3]s 5000
`, port, dir, s.Name, masterPort, sentinelQuorum)
}

// complete: the sentinel knows the master, its replicas and the other sentinels.
func (s *Sentinels) complete(ctx context.Context, client *redis.Client) error {
	sentinel := redis.NewSentinelClient(client.Options())
	defer func() { _ = sentinel.Close() }()
	fields, err := sentinel.Master(ctx, s.Name).Result()
	if err != nil {
		return err
	}
	if fields["flags"] != "master" || fields["num-slaves"] != strconv.Itoa(sentinelReplicas) ||
		fields["num-other-sentinels"] != strconv.Itoa(sentinelCount-1) {
		return fmt.Errorf("a sentinel knows only %v", fields)
	}
	return nil
}

func waitFor(ctx context.Context, nodes []*Server, good func(context.Context, *redis.Client) error) error {
	clients := clientsOf(nodes)
	defer closeAll(clients)
	return each(ctx, clients, good)
}
