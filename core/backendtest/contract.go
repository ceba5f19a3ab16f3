package backendtest

import (
	"context"
	"errors"
	"strings"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// showMark reads the repaired mark of a counter's key by showing it in Remaining, which
// works on every backend.
type showMark struct{ counter }

func (s showMark) Decide(dst, state []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	_, mark, _ := s.read(state)
	return dst, traffik.Decision{Allowed: true, Limit: 1, Remaining: int64(mark), ResetAfter: forever, At: d.Now}
}

// wantRepaired expects nothing to be repaired on a store that declares LatestTime.
func (h *harness) wantRepaired(of traffik.Op, want bool, when string) {
	h.Helper()
	want = want && !h.features.LatestTime
	of.Strategy = showMark{}
	if got := h.peek(cost(of, 0))[0].Remaining == repaired; got != want {
		h.Errorf("%s: the repaired state is stored: %v, want %v", when, got, want)
	}
}

// onCounter returns ops of one caller, on a full key and on one with room. The next look or
// denial repairs either state.
func (h *harness) onCounter() (full, roomy traffik.Op) {
	full, roomy = h.pair(counter{}, 5, 2)
	h.take(full, roomy)
	full.Draw.Class, roomy.Draw.Class = repairClass, repairClass
	return full, roomy
}

// testRepair: looks and denials charge nothing but store a repaired state. Otherwise the
// key would be repaired anew by each call, and RetryAfter would never come closer.
func testRepair(h *harness) {
	full, roomy := h.onCounter()
	h.take(cost(roomy, 0))
	h.wantRepaired(roomy, true, "after a look")
	h.wantLeft(roomy, 3)
	h.take(full)
	h.wantRepaired(full, true, "after a denial")
	h.wantLeft(full, 0)

	full, _ = h.onCounter()
	h.take(cost(full, traffik.MaxUnits))
	h.wantRepaired(full, true, "after a denial for ever")
}

// testRepairInDeniedTake: a denied Take stores the repairs of all its ops, even of those
// that would have fitted.
func testRepairInDeniedTake(h *harness) {
	full, roomy := h.onCounter()
	h.take(roomy, full)
	h.wantRepaired(full, true, "the denying op of a denied Take")
	h.wantRepaired(roomy, true, "the other op of a denied Take")
	h.wantLeft(roomy, 3)
}

// testPeek: a Peek stores nothing, neither on an untouched key nor for a refund, a forced
// charge or a repair.
func testPeek(h *harness) {
	for _, s := range strategies {
		draw := h.draw(s, 2)
		h.peek(draw)
		h.wantLeft(draw, 5)
		h.take(draw)
		for _, op := range []traffik.Op{draw, cost(draw, -2), force(draw, 2)} {
			h.peek(op)
		}
		h.wantLeft(draw, 3)
	}
	full, _ := h.onCounter()
	h.peek(full)
	h.wantRepaired(full, false, "after a Peek")
}

// testPeekAnswers: a Peek decides several ops together, as Take does, and not each alone.
func testPeekAnswers(h *harness, s traffik.Strategy) {
	a, b := h.pair(s, 2, 5)
	h.wantAnswers(h.peek(a, b), h.take(a, b), s)
	h.wantAnswers(h.peek(a, b), h.take(a, b), s) // b denies now
	a.Advisory, a.Draw.Cost = true, 4
	h.wantAnswers(h.peek(a), h.take(a), s)
}

// wantAnswers compares all but the times, which a running clock moves.
func (h *harness) wantAnswers(peeked, taken []traffik.Decision, s traffik.Strategy) {
	h.Helper()
	for i := range taken {
		p, k := peeked[i], taken[i]
		if p.Allowed != k.Allowed || p.Remaining != k.Remaining || p.Limit != k.Limit {
			h.Errorf("%s, op %d: Peek said %+v, Take %+v", s.ID(), i, p, k)
		}
	}
}

// testReset: keys are untouched after a Reset, even in a batch with keys that nobody has
// drawn on. A Reset of no keys is no error.
func testReset(h *harness, s traffik.Strategy) {
	a, b := h.pair(s, 5, 5)
	h.take(a, b)
	h.reset(a.Key)
	h.wantLeft(a, 5)
	h.wantLeft(b, 0)
	other := h.key(s)
	h.reset(b.Key, other) // nobody has drawn on other
	h.wantLeft(b, 5)
	h.wantAllowed(h.take(a)[0], true, "a draw after Reset")
	h.take(b)
	h.reset(other, a.Key, b.Key)
	h.wantLeft(a, 5)
	h.wantLeft(b, 5)
	h.reset()
}

// testKeysDistinct: keys that are alike don't share a count, whatever the store joins scope
// and identity with.
func testKeysDistinct(h *harness) {
	s := traffik.FixedWindow{}
	id, scope := unique("id"), store.ScopeOf(unique("uid"), s.ID())
	h.take(op(traffik.Key{Scope: scope, ID: id}, s, 5))
	for what, key := range map[string]traffik.Key{
		"another identity":            {Scope: scope, ID: id + "x"},
		"a prefix of it":              {Scope: scope, ID: id[:len(id)-1]},
		"another scope":               h.keyOf(s, id),
		"the identity in other case":  {Scope: scope, ID: strings.ToUpper(id)},
		"scope and identity shifted":  {Scope: store.ScopeOf(scope.Value(), ""), ID: id},
		"a different strategy's name": {Scope: store.ScopeOf(scope.Value(), "x"), ID: id},
	} {
		if got := h.left(op(key, s, 1)); got != 5 {
			h.Errorf("%s has %d remaining after draws of the first key, want 5", what, got)
		}
	}
}

// identities returns some that have broken stores: too long, empty, with bytes that end a
// line or a key, or that are not text at all.
func identities() []string {
	return []string{
		"", " ", "a b", "a\tb", "a\nb", "a\r\nb", "\r\nset x 0 0 1\r\n1", "a\x00b", "\x00", "{", "}", "{a}b", "a{}b",
		"a:b", "a|b", "a%b", "a%20b", "a+b", "*", "a*", "ключ", "鍵", "\xff\xfe", "a\xffb", "a\x7fb", "\u2028",
		strings.Repeat("k", 250), strings.Repeat("k", 251), strings.Repeat("k", 10<<10), strings.Repeat("k", 10<<10) + "x",
		strings.Repeat("é", 5<<10),
	}
}

// testAnyIdentity draws on all identities before it looks at any, so that two of them on
// one counter show.
func testAnyIdentity(h *harness) {
	s := traffik.FixedWindow{}
	scope := store.ScopeOf(unique("uid {x} \r\n"), s.ID())
	for _, id := range identities() {
		h.take(op(traffik.Key{Scope: scope, ID: id}, s, 2))
	}
	for _, id := range identities() {
		draw := op(traffik.Key{Scope: scope, ID: id}, s, 1)
		if got := h.left(draw); got != 3 {
			h.Errorf("identity %.40q (%d bytes) has %d remaining after one draw of 2, want 3", id, len(id), got)
		}
	}
}

// calls are Take and Peek.
func (h *harness) calls() map[string]func(context.Context, []traffik.Op, []traffik.Decision) error {
	return map[string]func(context.Context, []traffik.Op, []traffik.Decision) error{"Take": h.backend.Take, "Peek": h.backend.Peek}
}

// testDuplicateKeys: a call with one key twice is refused as a whole. Decided on the state
// before the call, both ops could fit where one does.
func testDuplicateKeys(h *harness) {
	a, b := h.pair(traffik.FixedWindow{}, 1, 1)
	for name, call := range h.calls() {
		if err := call(h.Context(), []traffik.Op{a, b, a}, make([]traffik.Decision, 3)); !errors.Is(err, traffik.ErrDuplicateKey) {
			h.Errorf("%s of two ops with one key: error %v, want ErrDuplicateKey", name, err)
		}
	}
	h.wantLeft(a, 5)
	h.wantLeft(b, 5)
}

// testWrongOps: a wrong op fails the whole Take before anything is drawn. A Take of nothing
// succeeds.
func testWrongOps(h *harness) {
	good, other := h.draw(traffik.FixedWindow{}, 1), h.draw(traffik.FixedWindow{}, 1)
	noStrategy := good
	noStrategy.Strategy = nil
	for what, bad := range map[string]traffik.Op{
		"the zero Rate": at(traffik.Rate{}, good), "Unlimited": at(traffik.Unlimited, good), "no strategy": noStrategy,
	} {
		if h.backend.Take(h.Context(), []traffik.Op{other, bad}, make([]traffik.Decision, 2)) == nil {
			h.Errorf("Take of an op with %s: no error", what)
		}
	}
	if h.backend.Take(h.Context(), []traffik.Op{other, good}, make([]traffik.Decision, 1)) == nil {
		h.Error("Take with room for one of two decisions: no error")
	}
	h.wantLeft(other, 5)
	if err := h.backend.Take(h.Context(), nil, nil); err != nil {
		h.Errorf("Take of nothing: %v", err)
	}
}

// testEndedContext: a call whose context has already ended draws nothing, and its error is
// the cause.
func testEndedContext(h *harness) {
	draw := h.draw(traffik.FixedWindow{}, 1)
	cause := errors.New("the caller left")
	ctx, cancel := context.WithCancelCause(h.Context())
	cancel(cause)
	for name, call := range h.calls() {
		err := call(ctx, []traffik.Op{draw}, make([]traffik.Decision, 1))
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			h.Errorf("%s with an ended context: error %v, want its cause", name, err)
		}
	}
	h.wantLeft(draw, 5)
}

