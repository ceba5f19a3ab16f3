package memcachedtest

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

func benchOp(id string) traffik.Op {
	op := opOf(id, 1)
	op.Draw.Rate = traffik.Per(plenty, forever)
	return op
}

func benchBackend(b *testing.B) (*traffikmemcached.Backend, *memcache.Client) {
	b.Helper()
	client := memcache.New(servers.Memcached(b).Addr)
	client.MaxIdleConns = 64
	backend, err := traffikmemcached.New(client)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = backend.Close(); _ = client.Close() })
	b.ReportAllocs()
	return backend, client
}

func BenchmarkOneCaller(b *testing.B) {
	backend, _ := benchBackend(b)
	ops, out := []traffik.Op{benchOp("caller")}, make([]traffik.Decision, 1)
	for b.Loop() {
		if err := backend.Take(b.Context(), ops, out); err != nil {
			b.Fatal(err)
		}
	}
}

// The client's own two requests, which no backend on it can do without.
func BenchmarkFloor(b *testing.B) {
	_, client := benchBackend(b)
	if err := client.Set(&memcache.Item{Key: "key", Value: make([]byte, 26)}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		item, err := client.Get("key")
		if err == nil {
			err = client.CompareAndSwap(item)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDenied(b *testing.B) {
	backend, _ := benchBackend(b)
	ops, out := []traffik.Op{opOf("caller", 5)}, make([]traffik.Decision, 1)
	for b.Loop() {
		if err := backend.Take(b.Context(), ops, out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkManyCallers(b *testing.B) {
	for name, keys := range map[string]int64{"64 keys": 64, "one hot key": 1} {
		b.Run(name, func(b *testing.B) {
			backend, _ := benchBackend(b)
			var n atomic.Int64
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				ops, out := []traffik.Op{benchOp(strconv.FormatInt(n.Add(1)%keys, 10))}, make([]traffik.Decision, 1)
				for pb.Next() {
					if err := backend.Take(b.Context(), ops, out); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
