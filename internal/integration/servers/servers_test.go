package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(LogOfRedis())) }

func TestRedisAnswersDiesAndComesBackEmpty(t *testing.T) {
	t.Parallel()
	s := Redis(t, Args("--maxmemory", "3mb"))
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	if got := client.ConfigGet(t.Context(), "maxmemory").Val()["maxmemory"]; got != "3145728" {
		t.Errorf("maxmemory is %q", got)
	}
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	if err := client.Get(t.Context(), "key").Err(); err == nil {
		t.Error("a killed server answered")
	}
	s.Restart()
	if err := client.Get(t.Context(), "key").Err(); err != redis.Nil { //nolint:errorlint // go-redis returns it bare
		t.Errorf("after a restart the key gives %v", err)
	}
}

func TestMemcachedAnswersDiesAndComesBack(t *testing.T) {
	t.Parallel()
	s := Memcached(t, Args("-m", "3"))
	if got := stat(t, s, "settings", "maxbytes"); got != "3145728" {
		t.Errorf("maxbytes is %q", got)
	}
	s.Kill()
	s.Kill() // killing the dead is allowed
	if err := memcachedKind.ask(t.Context(), s.Addr); err == nil {
		t.Error("a killed server answered")
	}
	s.Restart()
	if err := memcachedKind.ask(t.Context(), s.Addr); err != nil {
		t.Error(err)
	}
}

// stat returns one line of Memcached's statistics.
func stat(t *testing.T, s *Server, group, name string) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "stats %s\r\n", group)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[1] == name {
			return fields[2]
		}
	}
	t.Fatalf("no statistic %s: %v", name, lines.Err())
	return ""
}

func TestServersKeepTheirFilesInMemory(t *testing.T) {
	t.Parallel()
	want := memoryFS
	if probe, err := os.MkdirTemp(memoryFS, ""); err != nil { //nolint:usetesting // whether it can be made there is the question
		want = filepath.Clean(os.TempDir()) // this system has no such place
	} else if err := os.Remove(probe); err != nil {
		t.Fatal(err)
	}
	var dir string
	t.Run("server", func(t *testing.T) {
		dir = Redis(t, Own()).dir
		if filepath.Dir(dir) != want {
			t.Errorf("its directory is %s, want it in %s", dir, want)
		}
	})
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the server's end %s is still there: %v", dir, err)
	}
}

func TestServersHaveAddressesOfTheirOwn(t *testing.T) {
	t.Parallel()
	if a, b := Memcached(t, Own()), Memcached(t, Own()); a.Addr == b.Addr {
		t.Errorf("both are at %s", a.Addr)
	}
}

func TestClusterServesWithoutAKilledMaster(t *testing.T) {
	t.Parallel()
	c := RedisCluster(t)
	clients := clientsOf(c.Nodes)
	defer closeAll(clients)
	set := func() error {
		cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs()})
		defer func() { _ = cluster.Close() }()
		return cluster.Set(t.Context(), "key", "value", 0).Err() // slot 12539: the third master's
	}
	if err := set(); err != nil {
		t.Fatal(err)
	}
	third, replica := clients[2], clients[5]
	c.Node(c.Addrs()[2]).Kill()
	eventually(t, set)
	if role := roleOf(t, replica); role != "master" {
		t.Errorf("the killed master's replica is a %s", role)
	}
	c.Nodes[2].Restart()
	eventually(t, func() error { return linked(t.Context(), third) }) // it follows its successor
}

// A node that stalls for longer than the node timeout while it joins is not forgotten.
func TestClusterFormsOnAMachineThatStalls(t *testing.T) {
	t.Parallel()
	c := newCluster(t, nil)
	clients := clientsOf(c.Nodes)
	defer closeAll(clients)
	ctx, cancel := context.WithTimeout(t.Context(), groupTimeout)
	defer cancel()
	if err := c.assign(ctx, clients); err != nil {
		t.Fatal(err)
	}
	last := c.Nodes[clusterNodes-1] // is only introduced by the others
	last.Hang()
	if err := c.introduce(ctx, clients); err != nil {
		t.Fatal(err)
	}
	time.Sleep(nodeTimeout + nodeTimeout/2) //nolint:forbidigo // a stall is a time
	last.Resume()
	if err := c.meet(ctx, clients); err != nil {
		t.Fatal(err)
	}
	if err := c.replicate(ctx, clients); err != nil {
		t.Fatal(err)
	}
}

func roleOf(t *testing.T, client *redis.Client) string {
	t.Helper()
	role, err := client.Do(t.Context(), "ROLE").Slice()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(role[0])
}

func TestSentinelsReplaceAKilledMaster(t *testing.T) {
	t.Parallel()
	s := Sentinel(t)
	client := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: s.Name, SentinelAddrs: s.Addrs()})
	defer func() { _ = client.Close() }()
	set := func() error { return client.Set(t.Context(), "key", "value", 0).Err() }
	if err := set(); err != nil {
		t.Fatal(err)
	}
	s.Nodes[0].Kill()
	eventually(t, set)
}

// eventually waits for what servers agree on among themselves.
func eventually(t *testing.T, good func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), groupTimeout)
	defer cancel()
	for {
		err := good()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		pause(ctx)
	}
}

// The test binary runs itself, has itself killed, and its server must follow.
func TestServersDieWithTheTestBinary(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperThatIsKilled$") //nolint:gosec // ourselves
	cmd.Env = append(os.Environ(), "TRAFFIK_TEST_HELPER=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	type started struct{ addr, dir string }
	var servers []started
	lines := bufio.NewScanner(out)
	for len(servers) < 2 && lines.Scan() {
		if line, found := strings.CutPrefix(lines.Text(), "helper: "); found {
			addr, dir, _ := strings.Cut(line, " ")
			servers = append(servers, started{addr, dir})
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(servers) != 2 {
		t.Fatalf("the helper started %v", servers)
	}
	for _, s := range servers {
		eventually(t, func() error {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.addr)
			if err != nil {
				return nil
			}
			_ = conn.Close()
			return fmt.Errorf("the server at %s outlives its test binary", s.addr)
		})
		eventually(t, func() error {
			_, err := os.Stat(s.dir)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("the directory %s outlives its test binary: %w", s.dir, err)
		})
	}
}

func TestHelperThatIsKilled(t *testing.T) {
	if os.Getenv("TRAFFIK_TEST_HELPER") == "" {
		return // only TestServersDieWithTheTestBinary runs it, in a separate process
	}
	for _, s := range []*Server{Redis(t, Own()), Memcached(t, Own())} {
		fmt.Printf("helper: %s %s\n", s.Addr, s.dir)
	}
	select {}
}