// poison fails the test when a backend decides an op after the call has returned.
type poison struct{ h *harness }

func (poison) ID() string { return "backendtest_poison.1" }

func (p poison) Decide(dst, _ []byte, d *traffik.Draw) ([]byte, traffik.Decision) {
	p.h.Errorf("the backend decided an op after the call that brought it had returned")
	return dst, traffik.Decision{At: d.Now}
}

// testKeepsNoSlice reuses ops and out after each call, as core does with pooled memory. The
// contexts end at different moments of the round trip.
func testKeepsNoSlice(h *harness) {
	s := traffik.FixedWindow{}
	var spoiled [][]traffik.Decision
	mark := traffik.Decision{Limit: -7, At: 77}
	call := func(ctx context.Context, ops ...traffik.Op) {
		out := make([]traffik.Decision, len(ops))
		if err := h.backend.Take(ctx, ops, out); err != nil && ctx.Err() == nil {
			h.Errorf("Take: %v", err)
		}
		for i := range ops {
			ops[i] = traffik.Op{Strategy: poison{h}}
			out[i] = mark
		}
		spoiled = append(spoiled, out)
	}
	for i := range 50 {
		a, b := h.pair(s, 1, 1)
		ctx, cancel := context.WithTimeout(h.Context(), time.Duration(i)*20*time.Microsecond)
		call(ctx, a, b) // may end while under way
		cancel()
		call(h.Context(), a)
		call(h.Context(), a, b)
	}
	for _, out := range spoiled {
		for _, dec := range out {
			if dec != mark {
				h.Fatalf("the backend wrote a decision after Take had returned: %+v", dec)
			}
		}
	}
}

