package memcachedtest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// distance is a round trip to a server in another building.
const distance = 2400 * time.Microsecond

// distant returns a tap that answers no command in less than distance.
func distant(t testing.TB) *tap {
	t.Helper()
	p := newTap(t, servers.Memcached(t).Addr)
	p.onCommand(func(string) { time.Sleep(distance) }) //nolint:forbidigo // the network
	return p
}

// Callers of one process on one key share their round trips.
func TestCallersOfOneKeyAreDecidedTogether(t *testing.T) {
	t.Parallel()
	const callers, each = 64, 20
	p := distant(t)
	b := newBackend(t, clientOf(t, p.addr))
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				if err := b.Take(t.Context(), []traffik.Op{benchOp("hot")}, make([]traffik.Decision, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	const draws = callers * each
	if n := len(p.said()); n > draws/4 {
		t.Errorf("%d draws took %d commands, want one for four draws at most", draws, n)
	}
	if used := plenty - take(t, b, benchOp("hot"))[0].Remaining - 1; used != draws {
		t.Errorf("%d units are in use, want %d", used, draws)
	}
}

// BenchmarkHotKeyAtDistance draws on one key, 64 callers in each process.
func BenchmarkHotKeyAtDistance(b *testing.B) {
	for name, processes := range map[string]int{"one process": 1, "eight processes": 8} {
		b.Run(name, func(b *testing.B) {
			p := distant(b)
			var drawn, failed atomic.Int64
			var wg sync.WaitGroup
			for range processes {
				client := clientOf(b, p.addr)
				backend, err := traffikmemcached.New(client)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = backend.Close() })
				for range 64 {
					wg.Go(func() {
						for drawn.Add(1) <= int64(b.N) {
							switch err := backend.Take(b.Context(), []traffik.Op{benchOp(b.Name())}, make([]traffik.Decision, 1)); {
							case errors.Is(err, traffik.ErrBackend): // contention, or no answer in time
								failed.Add(1)
							case err != nil:
								b.Error(err)
							}
						}
					})
				}
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "draws/s")
			b.ReportMetric(100*float64(failed.Load())/float64(b.N), "%failed")
		})
	}
}
