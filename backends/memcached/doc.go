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
// A draw reads the item, decides in this process and writes with
// compare-and-swap: two round trips when nobody else draws on the key. Any
// strategy, also one's own, is atomic on one key. Several keys of one call are
// read together; when all of them admit, they are written one after the other,
// and if one of them was changed by another process in between, what was
// written is refunded and the call begins anew. Until then other processes
// see the charge.
//
// Each key has one time for all application servers, the latest at which any of them
// wrote it: clocks that differ hand out their difference once; see [WithMaxSkew].
// Memcached may forget any key at any time, when memory is short or a server
// restarts: the key is fresh then.
package traffikmemcached