// testLargeState: a store keeps states up to its bound in full. A state cut short would
// hand out a fresh quota.
func testLargeState(h *harness) {
	pad := 64<<10 - counterHead
	if most := h.features.MaxStateBytes; most > 0 {
		pad = min(pad, most-counterHead)
	}
	s := counter{pad: pad}
	draw := h.draw(s, 2)
	h.take(draw)
	if dec := h.take(draw)[0]; dec.Limit != 5 || dec.Remaining != 1 {
		h.Errorf("after two draws with a state of %d bytes: %+v, want 1 of 5 remaining", pad+counterHead, dec)
	}
}

// testOneReading: all ops of a Take are decided at one instant, which the backend also
// notes in Draw.Now.
func testOneReading(h *harness) {
	a, b := h.pair(traffik.GCRA{Burst: 5}, 1, 1)
	ops := []traffik.Op{a, b}
	out := make([]traffik.Decision, 2)
	if err := h.backend.Take(h.Context(), ops, out); err != nil {
		h.Fatal(err)
	}
	if out[0].At != out[1].At {
		h.Errorf("two ops of one Take were decided at %d and %d, want one reading of the clock", out[0].At, out[1].At)
	}
	if h.setNow != nil && out[0].At != epoch {
		h.Errorf("decided at %d, want the clock's %d", out[0].At, epoch)
	}
	if ops[0].Draw.Now != out[0].At {
		h.Errorf("Draw.Now is %d after the Take, want the reading %d", ops[0].Draw.Now, out[0].At)
	}
}

// testClose: Close may be called twice, and later calls say that the backend is closed
// instead of hanging or drawing.
func testClose(h *harness) {
	draw := h.draw(traffik.FixedWindow{}, 1)
	for range 2 {
		if err := h.backend.Close(); err != nil {
			h.Errorf("Close: %v", err)
		}
	}
	for name, call := range h.calls() {
		if err := call(h.Context(), []traffik.Op{draw}, make([]traffik.Decision, 1)); !errors.Is(err, traffik.ErrClosed) {
			h.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

// testReadStates: states are appended to dst as copies that the caller owns, in the order
// of the keys.
func testReadStates(h *harness) {
	reader, ok := h.backend.(traffik.StateReader)
	if !ok {
		h.Skip("the backend is no StateReader")
	}
	s := counter{}
	a, b := h.pair(s, 2, 3)
	h.take(a)
	states, now, err := reader.ReadStates(h.Context(), []traffik.Key{a.Key, b.Key}, [][]byte{[]byte("kept")})
	if errors.Is(err, errors.ErrUnsupported) {
		h.Skip("the backend beneath is no StateReader")
	}
	if err != nil {
		h.Fatalf("ReadStates: %v", err)
	}
	if len(states) != 3 || string(states[0]) != "kept" {
		h.Fatalf("ReadStates returned %q, want two states appended to dst", states)
	}
	if n, _, intact := s.read(states[1]); n != 2 || !intact {
		h.Errorf("the state of a drawn key is %x, want a count of 2", states[1])
	}
	if len(states[2]) != 0 {
		h.Errorf("the state of an untouched key is %x, want none", states[2])
	}
	if h.setNow != nil && now != epoch {
		h.Errorf("ReadStates read the clock as %d, want %d", now, epoch)
	}
	for i := range states[1] {
		states[1][i] = 0xee // the caller may write to it
	}
	h.wantLeft(a, 3)
}

// testResetNamespace resets every key of the namespace while other cases run, so each
// backend needs a separate namespace.
func testResetNamespace(h *harness) {
	resetter, ok := h.backend.(traffik.NamespaceResetter)
	if !ok {
		h.Skip("the backend is no NamespaceResetter")
	}
	a, b := h.draw(traffik.FixedWindow{}, 5), h.draw(traffik.FixedWindow{}, 5)
	h.take(a, b)
	if err := resetter.ResetNamespace(h.Context()); err != nil {
		h.Fatalf("ResetNamespace: %v", err)
	}
	h.wantLeft(a, 5)
	h.wantLeft(b, 5)
}
