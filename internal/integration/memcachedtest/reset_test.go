package memcachedtest

import (
	"strings"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	traffikmemcached "github.com/traffik-go/traffik/backends/memcached"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// process returns a backend of namespace, as another process would have it.
func process(t *testing.T, client *memcache.Client, namespace string) *traffikmemcached.Backend {
	t.Helper()
	return newBackend(t, client, traffikmemcached.WithNamespace(namespace))
}

func TestResetNamespaceReachesEveryProcess(t *testing.T) {
	t.Parallel()
	client, ns := newClient(t, three(t)...), namespace(t)
	a, b, stranger := process(t, client, ns), process(t, client, ns), newBackend(t, client)
	ids := []string{"1", "2", "3", "4", "5", "6", "7", "8"}
	for range 3 {
		for _, id := range ids {
			take(t, a, opOf(id, 3))
			take(t, stranger, opOf(id, 1))
		}
		if err := b.ResetNamespace(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			wantLeft(t, a, id, 5)
			wantLeft(t, b, id, 5)
			take(t, a, opOf(id, 2))
			wantLeft(t, b, id, 3)
			take(t, b, opOf(id, -2))
		}
	}
	for _, id := range ids {
		wantLeft(t, stranger, id, 2)
	}
}

// Losing the generation's item hands out nothing fresh, and the next reset
// works all the same, whichever process remembers what.
func TestLostGenerationHandsOutNothing(t *testing.T) {
	t.Parallel()
	client, ns := newClient(t, servers.Memcached(t)), namespace(t)
	old := process(t, client, ns)
	if err := old.ResetNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	take(t, old, opOf("caller", 2))
	lose := func() {
		t.Helper()
		if err := client.Delete(ns + "~generation"); err != nil {
			t.Fatal(err)
		}
	}
	lose()
	wantLeft(t, process(t, client, ns), "caller", 3) // one that never saw it
	wantLeft(t, old, "caller", 3)                    // one that did, and puts it back
	if _, err := client.Get(ns + "~generation"); err != nil {
		t.Errorf("the generation was not stored again: %v", err)
	}
	lose()
	if err := process(t, client, ns).ResetNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, old, "caller", 5)
	wantLeft(t, process(t, client, ns), "caller", 5)
}

// The generation's server going down takes only its own keys with it.
func TestKeysOfOtherServersOutliveTheGenerations(t *testing.T) {
	t.Parallel()
	on, ns := three(t), namespace(t)
	client := newClient(t, on...)
	b := process(t, client, ns)
	if err := b.ResetNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := someKeys(60) // some on each server
	for _, id := range ids {
		take(t, b, opOf(id, 2))
	}
	home := serverOf(t, on, ns+"~generation")
	home.Kill()
	served := 0
	for _, id := range ids {
		out := take1(t, b, id)
		if strings.Contains(out, "error") {
			continue
		}
		served++
		if out != "2 remaining" {
			t.Errorf("%s after a third draw: %s", id, out)
		}
	}
	lost := 0
	for _, id := range ids {
		if _, err := client.Get(ns + "~test|fixed_window.1~" + id); err != nil {
			lost++ // it was on the killed server
		}
	}
	if lost == 0 || lost == len(ids) || served != len(ids)-lost {
		t.Errorf("%d of %d keys were on the killed server, and %d were served", lost, len(ids), served)
	}
	home.Restart()
	eventually(t, "the namespace can be reset again", func() bool { return b.ResetNamespace(t.Context()) == nil })
	for _, id := range ids {
		wantLeft(t, b, id, 5)
	}
}

// serverOf returns the one on which the client keeps key.
func serverOf(t *testing.T, on []*servers.Server, key string) *servers.Server {
	t.Helper()
	for _, s := range on {
		if _, err := newClient(t, s).Get(key); err == nil {
			return s
		}
	}
	t.Fatalf("no server has %s", key)
	return nil
}
