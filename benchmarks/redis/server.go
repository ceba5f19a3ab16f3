package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// server returns the address of a Redis server: the one in REDIS, or one that it starts.
func server() (addr string, stop func(), err error) {
	if addr := os.Getenv("REDIS"); addr != "" {
		return addr, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "traffik-bench-redis")
	if err != nil {
		return "", nil, err
	}
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(context.Background(), "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), //nolint:gosec // a number
		"--save", "", "--appendonly", "no", "--dir", dir)
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting redis-server: %w; install it, or name a server, as REDIS=127.0.0.1:6379", err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for range 500 {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", addr)
		if err == nil {
			_ = conn.Close()
			return addr, stop, nil
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // a server that starts says so to nobody
	}
	stop()
	return "", nil, fmt.Errorf("redis-server at %s did not start", addr)
}

func freePort() (int, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
