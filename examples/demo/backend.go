package main

import (
	"fmt"
	"strings"

	traffik "github.com/traffik-go/traffik/core"
)

// newBackend makes the store that BACKEND names. It asks nothing of a server: the
// demo starts with its store down, lets requests pass, and limits them when the
// store is there.
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
