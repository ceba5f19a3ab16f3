package traffikmemcached_test

import (
	"fmt"

	"github.com/bradfitz/gomemcache/memcache"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
)

// All servers of an application that use one namespace share its counters.
func ExampleNew() {
	client := memcache.New("10.0.0.1:11211", "10.0.0.2:11211")
	client.MaxIdleConns = 64
	backend, err := traffikmemcached.New(client, traffikmemcached.WithNamespace("myapp"))
	if err != nil {
		panic(err)
	}
	defer func() { _ = backend.Close() }()
	items, err := traffik.New("api:items", "100/min", traffik.WithBackend(backend))
	fmt.Println(items.UID(), err) // no server was asked yet
	// Output: api:items <nil>
}

// A log that might outgrow an item is found when the application starts.
func ExampleBackend_MaxStateBytes() {
	backend, err := traffikmemcached.New(memcache.New("10.0.0.1:11211"))
	if err != nil {
		panic(err)
	}
	defer func() { _ = backend.Close() }()
	_, err = traffik.New("exports", "100000/d", traffik.WithBackend(backend),
		traffik.WithStrategy(traffik.SlidingWindowLog{MaxEntries: 100_000}))
	fmt.Println(err)
	// Output: throttle "exports": traffik: invalid configuration: sliding_window_log.1 at 100000/d needs up to 1600017 bytes of state, and the backend stores at most 1048064
}
