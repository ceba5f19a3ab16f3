package traffikredis

import (
	"strings"
	"testing"
	"unique"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }

func TestKeys(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 200)
	for _, tc := range []struct{ slot, id, scope, want string }{
		{"", "ip:192.0.2.1", "api:items|fixed_window.1", "traffik:{ip:192.0.2.1}!api:items|fixed_window.1"},
		{"", "", "a|b", "traffik:{%}!a|b"},
		{"", "%", "a|b", "traffik:{%25}!a|b"},
		{"", "{a} b\n", "a|b", "traffik:{%7Ba%7D%20b%0A}!a|b"},
		{"", "#x", "a%20b|c", "traffik:{%23x}!a%20b|c"},
		{"", "é", "a b|é", "traffik:{%C3%A9}!!a%20b|%C3%A9"},
		{"", long, "a|b", "traffik:{#bePCiGkQNzYZYgQfInPzgQ}!a|b"},
		{"ten{ant", "user:1", "a|b", "traffik:{ten%7Bant}user:1!a|b"},
	} {
		b := &servers{prefix: "traffik:{"}
		if tc.slot != "" {
			b.slot = string(appendPart(nil, tc.slot))
		}
		got := string(b.appendKey(nil, traffik.Key{Scope: unique.Make(tc.scope), ID: tc.id}))
		if got != tc.want {
			t.Errorf("key of %q, %q in slot %q is %q, want %q", tc.id, tc.scope, tc.slot, got, tc.want)
		}
	}
}

// FuzzParts: different texts give different parts, none of which could end a key
// or a hash tag.
func FuzzParts(f *testing.F) {
	f.Add("a b", "a%20b")
	f.Add("", "%")
	f.Add(strings.Repeat("}", 100), strings.Repeat("{", 100))
	f.Fuzz(func(t *testing.T, a, b string) {
		partA, partB := string(appendPart(nil, a)), string(appendPart(nil, b))
		if (a == b) != (partA == partB) {
			t.Errorf("%q and %q become %q and %q", a, b, partA, partB)
		}
		if scopeA, scopeB := string(appendScope(nil, store.ScopeOf(a, "x").Value())), string(appendScope(nil, store.ScopeOf(b, "x").Value())); (a == b) != (scopeA == scopeB) {
			t.Errorf("the scopes of %q and %q become %q and %q", a, b, scopeA, scopeB)
		}
		if partA == "" || len(partA) > maxPartBytes || strings.ContainsAny(partA, "{}! \r\n\t\x00") {
			t.Errorf("%q becomes %q", a, partA)
		}
	})
}

// The slots are those of the specification and of CLUSTER KEYSLOT.
func TestSlots(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]uint16{"123456789": 0x31c3, "user1000": 3443, "foo": 12182, "": 0} {
		if got := hashSlot(tag); got != want {
			t.Errorf("slot of %q is %d, want %d", tag, got, want)
		}
	}
}
