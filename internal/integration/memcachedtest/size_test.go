package memcachedtest

import (
	"errors"
	"strings"
	"testing"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// padded is a strategy whose state has a size of its own.
type padded struct{ size int }

func (padded) ID() string { return strings.Repeat("padded", 13) } // no scope is longer unhashed

func (s padded) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	dec := traffik.Decision{Allowed: true, Limit: 1, Remaining: int64(min(1, len(state))), At: d.Now}
	if d.Cost == 0 {
		return dst, dec
	}
	return append(dst, make([]byte, s.size)...), dec
}

// What MaxStateBytes says fits into an item of a server as it comes, and a byte
// over the limit of the server does not silently get lost.
func TestLargestStateFits(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t, servers.Own())
	big := servers.Memcached(t, servers.Args("-I", "3m", "-m", "128"))
	for _, c := range []struct {
		on   *servers.Server
		opts []traffikmemcached.Option
		most int
	}{
		{on: s, most: 1<<20 - 512},
		{on: big, opts: []traffikmemcached.Option{traffikmemcached.WithMaxItemBytes(3 << 20)}, most: 3<<20 - 512},
	} {
		ns := traffikmemcached.WithNamespace(strings.Repeat("n", 64))
		b := newBackend(t, newClient(t, c.on), append(c.opts, ns)...)
		if b.MaxStateBytes() != c.most {
			t.Errorf("MaxStateBytes is %d, want %d", b.MaxStateBytes(), c.most)
		}
		draw := opOf(strings.Repeat("i", 100), 1)
		draw.Key.Scope = store.ScopeOf("", padded{}.ID())
		draw.Strategy = padded{size: c.most}
		for range 3 {
			take(t, b, draw)
		}
		draw.Draw.Cost = 0
		if take(t, b, draw)[0].Remaining != 1 {
			t.Errorf("a state of %d bytes was not kept", c.most)
		}
		draw.Draw.Cost, draw.Strategy = 1, padded{size: c.most + 1}
		if err := b.Take(t.Context(), []traffik.Op{draw}, make([]traffik.Decision, 1)); !errors.Is(err, traffik.ErrBackend) {
			t.Errorf("a state of %d bytes: %v, want ErrBackend", c.most+1, err)
		}
	}
}

// A log that might not fit is found when the application starts.
func TestLogThatDoesNotFitIsRefusedByNew(t *testing.T) {
	t.Parallel()
	b := newBackend(t, clientOf(t, "127.0.0.1:1"))
	const most = (1<<20 - 512 - 1) / 16 // entries
	for entries, fits := range map[int]bool{0: true, 1: true, most - 1: true, most: false, 1 << 20: false} {
		log := traffik.WithStrategy(traffik.SlidingWindowLog{MaxEntries: entries})
		_, err := traffik.New("fixed", "100/min", traffik.WithBackend(b), log)
		if fits != (err == nil) || err != nil && !errors.Is(err, traffik.ErrConfig) {
			t.Errorf("MaxEntries %d: %v", entries, err)
		}
		rate := func(*traffik.Request) (traffik.Rate, error) { return traffik.ParseRate("100/min") }
		_, err = traffik.New("function", rate, traffik.WithBackend(b), log)
		if fits != (err == nil) || err != nil && !errors.Is(err, traffik.ErrConfig) {
			t.Errorf("MaxEntries %d, with a rate function: %v", entries, err)
		}
	}
}
