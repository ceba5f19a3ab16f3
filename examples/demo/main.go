// Command demo serves the same small API on Gin, Echo and Chi, and echoes
// WebSocket messages. Everything has limits, and a page lets you try them.
//
//	ADDR     the address to listen on; 127.0.0.1:8080 by default
//	BACKEND  the store of the counters: memory, the default, or a server that
//	         several demos may share, such as redis://127.0.0.1:6379 or
//	         memcached://127.0.0.1:11211
//
// On SIGINT or SIGTERM the demo finishes the running requests and exits. A
// second signal ends it at once.
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

// patience is how long open requests and connections may take to end.
const patience = 5 * time.Second

func main() {
	log.SetFlags(0)
	log.SetPrefix("demo: ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the demo at once
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
	log.Printf("open http://%s/ in a browser; press Ctrl-C to stop", listener.Addr())
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
		return fmt.Errorf("some requests were cut off after %v: %w", patience, err)
	}
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("the address %s is in use; choose another, such as ADDR=127.0.0.1:8081 make demo", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("ADDR=%q can't be listened on; accepted is host:port, such as 127.0.0.1:8080: %w", addr, err)
	}
	return listener, nil
}
