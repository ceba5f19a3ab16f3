package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/bradfitz/gomemcache/memcache"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
)

// newMemcached stores counters on one or more servers: "host:port" or "host:port,host:port".
func newMemcached(servers string) (traffik.Backend, error) {
	addrs := strings.Split(strings.TrimSuffix(servers, "/"), ",")
	for _, addr := range addrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("BACKEND=memcached://%s; accepted is memcached://host:port, or several host:port separated by commas: %w", servers, err)
		}
	}
	list := new(memcache.ServerList)
	if err := list.SetServers(addrs...); err != nil {
		return nil, fmt.Errorf("BACKEND=memcached://%s: %w", servers, err)
	}
	client := memcache.NewFromSelector(list)
	client.MaxIdleConns = 64
	return traffikmemcached.New(client, traffikmemcached.WithNamespace("traffik-demo"))
}
