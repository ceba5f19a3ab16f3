// Package traffikmemcached stores counters in Memcached, on one server or
// several, through a client of github.com/bradfitz/gomemcache.
//
//	servers := new(memcache.ServerList)
//	err := servers.SetServers("10.0.0.1:11211", "10.0.0.2:11211")
//	…
//	client := memcache.NewFromSelector(servers)
//	client.MaxIdleConns = 64
//	backend, err := traffikmemcached.New(client, traffikmemcached.WithNamespace("myapp"))
//	…
//	items, err := traffik.New("api:items", "100/min", traffik.WithBackend(backend))
//
// A draw reads the item, decides in this process and writes with a compare-and-swap: two
// round trips. Draws of one process on one key are decided together and share these round
// trips. Any strategy, including your own, is atomic on one key. A call over several keys
// reads them together. If all limits admit, it writes one key after the other. If another
// process has changed a key meanwhile, the call refunds what it wrote and starts over.
// Until then, other processes see the charge.
//
// Each key has one time for all application servers: the latest at which any of them wrote
// it. If clocks differ, a limit may once admit as much extra as it admits in the time by
// which they differ; see [WithMaxSkew]. Memcached may forget any key at any time, when
// memory is short or a server restarts. The key is then untouched.
package traffikmemcached
