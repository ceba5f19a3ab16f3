package redistest

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// TestDenialIsKeptInABatch: a key that was denied stays as long as was told, whatever
// else the same round trip does with it under other rates.
func TestDenialIsKeptInABatch(t *testing.T) {
	t.Parallel()
	addr := servers.Redis(t, servers.Own()).Addr
	short, lasting := traffik.Per(1, time.Minute), traffik.Per(1, long)
	for _, s := range []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.SlidingWindowLog{}, traffik.SlidingWindowCounter{}} {
		for name, c := range map[string]struct {
			fresh bool
			rates []traffik.Rate
			peek  bool // the last of them
		}{
			"denied before another":        {rates: []traffik.Rate{lasting, short}},
			"denied after another":         {rates: []traffik.Rate{short, lasting}},
			"denied before a look":         {rates: []traffik.Rate{lasting, short}, peek: true},
			"denied after an admitted one": {fresh: true, rates: []traffik.Rate{short, lasting}},
			"denied between":               {fresh: true, rates: []traffik.Rate{short, lasting, short}, peek: true},
		} {
			t.Run(s.ID()+" "+name, func(t *testing.T) {
				t.Parallel()
				op := func(rate traffik.Rate) []traffik.Op {
					op := draws("k", 1)
					op[0].Strategy, op[0].Draw.Rate = s, rate
					return op
				}
				client, namespace := newClient(t, addr), rand.Text()
				if !c.fresh {
					take(t, newBackend(t, client, traffikredis.WithNamespace(namespace)), op(short)...)
				}
				j := newJamOn(t, newClient(t, addr), []string{"plug1", "plug2"}, traffikredis.WithNamespace(namespace))
				var all []<-chan taken
				for i, rate := range c.rates {
					if c.peek && i == len(c.rates)-1 {
						all = append(all, j.look(t.Context(), op(rate)))
						continue
					}
					all = append(all, j.take(t.Context(), op(rate)))
				}
				j.release()
				var told time.Duration
				for i, done := range all {
					got := <-done
					if got.err != nil {
						t.Fatal(got.err)
					}
					if c.rates[i] == lasting && got.out[0].Allowed {
						t.Fatalf("op %d was admitted", i)
					}
					if c.rates[i] == lasting {
						told = got.out[0].RetryAfter
					}
				}
				for _, key := range client.Keys(t.Context(), namespace+":{k}*").Val() {
					if ttl := client.PTTL(t.Context(), key).Val(); ttl < told/2 {
						t.Errorf("the key stays for %v, but the caller was told to wait %v", ttl, told)
					}
				}
			})
		}
	}
}

// TestSaturatedDenialsWriteNothing: a key that never resets is kept as long as Redis
// can, and not anew by each denial.
func TestSaturatedDenialsWriteNothing(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Redis(t, servers.Own()).Addr)
	backend := newBackend(t, client, traffikredis.WithNamespace("app"))
	op := draws("k", traffik.MaxUnits)
	op[0].Draw.Rate, op[0].Draw.Force = traffik.Per(1, time.Hour), true
	take(t, backend, op...)
	keys := client.Keys(t.Context(), "app:*").Val()
	if len(keys) != 1 {
		t.Fatalf("the keys are %q", strings.Join(keys, " "))
	}
	full := client.PTTL(t.Context(), keys[0]).Val()
	for client.PTTL(t.Context(), keys[0]).Val() > full-2*time.Millisecond {
		time.Sleep(time.Millisecond) //nolint:forbidigo // until the real server's clock went on
	}
	op[0].Draw.Cost, op[0].Draw.Force = 1, false
	if out := take(t, backend, op...); out[0].Allowed {
		t.Fatalf("%+v, want a denial", out)
	}
	if n := commands(t, client)["pexpire"]; n > 0 {
		t.Errorf("a denial prolonged the expiry %d times", n)
	}
}
