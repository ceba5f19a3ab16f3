package memcachedtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// forever is so long a period that nothing rolls while a test runs.
const forever = 1000 * time.Hour

// namespace returns one that no other test, and no other run on a shared
// server, uses.
func namespace(t *testing.T) string {
	t.Helper()
	return strings.ToLower(rand.Text()[:16])
}

// opOf is a draw of cost units of five forever, by FixedWindow.
func opOf(id string, cost int64) traffik.Op {
	s := traffik.FixedWindow{}
	return traffik.Op{
		Key:      traffik.Key{Scope: store.ScopeOf("test", s.ID()), ID: id},
		Strategy: s,
		Draw:     traffik.Draw{Rate: traffik.Per(5, forever), Cost: cost},
	}
}

// take draws and ends the test on an error.
func take(t *testing.T, b traffik.Backend, ops ...traffik.Op) []traffik.Decision {
	t.Helper()
	out := make([]traffik.Decision, len(ops))
	if err := b.Take(t.Context(), ops, out); err != nil {
		t.Fatalf("Take: %v", err)
	}
	return out
}

// wantLeft checks what remains of the five of id.
func wantLeft(t *testing.T, b traffik.Backend, id string, want int64) {
	t.Helper()
	out := make([]traffik.Decision, 1)
	if err := b.Peek(t.Context(), []traffik.Op{opOf(id, 0)}, out); err != nil {
		t.Fatalf("Peek: %v", err)
	}
	if out[0].Remaining != want {
		t.Errorf("%.40q has %d remaining, want %d", id, out[0].Remaining, want)
	}
}

// take1 draws one unit and says what came of it.
func take1(t *testing.T, b traffik.Backend, id string) string {
	t.Helper()
	out := make([]traffik.Decision, 1)
	switch err := b.Take(t.Context(), []traffik.Op{opOf(id, 1)}, out); {
	case errors.Is(err, traffik.ErrBackend):
		return "error: " + err.Error()
	case err != nil:
		t.Fatalf("an error that does not wrap ErrBackend: %v", err)
	case !out[0].Allowed:
		return "denied"
	}
	return fmt.Sprintf("%d remaining", out[0].Remaining)
}
