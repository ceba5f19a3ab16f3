package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// kind describes the differences between Redis and Memcached.
type kind struct {
	name     string
	binary   string
	image    string // public, where the environment names none
	imageEnv string
	addrEnv  string
	advice   string
	question string // one line of its protocol; without one, to accept a connection is an answer
	answers  []string
	args     func(port int, dir string) []string

	once   sync.Once
	chosen source
	err    error
}

// program is one server's command line and the files it needs in its directory.
type program struct {
	args  []string
	files map[string]string
}

var redisKind = &kind{
	name:     "Redis",
	binary:   "redis-server",
	image:    "redis:7-alpine",
	imageEnv: "TRAFFIK_TEST_REDIS_IMAGE",
	addrEnv:  "TRAFFIK_TEST_REDIS",
	advice:   "apt-get install redis-server",
	question: "PING",
	answers:  []string{"+PONG", "-NOAUTH"},
	args: func(port int, dir string) []string {
		return []string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--protected-mode", "no",
			"--save", "", "--appendonly", "no", "--dir", dir,
		}
	},
}

var memcachedKind = &kind{
	name:     "Memcached",
	binary:   "memcached",
	image:    "memcached:1.6-alpine",
	imageEnv: "TRAFFIK_TEST_MEMCACHED_IMAGE",
	addrEnv:  "TRAFFIK_TEST_MEMCACHED",
	advice:   "apt-get install memcached",
	question: "version",
	answers:  []string{"VERSION"},
	args: func(port int, _ string) []string {
		// The user is only looked at by a server that root starts.
		return []string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0", "-u", "root"}
	},
}

// Redis returns a Redis server. It is empty unless the environment named it.
func Redis(t testing.TB, opts ...Option) *Server {
	t.Helper()
	return single(t, redisKind, opts)
}

// Memcached returns a Memcached server. It is empty unless the environment
// named it.
func Memcached(t testing.TB, opts ...Option) *Server {
	t.Helper()
	return single(t, memcachedKind, opts)
}

func (k *kind) given() string { return os.Getenv(k.addrEnv) }

// ask asks the server at addr whether it answers.
func (k *kind) ask(ctx context.Context, addr string) error {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if k.question == "" {
		return nil
	}
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "%s\r\n", k.question); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	for _, answer := range k.answers {
		if strings.HasPrefix(line, answer) {
			return nil
		}
	}
	return fmt.Errorf("it answers %q to %s", line, k.question)
}

// launch starts a server of the test's own on a free port.
func (k *kind) launch(t testing.TB, programOf func(port int, dir string) program) (*Server, error) {
	t.Helper()
	from, err := k.source()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for range startAttempts {
		s := &Server{From: from.String(), t: t, kind: k}
		if err = s.on(ctx, from, programOf); err == nil {
			t.Cleanup(func() {
				if err := s.remove(); err != nil {
					t.Errorf("servers: remove %s: %v", s.Addr, err)
				}
			})
			return s, nil
		}
	}
	return nil, fmt.Errorf("servers: %s from %s: %w", k.name, from, err)
}

// on starts the server on a new port. If it fails to start, on removes it.
func (s *Server) on(ctx context.Context, from source, programOf func(port int, dir string) program) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.dir, err = newDir()
	if err != nil {
		return err
	}
	s.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s.run = from.runner(s.kind.binary, s.dir, func(dir string) program { return programOf(port, dir) })
	if err := s.up(ctx); err != nil {
		return errors.Join(err, s.remove())
	}
	return nil
}

func (s *Server) remove() error { return errors.Join(s.run.remove(), os.RemoveAll(s.dir)) }
