package httptraffik_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// A programmer's mistake is an error that wraps ErrUsage where there is an error to return, and
// otherwise a panic that says what to do, as early as the mistake is known.
func TestNilAndZeroValues(t *testing.T) {
	t.Parallel()
	limit := newLimit(t, "5/d")
	var none context.Context
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)
	for name, f := range map[string]func(){
		"New(nil)":                 func() { httptraffik.New(nil) },
		"New of a nil Throttle":    func() { httptraffik.New((*traffik.Throttle)(nil)) },
		"New of a nil Gate":        func() { httptraffik.New((*traffik.Gate)(nil)) },
		"New of a zero Throttle":   func() { httptraffik.New(new(traffik.Throttle)) },
		"New of a zero Gate":       func() { httptraffik.New(new(traffik.Gate)) },
		"a nil handler":            func() { httptraffik.New(limit)(nil) },
		"New of a nil option":      func() { httptraffik.New(limit, nil) },
		"New of a nil option too":  func() { httptraffik.New(limit, httptraffik.PassOn(), nil) },
		"Begin of no request":      func() { new(httptraffik.Exchange).Begin(w, nil) },
		"NewRequest(nil)":          func() { httptraffik.NewRequest(w, nil) },
		"Detach(nil)":              func() { httptraffik.Detach(nil) },
		"Deny of no request":       func() { httptraffik.Deny(w, nil) },
		"VerdictFrom(nil)":         func() { httptraffik.VerdictFrom(none) },
		"RequestFrom(nil)":         func() { httptraffik.RequestFrom(none) },
		"Response without a Guard": func() { (*httptraffik.Guard)(nil).Response(r.Context(), traffik.Verdict{}) },
		"Response of no context":   func() { new(httptraffik.Guard).Response(none, traffik.Verdict{}) },
	} {
		func() {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "traffik: ") {
					t.Errorf("%s: %q, want a panic that says what to do", name, text)
				}
			}()
			f()
		}()
	}
	for name, f := range map[string]func() error{
		"zero Guard": func() error { _, err := new(httptraffik.Guard).Check(r.Context(), new(traffik.Request)); return err },
		"nil Guard":  func() error { _, err := (*httptraffik.Guard)(nil).Check(r.Context(), new(traffik.Request)); return err },
		"no context": func() error {
			_, err := (&httptraffik.Guard{Limit: limit}).Check(none, new(traffik.Request))
			return err
		},
		"zero Throttle": func() error {
			_, err := (&httptraffik.Guard{Limit: new(traffik.Throttle)}).Check(r.Context(), nil)
			return err
		},
	} {
		if err := f(); !errors.Is(err, traffik.ErrUsage) {
			t.Errorf("%s: %v, want ErrUsage", name, err)
		}
	}
	if _, err := (&httptraffik.Guard{Limit: limit}).Check(r.Context(), nil); err != nil {
		t.Errorf("a nil Request, of which nothing is known: %v", err)
	}
	new(httptraffik.Exchange).End()
	new(httptraffik.Recorder).End(httptraffik.Ending{})
}
