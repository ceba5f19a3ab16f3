package traffikmemcached

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/bradfitz/gomemcache/memcache"

	traffik "github.com/traffik-go/traffik/core"
)

// Calls of a Backend that New did not make, and calls without a context, are errors
// wrapping ErrUsage.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	real, err := New(memcache.New("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = real.Close() }()
	for name, c := range map[string]struct {
		b   *Backend
		ctx context.Context
	}{"nil": {nil, t.Context()}, "zero": {new(Backend), t.Context()}, "no context": {real, nil}} {
		op := traffik.Op{Key: traffik.Key{ID: "k"}, Strategy: traffik.FixedWindow{}, Draw: traffik.Draw{Rate: traffik.Per(1, 1e9), Cost: 1}}
		for call, f := range map[string]func() error{
			"Take":           func() error { return c.b.Take(c.ctx, []traffik.Op{op}, make([]traffik.Decision, 1)) },
			"Peek":           func() error { return c.b.Peek(c.ctx, []traffik.Op{op}, make([]traffik.Decision, 1)) },
			"Reset":          func() error { return c.b.Reset(c.ctx, op.Key) },
			"ResetNamespace": func() error { return c.b.ResetNamespace(c.ctx) },
			"ReadStates":     func() error { _, _, err := c.b.ReadStates(c.ctx, []traffik.Key{op.Key}, nil); return err },
			"Close": func() error {
				if c.ctx == nil {
					return traffik.ErrUsage // it takes no context
				}
				return c.b.Close()
			},
		} {
			if err := f(); !errors.Is(err, traffik.ErrUsage) {
				t.Errorf("%s: %s: %v, want ErrUsage", name, call, err)
			}
		}
	}
	if _, err := New(memcache.New("127.0.0.1:1"), nil); !errors.Is(err, traffik.ErrConfig) || !strings.Contains(err.Error(), "option 1 of 1 is nil") {
		t.Errorf("a nil option: %v, want ErrConfig", err)
	}
}
