package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// partly takes ops part by part, those of each first letter of the key together, in a
// backend in memory, and notes what it was asked for.
type partly struct {
	store.Parts
	mu    sync.Mutex
	asked []string
	fail  func(what string) error
}

func newPartly(t *testing.T) (*partly, traffik.Backend) {
	t.Helper()
	b := newBackend(t, multiFake{newFake()}, store.Options{})
	p := &partly{fail: func(string) error { return nil }}
	p.Of = func(key traffik.Key) any { return key.ID[0] }
	p.Take = func(ctx context.Context, ops []traffik.Op, out []traffik.Decision, peek bool) error {
		var what []string
		for _, op := range ops {
			what = append(what, fmt.Sprintf("%s%+d", op.Key.ID, op.Draw.Cost))
		}
		text := strings.Join(what, " ")
		if peek {
			text = "peek " + text
		}
		p.mu.Lock()
		p.asked = append(p.asked, text)
		p.mu.Unlock()
		if err := p.fail(text); err != nil {
			return err
		}
		if peek {
			return b.Peek(ctx, ops, out)
		}
		return b.Take(ctx, ops, out)
	}
	return p, b
}

// want runs ops and compares what was asked for, in any order among "|", each a phase.
func (p *partly) want(t *testing.T, asked string, ops ...traffik.Op) ([]traffik.Decision, error) {
	t.Helper()
	out := make([]traffik.Decision, len(ops))
	p.asked = nil
	err := p.Run(t.Context(), ops, out, false)
	got, at := slices.Clone(p.asked), 0
	var phases []string
	for phase := range strings.SplitSeq(asked, " | ") {
		n := min(at+len(strings.Split(phase, ", ")), len(got))
		slices.Sort(got[at:n])
		phases = append(phases, strings.Join(got[at:n], ", "))
		at = n
	}
	if text := strings.Join(phases, " | "); text != asked || at != len(got) {
		t.Errorf("it asked for %q, want %q", got, asked)
	}
	return out, err
}

func TestParts(t *testing.T) {
	t.Parallel()
	p, b := newPartly(t)
	forced := draw("c1", 20)
	forced.Draw.Force = true
	if _, err := p.want(t, "a1+2 a2+3, b1+1 | a3-1, c1+20", draw("a1", 2), draw("b1", 1), draw("a2", 3), draw("a3", -1), forced); err != nil {
		t.Error(err)
	}
	wantLeft(t, b, "a2", 7)
	wantLeft(t, b, "c1", 0)
	// A denial: what the others drew is refunded, and what nobody can deny is a look.
	out, err := p.want(t, "a1+2, b1+10 | a1-2 | peek a3+0", draw("a1", 2), draw("b1", 10), draw("a3", -1))
	if err != nil || out[1].Allowed || out[0].Remaining != 8 {
		t.Errorf("%+v, %v; want a denial by the second", out, err)
	}
	wantLeft(t, b, "a1", 8)
	wantLeft(t, b, "b1", 9)
}

func TestPartsThatFail(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	p, b := newPartly(t)
	p.fail = func(what string) error {
		if strings.HasPrefix(what, "b") {
			return down
		}
		return nil
	}
	if _, err := p.want(t, "a1+2, b1+1 | a1-2", draw("a1", 2), draw("b1", 1), draw("a3", -1)); !errors.Is(err, down) {
		t.Errorf("error %v", err)
	}
	// The late part fails: the draws are refunded, the other late one stays.
	if _, err := p.want(t, "a1+2 | b1-1 | a1-2", draw("a1", 2), draw("b1", -1)); !errors.Is(err, down) {
		t.Errorf("error %v", err)
	}
	wantLeft(t, b, "a1", 10)
	// A panic goes on after the refunds.
	bad := draw("b1", 1)
	bad.Strategy, p.fail = broken{}, func(string) error { return nil }
	func() {
		defer func() {
			if got := recover(); got != "defect" {
				t.Errorf("recovered %v", got)
			}
		}()
		_, _ = p.want(t, "a1+2, b1+1 | a1-2", draw("a1", 2), bad)
	}()
	wantLeft(t, b, "a1", 10)
}

// A part whose keys can't be taken together just now is taken key by key: the draws from
// the start, the rest without those parts that succeeded.
func TestPartsAreSplit(t *testing.T) {
	t.Parallel()
	moving := errors.New("try again")
	p, b := newPartly(t)
	p.Split = func(err error) bool { return errors.Is(err, moving) }
	p.fail = func(what string) error {
		if strings.HasPrefix(what, "a") && strings.Contains(what, " ") {
			return moving
		}
		return nil
	}
	if _, err := p.want(t, "a1+2 a2+3, b1+1 | b1-1 | a1+2, a2+3, b1+1 | c1-1", draw("a1", 2), draw("b1", 1), draw("a2", 3), draw("c1", -1)); err != nil {
		t.Error(err)
	}
	wantLeft(t, b, "a2", 7)
	wantLeft(t, b, "b1", 9)
	if _, err := p.want(t, "a1-1 a2-1, b1-1 | a1-1, a2-1", draw("a1", -1), draw("b1", -1), draw("a2", -1)); err != nil {
		t.Error(err)
	}
	wantLeft(t, b, "a2", 8)
	wantLeft(t, b, "b1", 10)
}
