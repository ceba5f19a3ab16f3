package traffikchi_test

import (
	"context"
	"strings"
	"testing"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffik "github.com/traffik-go/traffik/core"
)

// A programmer's mistake is a panic that says what to do, as early as the mistake is known.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"New(nil)":               func() { traffikchi.New(nil) },
		"New of a nil Throttle":  func() { traffikchi.New((*traffik.Throttle)(nil)) },
		"New of a zero Throttle": func() { traffikchi.New(new(traffik.Throttle)) },
		"New of a zero Gate":     func() { traffikchi.New(new(traffik.Gate)) },
		"a nil handler":          func() { traffikchi.New(traffik.MustNew("real", "5/d"))(nil) },
		"New of a nil option":    func() { traffikchi.New(traffik.MustNew("real", "5/d"), nil) },
		"Detach(nil)":            func() { traffikchi.Detach(nil) },
		"VerdictFrom(nil)":       func() { var none context.Context; traffikchi.VerdictFrom(none) },
		"Deny(nil)":              func() { traffikchi.Deny(nil, nil) },
	} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "traffik") {
					t.Errorf("%s: %q, want a panic that says what to do", name, text)
				}
			}()
			f()
		}()
	}
}
