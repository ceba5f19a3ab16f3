package backendtest_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/backendtest"
)

// broken wraps the in-process backend with one fault.
type broken struct {
	traffik.Backend
	take func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error
	peek func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error
}

func (b broken) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if b.take == nil {
		return b.Backend.Take(ctx, ops, out)
	}
	return b.take(b.Backend, ctx, ops, out)
}

func (b broken) Peek(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	if b.peek == nil {
		return b.Backend.Peek(ctx, ops, out)
	}
	return b.peek(b.Backend, ctx, ops, out)
}

// faults are backends that each break one promise, and the case that must
// notice (others may as well).
var faults = map[string]struct {
	noticedBy string
	make      func(m traffik.Backend) traffik.Backend
}{
	"deletes on a look": {"LookKeepsTheKey", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			err := m.Take(ctx, ops, out)
			for _, op := range ops {
				if op.Draw.Cost == 0 {
					_ = m.Reset(ctx, op.Key)
				}
			}
			return err
		}}
	}},
	"no rollback": {"AllOrNothing", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: oneByOne}
	}},
	"charges on a denial": {"DenialChargesNothing", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			err := m.Take(ctx, ops, out)
			for i := range ops {
				if err == nil && !out[i].Allowed {
					forced := ops[i : i+1 : i+1]
					forced = slices.Clone(forced)
					forced[0].Draw.Force = true
					err = m.Take(ctx, forced, make([]traffik.Decision, 1))
				}
			}
			return err
		}}
	}},
	"keeps the slices": {"KeepsNoSlice", func(m traffik.Backend) traffik.Backend {
		var kept []traffik.Decision
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			for i := range kept {
				kept[i] = traffik.Decision{}
			}
			err := m.Take(ctx, ops, out)
			kept = out
			return err
		}}
	}},
	"ignores TakenAt": {"RefundIntoARolledWindow", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			for i := range ops {
				ops[i].Draw.TakenAt = 0
			}
			return m.Take(ctx, ops, out)
		}}
	}},
	"ignores FreeAt": {"LateRefund", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			for i := range ops {
				ops[i].Draw.FreeAt = 0
			}
			return m.Take(ctx, ops, out)
		}}
	}},
	"ignores Delay": {"QueueRefund", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			for i := range ops {
				ops[i].Draw.Delay = 0
			}
			return m.Take(ctx, ops, out)
		}}
	}},
	"drops repair": {"RepairedStateIsStored", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			if err := m.Peek(ctx, ops, out); err != nil {
				return err
			}
			for i := range ops {
				if ops[i].Draw.Cost == 0 || !out[i].Allowed && !ops[i].Advisory {
					return nil
				}
			}
			return m.Take(ctx, ops, out)
		}}
	}},
	"Peek writes": {"PeekWritesNothing", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, peek: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			return m.Take(ctx, ops, out)
		}}
	}},
	"ignores Force": {"Force", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			for i := range ops {
				ops[i].Draw.Force = false
			}
			return m.Take(ctx, ops, out)
		}}
	}},
	"obeys advisory denials": {"AdvisoryStopsNobody", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			for i := range ops {
				ops[i].Advisory = false
			}
			return m.Take(ctx, ops, out)
		}}
	}},
	"keeps nothing of an ended context": {"EndedContext", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			return m.Take(context.WithoutCancel(ctx), ops, out)
		}}
	}},
	"Reset forgets everything": {"Reset", func(m traffik.Backend) traffik.Backend { return resetsAll{m} }},
	"folds case":               {"KeysAreDistinct", func(m traffik.Backend) traffik.Backend { return foldsCase(m) }},
	"cuts long identities":     {"AnyIdentity", func(m traffik.Backend) traffik.Backend { return cutsIdentities(m) }},
	"two readings of the clock": {"OneClockReading", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			err := m.Take(ctx, ops, out)
			for i := range ops {
				out[i].At += traffik.Instant(i)
			}
			return err
		}}
	}},
	"believes a clock before 1970": {"ClockOutOfRange", func(m traffik.Backend) traffik.Backend {
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			err := m.Take(ctx, ops, out)
			for i := range ops {
				if out[i].At == 0 {
					out[i].At = -1
				}
			}
			return err
		}}
	}},
	"races": {"Concurrency", func(m traffik.Backend) traffik.Backend {
		// Looks, and then draws whatever the look said: the gap between is open.
		return broken{Backend: m, take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			if err := m.Peek(ctx, ops, out); err != nil {
				return err
			}
			for i := range out {
				if !out[i].Allowed {
					return m.Take(ctx, ops, out)
				}
			}
			forced := slices.Clone(ops)
			for i := range forced {
				forced[i].Draw.Force = forced[i].Draw.Cost > 0
			}
			gap()
			return m.Take(ctx, forced, out)
		}}
	}},
}

// gap lets others in between.
func gap() {
	time.Sleep(100 * time.Microsecond) //nolint:forbidigo // the fault is this very gap
}

// oneByOne draws op after op and leaves what it drew when a later one denies.
func oneByOne(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	for i := range ops {
		if err := m.Take(ctx, ops[i:i+1], out[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

type resetsAll struct{ traffik.Backend }

func (r resetsAll) Reset(ctx context.Context, _ ...traffik.Key) error {
	return r.Backend.(traffik.NamespaceResetter).ResetNamespace(ctx) //nolint:forcetypeassert // it is the in-process backend
}

func renames(m traffik.Backend, rename func(string) string) traffik.Backend {
	call := func(draw func(context.Context, []traffik.Op, []traffik.Decision) error, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
		for i := range ops {
			ops[i].Key.ID = rename(ops[i].Key.ID)
		}
		return draw(ctx, ops, out)
	}
	return broken{
		Backend: m,
		take: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			return call(m.Take, ctx, ops, out)
		},
		peek: func(m traffik.Backend, ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
			return call(m.Peek, ctx, ops, out)
		},
	}
}

func foldsCase(m traffik.Backend) traffik.Backend { return renames(m, strings.ToUpper) }

func cutsIdentities(m traffik.Backend) traffik.Backend {
	return renames(m, func(id string) string { return id[:min(len(id), 250)] })
}

const faultVariable = "TRAFFIK_BACKENDTEST_FAULT"

// TestFault runs the suite on the backend with the fault that the environment
// names. It is a helper of TestFaultsAreNoticed and passes without one.
func TestFault(t *testing.T) {
	fault, ok := faults[os.Getenv(faultVariable)]
	if !ok {
		return
	}
	backendtest.Run(t, backendtest.Features{}, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
		t.Helper()
		m, setNow := newMemory(t)
		return fault.make(m), setNow
	})
}

// TestFaultsAreNoticed runs the suite on every faulty backend in a process of
// its own, since a failing case fails its process, and wants it red.
func TestFaultsAreNoticed(t *testing.T) {
	t.Parallel()
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFault$/^"+fault.noticedBy+"$", "-test.v") //nolint:gosec // this very binary
			cmd.Env = append(os.Environ(), faultVariable+"="+name)
			output, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the case %s passed on a backend that %s", fault.noticedBy, name)
			}
			if !strings.Contains(string(output), "--- FAIL: TestFault/"+fault.noticedBy) {
				t.Fatalf("the case %s did not fail as a test:\n%s", fault.noticedBy, output)
			}
		})
	}
}
