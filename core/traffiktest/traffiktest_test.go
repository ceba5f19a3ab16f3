package traffiktest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

const leakVariable = "TRAFFIK_TEST_LEAK"

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }

// TestLeak leaves a goroutine behind when the environment asks for it.
func TestLeak(*testing.T) {
	if os.Getenv(leakVariable) != "" {
		go func() { select {} }()
	}
}

// A goroutine left behind fails the process, and is shown.
func TestLeaksAreFound(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLeak$") //nolint:gosec // this very binary
	cmd.Env = append(os.Environ(), leakVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "goroutines left behind") || !strings.Contains(string(out), "TestLeak") {
		t.Errorf("%v, output:\n%s", err, out)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	c := traffiktest.NewClock(time.Unix(10, 0))
	c.Advance(time.Second)
	c.Advance(-3 * time.Second)
	if got := c.Now(); got != 8_000_000 {
		t.Errorf("the clock says %d, want 8 s", got)
	}
	c.Advance(-time.Hour)
	if got := c.Now(); got != 0 {
		t.Errorf("the clock says %d, want it to stop at 1970", got)
	}
}

func TestRecorderAndFaulty(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	faulty := traffiktest.Break(memory)
	recorder := traffiktest.Record(faulty)
	limit := traffik.MustNew("recorded", "5/h", traffik.WithBackend(recorder), traffik.WithErrorPolicy(traffik.Propagate))
	if _, err := limit.Key("k").HitN(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := limit.Key("k").Stat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if takes := recorder.Takes(); len(takes) != 1 || takes[0][0].Draw.Cost != 2 || takes[0][0].Key.ID != "k" {
		t.Errorf("recorded %+v, want one Take of 2", takes)
	}
	if peeks := recorder.Peeks(); len(peeks) != 1 {
		t.Errorf("recorded %d Peeks, want 1", len(peeks))
	}
	down := errors.New("down")
	faulty.Fail(down)
	if _, err := limit.Key("k").Hit(t.Context()); !errors.Is(err, down) {
		t.Errorf("error %v, want the one that was set", err)
	}
	if err := limit.Key("k").Reset(t.Context()); !errors.Is(err, down) {
		t.Errorf("error %v from Reset, want the one that was set", err)
	}
	if _, err := limit.Key("k").Describe(t.Context()); !errors.Is(err, down) {
		t.Errorf("error %v from Describe, want the one that was set", err)
	}
	faulty.Fail(nil)
	if res, err := limit.Key("k").Hit(t.Context()); err != nil || res.Remaining != 2 {
		t.Errorf("%+v, %v after the failure, want 2 remaining", res, err)
	}
}

// small is a store of tiny items, with a policy and a namespace.
type small struct {
	traffik.Backend
	resets int
}

func (*small) MaxStateBytes() int                     { return 1 }
func (*small) ErrorPolicy(error) traffik.ErrorPolicy  { return traffik.FailClosed }
func (s *small) ResetNamespace(context.Context) error { s.resets++; return nil }

type powers interface {
	traffik.Backend
	traffik.StateBounder
	traffik.PolicySetter
	traffik.NamespaceResetter
}

// Both pass the powers of the store beneath on, and lack what it lacks.
func TestPowersAreForwarded(t *testing.T) {
	t.Parallel()
	store := &small{}
	faulty := traffiktest.Break(store)
	for _, around := range []powers{faulty, traffiktest.Record(faulty)} {
		if _, err := traffik.New("small", "5/h", traffik.WithBackend(around), traffik.WithStrategy(traffik.TokenBucket{})); !errors.Is(err, traffik.ErrConfig) {
			t.Errorf("%T: error %v, want the state refused that does not fit", around, err)
		}
		if got := around.ErrorPolicy(nil); got != traffik.FailClosed {
			t.Errorf("%T: policy %v, want FailClosed", around, got)
		}
		if err := around.ResetNamespace(t.Context()); err != nil {
			t.Errorf("%T: %v", around, err)
		}
		bare := []powers{traffiktest.Break(struct{ traffik.Backend }{}), traffiktest.Record(struct{ traffik.Backend }{})}
		for _, around := range bare {
			if err := around.ResetNamespace(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("%T: error %v, want ErrUnsupported", around, err)
			}
			if around.ErrorPolicy(nil) != traffik.DefaultPolicy || around.MaxStateBytes() < 1<<30 {
				t.Errorf("%T has powers that the store beneath lacks", around)
			}
		}
	}
	down := errors.New("down")
	faulty.Fail(down)
	if err := faulty.ResetNamespace(t.Context()); !errors.Is(err, down) || store.resets != 2 {
		t.Errorf("error %v after %d resets, want the one that was set after 2", err, store.resets)
	}
}

func TestSlowEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		slow := traffiktest.Break(memory)
		slow.Slow(time.Hour)
		limit := traffik.MustNew("slow", "5/h", traffik.WithBackend(slow), traffik.WithErrorPolicy(traffik.Propagate))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := limit.Key("k").Hit(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("error %v after %v, want the context's after a second", err, time.Since(start))
		}
	})
}
