package memcachedtest

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"unique"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// hostile identities come in groups whose members one is tempted to mix up.
func hostile() []string {
	long := strings.Repeat("k", 10<<10)
	sum := sha256.Sum256([]byte(long))
	return []string{
		"", " ", "a", "a ", " a", "a\n", "a\nb", "a\r\nb", "a b", "a\tb", "a\x00b", "a\x7fb",
		long, long + "x", "#" + base64.RawURLEncoding.EncodeToString(sum[:16]), // the hash of long, and its text
		"x\r\nset x 0 0 1\r\n1", "x\r\nset x 0 0 1\r\n1\r\n", "x\r\nflush_all", "\r\nquit\r\n",
		"ключ", "клюс", "鍵", "鍵鍵", "مفتاح", "🔑", "\xff", "\xff\xfe", "a\xffb", "a\xfeb", "\xc3\x28", "\u2028", "\u00a0",
		"~", "~~", "test~a", "#", "#a", "%23", "generation", "~generation", "a~generation",
		strings.Repeat("k", 100), strings.Repeat("k", 101), strings.Repeat("k", 250), strings.Repeat("k", 251),
	}
}

// Each is limited on its own, none forges another, none reaches the protocol as
// it is.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	p := newTap(t, servers.Memcached(t).Addr)
	b := newBackend(t, clientOf(t, p.addr))
	scopes := []unique.Handle[string]{
		store.ScopeOf("test", "fixed_window.1"),
		store.ScopeOf("test\r\nset x 0 0 1\r\n1", "fixed_window.1"),
		store.ScopeOf(strings.Repeat("s", 300), "fixed_window.1"),
		unique.Make("a\r\nb"), unique.Make("a~b"), unique.Make("a"), unique.Make(""), // no ScopeOf keeps them tame
	}
	ops := func(cost int64) []traffik.Op {
		var all []traffik.Op
		for _, scope := range scopes {
			for _, id := range append(hostile(), "b~a", "b") {
				op := opOf(id, cost)
				op.Key.Scope = scope
				all = append(all, op)
			}
		}
		return all
	}
	for _, op := range ops(2) {
		take(t, b, op)
	}
	for _, op := range ops(1) {
		if dec := take(t, b, op)[0]; dec.Remaining != 2 {
			t.Errorf("scope %.40q, identity %.40q: %d remain after draws of 2 and 1 of 5", op.Key.Scope.Value(), op.Key.ID, dec.Remaining)
		}
	}
	names := map[string]bool{}
	for _, line := range p.said() {
		fields := strings.Split(line, " ")
		keys := fields[1:]
		if fields[0] != "gets" {
			keys = fields[1:2]
		}
		for _, key := range keys {
			names[key] = true
			if len(key) > 250 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
				t.Errorf("the key %q went to the server", key)
			}
		}
		if verb := fields[0]; verb != "gets" && verb != "add" && verb != "cas" {
			t.Errorf("the command %q went to the server", line)
		}
	}
	if want := len(scopes)*(len(hostile())+2) + 1; len(names) != want {
		t.Errorf("%d keys were used, want %d: one for each caller and the generation", len(names), want)
	}
}

func TestNamespacesAreApart(t *testing.T) {
	t.Parallel()
	client := newClient(t, servers.Memcached(t))
	a, b := newBackend(t, client), newBackend(t, client)
	take(t, a, opOf("caller", 5))
	wantLeft(t, b, "caller", 5)
	wantLeft(t, a, "caller", 0)
}
