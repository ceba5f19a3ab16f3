package traffikmemcached

import (
	"strings"
	"testing"
	"unique"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

func TestItemKey(t *testing.T) {
	t.Parallel()
	scope := store.ScopeOf("api:items", "fixed_window.1")
	for id, want := range map[string]string{
		"ip:192.0.2.1": "app~api:items|fixed_window.1~ip:192.0.2.1",
		"":             "app~api:items|fixed_window.1~",
		"a b":          "app~api:items|fixed_window.1~#yGh6CKpdbtIEQyj6aml6uA",
	} {
		if got := itemKey("app", traffik.Key{Scope: scope, ID: id}); got != want {
			t.Errorf("the key of %q is %q, want %q", id, got, want)
		}
	}
}

// FuzzItemKey: any two texts make keys that Memcached takes, equal only for
// equal texts.
func FuzzItemKey(f *testing.F) {
	f.Add("", "", "", "")
	f.Add("a", "b~c", "a~b", "c")
	f.Add("a b", "a\r\nset x 0 0 1\r\n1", "#", "\xff")
	f.Add(strings.Repeat("s", 80), strings.Repeat("i", 100), strings.Repeat("s", 81), strings.Repeat("i", 101))
	namespace := strings.Repeat("n", maxNamespaceBytes)
	f.Fuzz(func(t *testing.T, scopeA, idA, scopeB, idB string) {
		a := itemKey(namespace, traffik.Key{Scope: unique.Make(scopeA), ID: idA})
		b := itemKey(namespace, traffik.Key{Scope: unique.Make(scopeB), ID: idB})
		if (a == b) != (scopeA == scopeB && idA == idB) {
			t.Errorf("%q %q and %q %q have the keys %q and %q", scopeA, idA, scopeB, idB, a, b)
		}
		for i := range len(a) {
			if a[i] <= ' ' || a[i] >= 0x7f {
				t.Fatalf("the key %q has a byte %#x", a, a[i])
			}
		}
		if len(a) > 250 || a == generationKey(namespace) || strings.Count(a, separator) != 2 {
			t.Errorf("%q can't be a key", a)
		}
	})
}
