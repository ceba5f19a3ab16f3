package memcachedtest

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// The server itself is asked how long it will keep what was stored.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t)
	const day = 24 * time.Hour
	const skew = time.Minute
	for period, forever := range map[time.Duration]bool{
		time.Millisecond: false, 900 * time.Millisecond: false, time.Second: false, time.Hour: false,
		30*day - time.Minute: false, 30 * day: false, 31 * day: false, 365 * day: false,
		100 * 365 * day: true, 285 * 365 * day: true, // dates that do not fit into its protocol
	} {
		p := newTap(t, s.Addr)
		b := newBackend(t, clientOf(t, p.addr), traffikmemcached.WithMaxSkew(skew))
		// A bucket that is drained at once needs its state for one whole period.
		draw := opOf("caller", 7)
		draw.Strategy, draw.Draw.Rate = traffik.TokenBucket{}, traffik.Per(7, period)
		begin := time.Now()
		reset := take(t, b, draw)[0].ResetAfter
		if reset != period {
			t.Fatalf("%v: it resets after %v", period, reset)
		}
		got := timeToLive(t, s, strings.Fields(p.said()[1])[1])
		// Meanwhile time has passed, and the server's clock may have ticked once more.
		least := period + skew - time.Since(begin) - time.Second
		switch {
		case forever && got != -1:
			t.Errorf("%v: kept for %v, want without end", period, got)
		case !forever && (got < least || got > period+skew+3*time.Second):
			t.Errorf("%v: kept for %v, want %v and a little more", period, got, period+skew)
		}
	}
}

// timeToLive asks the server, by its newer commands; -1 stands for no end.
func timeToLive(t *testing.T, s *servers.Server, key string) time.Duration {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "mg %s t\r\n", key); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	text, found := strings.CutPrefix(strings.TrimSpace(line), "HD t")
	seconds, err := strconv.Atoi(text)
	if !found || err != nil {
		t.Fatalf("the server answers %q for %s", line, key)
	}
	if seconds < 0 {
		return -1
	}
	return time.Duration(seconds) * time.Second
}

// A state that nobody needs any more is forgotten by the server itself.
func TestServerForgetsWhatExpired(t *testing.T) {
	t.Parallel()
	b := newBackend(t, newClient(t, servers.Memcached(t)), traffikmemcached.WithMaxSkew(0))
	draw := opOf("caller", 1)
	draw.Strategy, draw.Draw.Rate = traffik.TokenBucket{}, traffik.Per(1, 300*time.Millisecond)
	take(t, b, draw)
	eventually(t, "the item is gone", func() bool {
		states, _, err := b.ReadStates(t.Context(), []traffik.Key{draw.Key}, nil)
		return err == nil && states[0] == nil
	})
}

// eventually waits for what a server does in its own time.
func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	for range 3000 {
		if good() {
			return
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // a real server's clock
	}
	t.Fatalf("in vain waited for this: %s", what)
}
