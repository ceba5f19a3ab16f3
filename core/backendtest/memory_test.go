package backendtest_test

import (
	"testing"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/backendtest"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }

func newMemory(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
	t.Helper()
	clock := new(traffiktest.Clock)
	m, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, clock.Set
}

func TestMemory(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.Features{}, newMemory)
}

// The decorators of traffiktest keep the contract, and so does a store whose
// clock can't be set.
func TestDecorators(t *testing.T) {
	t.Parallel()
	for name, around := range map[string]func(traffik.Backend) traffik.Backend{
		"Recorder": func(b traffik.Backend) traffik.Backend { return traffiktest.Record(b) },
		"Faulty":   func(b traffik.Backend) traffik.Backend { return traffiktest.Break(b) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backendtest.Run(t, backendtest.Features{}, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
				t.Helper()
				m, setNow := newMemory(t)
				return around(m), setNow
			})
		})
	}
}

func TestMemoryOnTheSystemClock(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, backendtest.Features{}, func(t *testing.T) (traffik.Backend, func(traffik.Instant)) {
		t.Helper()
		m, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		return m, nil
	})
}
