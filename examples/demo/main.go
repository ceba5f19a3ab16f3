// Command demo serves the same small API on Gin, Echo and Chi, and a WebSocket
// echo, all of them limited, with a page to try the limits:
//
//	ADDR     where to listen, 127.0.0.1:8080 unless set
//	BACKEND  where the score is kept: memory, the default, or
//	         redis://127.0.0.1:6379 or memcached://127.0.0.1:11211, which several
//	         demos may share
//
// It ends on SIGINT and SIGTERM after the requests under way, at once on a
// second one.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// patience is how long requests and connections under way may take to end.
const patience = 5 * time.Second

func main() {
	log.SetFlags(0)
	log.SetPrefix("demo: ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Getenv); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, getenv func(string) string) error {
	addr := getenv("ADDR")
	if addr == "" {
		addr = "127.0.0.1:8080"
	}
	backend, err := newBackend(getenv("BACKEND"))
	if err != nil {
		return err
	}
	defer func() { _ = backend.Close() }()
	limits, err := newLimits(backend)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, addr)
	if err != nil {
		return err
	}
	ws := newSockets(limits.messages)
	server := &http.Server{Handler: newHandler(limits, ws), ReadHeaderTimeout: 5 * time.Second}
	log.Printf("open http://%s/ in a browser; Ctrl-C ends it", listener.Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Print("ending")
	ending, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = server.Shutdown(ending)
	ws.end(ending)
	if err != nil {
		_ = server.Close()
		return fmt.Errorf("requests under way were cut off after %v: %w", patience, err)
	}
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the address %s is in use; choose another, as ADDR=127.0.0.1:8081 make demo", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("ADDR=%q can't be listened on; accepted is host:port, as 127.0.0.1:8080: %w", addr, err)
	}
	return listener, nil
}
