package main

import (
	"fmt"
	"strings"

	traffik "github.com/traffik-go/traffik/core"
)

// newBackend makes the store that BACKEND names. It doesn't connect to a server:
// if the store is down, the demo starts all the same, lets requests pass, and
// limits them once the store is up.
func newBackend(name string) (traffik.Backend, error) {
	switch scheme, rest, _ := strings.Cut(name, "://"); scheme {
	case "", "memory":
		return traffik.NewMemory()
	case "redis", "rediss":
		return newRedis(name)
	case "memcached":
		return newMemcached(rest)
	}
	return nil, fmt.Errorf("BACKEND=%q is unknown; accepted are memory, redis://host:port and memcached://host:port", name)
}
