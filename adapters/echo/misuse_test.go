package traffikecho_test

import (
	"strings"
	"testing"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffik "github.com/traffik-go/traffik/core"
)

// A programmer's mistake is a panic that says what to do, as early as the mistake is known.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"New(nil)":               func() { traffikecho.New(nil) },
		"New of a nil Throttle":  func() { traffikecho.New((*traffik.Throttle)(nil)) },
		"New of a zero Throttle": func() { traffikecho.New(new(traffik.Throttle)) },
		"New of a zero Gate":     func() { traffikecho.New(new(traffik.Gate)) },
		"New of a nil option":    func() { traffikecho.New(traffik.MustNew("real", "5/d"), nil) },
		"Detach(nil)":            func() { traffikecho.Detach(nil) },
		"VerdictFrom(nil)":       func() { traffikecho.VerdictFrom(nil) },
		"Deny(nil)":              func() { traffikecho.Deny(nil) },
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
