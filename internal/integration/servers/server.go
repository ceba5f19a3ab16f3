// Package servers hands real Redis and Memcached servers to tests.
//
// A single server comes from the first of these sources that is available:
//
//   - the address in TRAFFIK_TEST_REDIS or TRAFFIK_TEST_MEMCACHED, for tests
//     that ask for nothing special;
//   - a container, if a Docker engine answers and has the image, by default
//     redis:7-alpine and memcached:1.6-alpine, else the one that
//     TRAFFIK_TEST_REDIS_IMAGE or TRAFFIK_TEST_MEMCACHED_IMAGE names;
//   - redis-server or memcached as a process;
//   - a container whose image has to be pulled first. An image that the
//     environment names is pulled before processes are thought of.
//
// TRAFFIK_TEST_SOURCE=container or =process leaves only that source. If none is available,
// the test fails and says how to get one. Every server listens on 127.0.0.1 alone and ends
// with the test, even if the test binary dies. [Custom] starts any other server in the same
// manner.
package servers

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"
)

const (
	// startTimeout is how long a server may take until it answers.
	startTimeout = 15 * time.Second
	// startAttempts is how many ports are tried: another process may take one
	// between our looking and the server's listening.
	startAttempts = 5
)

// Server is one running server. Its methods end the test when they fail and
// are called by the test's goroutine.
type Server struct {
	// Addr is where it listens, as "127.0.0.1:11211". A restart keeps it.
	Addr string
	// From says where the server came from, for messages.
	From string

	t    testing.TB
	kind *kind
	dir  string // removed with it
	run  runner // nil for a server that the environment named
}

// runner is a server that can be started more than once: a process or a
// container.
type runner interface {
	// start starts the server and does not wait until it answers.
	start(ctx context.Context) error
	// kill ends it as kill -9 does and returns when it is gone.
	kill() error
	// signal sends it a signal by its name, as "STOP".
	signal(ctx context.Context, name string) error
	// ended says that it is not running.
	ended() bool
	// output is what it printed last.
	output() string
	// remove ends it and frees all it has.
	remove() error
}

// Option is what a test wants of its server.
type Option func(*options)

type options struct {
	args []string
	own  bool
}

// Args adds arguments of the server's command line; the server is the test's
// own.
func Args(args ...string) Option {
	return func(o *options) { o.args, o.own = append(o.args, args...), true }
}

// Own asks for a server that no other test uses, to be killed or flushed. One
// that the environment names will not do.
func Own() Option {
	return func(o *options) { o.own = true }
}

// Kill ends the server as kill -9 does.
func (s *Server) Kill() {
	s.t.Helper()
	s.mustOwn()
	if err := s.run.kill(); err != nil {
		s.t.Fatalf("servers: kill %s at %s: %v", s.kind.name, s.Addr, err)
	}
}

// Restart starts the server again at its address with its arguments, after Kill
// or after killing it, and returns when it answers. Nothing that was stored is
// left.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.up(ctx); err != nil {
		s.t.Fatalf("servers: restart %s at %s: %v", s.kind.name, s.Addr, err)
	}
}

// Hang stops the server where it is: its connections stay, and nothing is answered
// until Resume.
func (s *Server) Hang() {
	s.t.Helper()
	s.signal("STOP")
}

// Resume lets the server go on after Hang.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal("CONT")
}

func (s *Server) signal(name string) {
	s.t.Helper()
	s.mustOwn()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := s.run.signal(ctx, name); err != nil {
		s.t.Fatalf("servers: send %s to %s at %s: %v", name, s.kind.name, s.Addr, err)
	}
}

// Port returns the port of Addr.
func (s *Server) Port() int {
	_, port, _ := net.SplitHostPort(s.Addr)
	n, _ := strconv.Atoi(port)
	return n
}

func (s *Server) mustOwn() {
	s.t.Helper()
	if s.run == nil {
		s.t.Fatalf("servers: %s at %s is not the test's own; ask for it with servers.Own()", s.kind.name, s.Addr)
	}
}

// up starts the server and waits until it answers.
func (s *Server) up(ctx context.Context) error {
	if err := s.run.start(ctx); err != nil {
		return err
	}
	for {
		err := s.kind.ask(ctx, s.Addr)
		switch {
		case s.run.ended():
			return fmt.Errorf("it ended: %s", s.run.output())
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("it does not answer: %w: %s", err, s.run.output())
		}
		pause(ctx)
	}
}

// single returns a server of kind as the environment and the options say.
func single(t testing.TB, k *kind, opts []Option) *Server {
	t.Helper()
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if addr := k.given(); addr != "" && !o.own {
		if err := k.ask(t.Context(), addr); err != nil {
			t.Fatalf("servers: %s=%s: %v", k.addrEnv, addr, err)
		}
		t.Logf("servers: %s at %s, from %s", k.name, addr, k.addrEnv)
		return &Server{Addr: addr, From: k.addrEnv, t: t, kind: k}
	}
	s, err := k.launch(t, func(port int, dir string) program {
		return program{args: append(k.args(port, dir), o.args...)}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("servers: %s at %s, from %s", k.name, s.Addr, s.From)
	return s
}

// pause is the time between two looks at something that is about to happen.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
}
