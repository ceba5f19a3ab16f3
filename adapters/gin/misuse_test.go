package traffikgin_test

import (
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
)

// A programmer's mistake is a panic that says what to do, as early as the mistake is known.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]func(){
		"New(nil)":                 func() { traffikgin.New(nil) },
		"New of a nil Throttle":    func() { traffikgin.New((*traffik.Throttle)(nil)) },
		"New of a zero Throttle":   func() { traffikgin.New(new(traffik.Throttle)) },
		"New of a zero Gate":       func() { traffikgin.New(new(traffik.Gate)) },
		"New of a nil option":      func() { traffikgin.New(traffik.MustNew("real", "5/d"), nil) },
		"Detach(nil)":              func() { traffikgin.Detach(nil) },
		"Detach of a zero context": func() { traffikgin.Detach(new(gin.Context)) },
		"VerdictFrom(nil)":         func() { traffikgin.VerdictFrom(nil) },
		"Deny(nil)":                func() { traffikgin.Deny(nil) },
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
