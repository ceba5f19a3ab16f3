package backendtest

import (
	"crypto/rand"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

const (
	// epoch is where settable clocks start.
	epoch traffik.Instant = 1_700_000_000_000_000
	// forever is so long a period that nothing rolls, leaks or expires while a test runs,
	// whatever clock the backend has.
	forever = 100 * 365 * 24 * time.Hour
)

var (
	// strategies are those that every case about counting goes through, each with room for
	// five at once.
	strategies = []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.GCRA{Burst: 5}, counter{}}
	// timed are those that cases about time go through.
	timed = []traffik.Strategy{traffik.FixedWindow{}, traffik.TokenBucket{}, traffik.GCRA{Burst: 5}}
)

// each runs a case for every one of strategies.
func each(run func(h *harness, s traffik.Strategy)) func(h *harness) {
	return func(h *harness) {
		for _, s := range strategies {
			run(h, s)
		}
	}
}

// harness is the backend under test and what the cases need around it.
type harness struct {
	*testing.T
	features Features
	backend  traffik.Backend
	setNow   func(traffik.Instant)
}

// newHarness makes a backend for one case. Its clock starts at the epoch, the same on each
// run.
func newHarness(t *testing.T, features Features, newBackend New) *harness {
	t.Helper()
	h := &harness{T: t, features: features}
	h.backend, h.setNow = newBackend(t)
	if h.setNow != nil {
		h.setNow(epoch)
	}
	return h
}

var (
	// run tells the names of this process from those of others on a shared store.
	run = rand.Text()[:8]
	// serial tells the names of this process apart.
	serial atomic.Int64
)

// unique returns a name that no other case, and no other run on a shared store, uses.
func unique(kind string) string {
	return kind + "-" + run + "-" + strconv.FormatInt(serial.Add(1), 10)
}

// key returns a new key of a new identity.
func (h *harness) key(s traffik.Strategy) traffik.Key { return h.keyOf(s, unique("id")) }

// keyOf returns a new key of an identity.
func (h *harness) keyOf(s traffik.Strategy, id string) traffik.Key {
	return traffik.Key{Scope: store.ScopeOf(unique("uid"), s.ID()), ID: id}
}

// draw returns a draw of units on a new key, of five each forever.
func (h *harness) draw(s traffik.Strategy, units int64) traffik.Op { return op(h.key(s), s, units) }

// pair returns draws on two new keys of one identity.
func (h *harness) pair(s traffik.Strategy, unitsA, unitsB int64) (a, b traffik.Op) {
	id := unique("id")
	return op(h.keyOf(s, id), s, unitsA), op(h.keyOf(s, id), s, unitsB)
}

// op returns a draw of units on key, of five each forever.
func op(key traffik.Key, s traffik.Strategy, units int64) traffik.Op {
	return traffik.Op{Key: key, Strategy: s, Draw: traffik.Draw{Rate: traffik.Per(5, forever), Cost: units}}
}

// cost returns of with another cost.
func cost(of traffik.Op, units int64) traffik.Op {
	of.Draw.Cost = units
	return of
}

// force returns of as a forced charge.
func force(of traffik.Op, units int64) traffik.Op {
	of.Draw.Cost, of.Draw.Force = units, true
	return of
}

// at returns of at another rate.
func at(rate traffik.Rate, of traffik.Op) traffik.Op {
	of.Draw.Rate = rate
	return of
}

// take fails the case on an error: only cases about errors call the backend directly.
func (h *harness) take(ops ...traffik.Op) []traffik.Decision {
	h.Helper()
	out := make([]traffik.Decision, len(ops))
	if err := h.backend.Take(h.Context(), ops, out); err != nil {
		h.Fatalf("Take: %v", err)
	}
	return out
}

// peek is take for Peek.
func (h *harness) peek(ops ...traffik.Op) []traffik.Decision {
	h.Helper()
	out := make([]traffik.Decision, len(ops))
	if err := h.backend.Peek(h.Context(), ops, out); err != nil {
		h.Fatalf("Peek: %v", err)
	}
	return out
}

func (h *harness) reset(keys ...traffik.Key) {
	h.Helper()
	if err := h.backend.Reset(h.Context(), keys...); err != nil {
		h.Fatalf("Reset of %d keys: %v", len(keys), err)
	}
}

// left returns how many units a look by Peek says remain.
func (h *harness) left(of traffik.Op) int64 {
	h.Helper()
	// Without the class, a look would repair what the case wants to see.
	of.Draw.Class = ""
	return h.peek(cost(of, 0))[0].Remaining
}

// wantLeft asks by Peek, so that the check itself changes nothing.
func (h *harness) wantLeft(of traffik.Op, want int64) {
	h.Helper()
	if got := h.left(of); got != want {
		h.Errorf("%s: %d remain, want %d", of.Strategy.ID(), got, want)
	}
}

func (h *harness) wantAllowed(dec traffik.Decision, want bool, what string) {
	h.Helper()
	if dec.Allowed != want {
		h.Errorf("%s: allowed is %v, want %v (%+v)", what, dec.Allowed, want, dec)
	}
}
