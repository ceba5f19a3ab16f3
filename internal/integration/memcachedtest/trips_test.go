package memcachedtest

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// Counted where they happen, at the socket: two round trips for a draw, one for
// what writes nothing.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	p := newTap(t, servers.Memcached(t).Addr)
	b := newBackend(t, clientOf(t, p.addr))
	want := func(what, verbsWanted string) {
		t.Helper()
		if got := verbs(p.said()); got != verbsWanted {
			t.Errorf("%s says %q, want %q", what, got, verbsWanted)
		}
	}
	draw := opOf("caller", 3)
	take(t, b, draw)
	want("the first draw", "gets add")
	draw.Draw.Cost = 2
	take(t, b, draw)
	want("another draw", "gets cas")
	take(t, b, draw)
	want("a denied draw", "gets")
	wantLeft(t, b, "caller", 0)
	want("Peek", "gets")
	if _, _, err := b.ReadStates(t.Context(), []traffik.Key{draw.Key, opOf("x", 1).Key}, nil); err != nil {
		t.Error(err)
	}
	want("ReadStates", "gets")
	take(t, b, opOf("x", 1), opOf("y", 1))
	want("two draws at once", "gets add add")
	take(t, b, opOf("x", 1), draw)
	want("two draws of which one is denied", "gets")
	refund := opOf("x", -1)
	take(t, b, refund)
	want("a refund that leaves nothing", "gets cas")
	take(t, b, refund)
	want("a refund to an untouched key", "gets")
	if err := b.Reset(t.Context(), draw.Key); err != nil {
		t.Error(err)
	}
	want("Reset", "delete")
}

// The generation comes with the items and costs no trip of its own.
func TestGenerationIsReadWithTheItems(t *testing.T) {
	t.Parallel()
	p := newTap(t, servers.Memcached(t).Addr)
	b := newBackend(t, clientOf(t, p.addr))
	if err := b.ResetNamespace(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.said()
	take(t, b, opOf("caller", 1))
	said := p.said()
	if verbs(said) != "gets add" {
		t.Errorf("a draw after ResetNamespace says %q", said)
	}
	if keys := strings.Fields(said[0])[1:]; len(keys) != 2 || !slices.ContainsFunc(keys, func(key string) bool { return strings.HasSuffix(key, "~generation") }) {
		t.Errorf("it reads %q, want the item and the generation", keys)
	}
}

// A refund that leaves a key as if untouched leaves the stamp alone, for as long as
// clocks may differ, by a command that does not take another's draw along.
func TestEmptyKeyKeepsItsStamp(t *testing.T) {
	t.Parallel()
	s := servers.Memcached(t)
	client := newClient(t, s)
	p := newTap(t, s.Addr)
	b := newBackend(t, clientOf(t, p.addr))
	dec := take(t, b, opOf("caller", 2))[0]
	name := strings.Fields(p.said()[1])[1]
	take(t, b, opOf("caller", -2))
	if got := verbs(p.said()); got != "gets cas" {
		t.Errorf("the refund says %q", got)
	}
	item, err := client.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	const header = 1 + 8 + 8
	if stamp := binary.LittleEndian.Uint64(item.Value[9:header]); len(item.Value) != header || stamp < uint64(dec.At) {
		t.Errorf("after all was refunded the item holds %x, want the time %d or later and no state", item.Value, dec.At)
	}
	if ttl := timeToLive(t, s, name); ttl < 30*time.Second || ttl > 62*time.Second {
		t.Errorf("the stamp is kept for %v, want a minute and two seconds", ttl)
	}
	states, _, err := b.ReadStates(t.Context(), []traffik.Key{opOf("caller", 0).Key}, nil)
	if err != nil || states[0] != nil {
		t.Errorf("the state is %x, %v; want none", states, err)
	}
	wantLeft(t, b, "caller", 5)
}
