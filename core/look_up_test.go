package traffik_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// heedless is a store that ignores the context.
type heedless struct{ traffik.Backend }

func (h heedless) Take(ctx context.Context, ops []traffik.Op, out []traffik.Decision) error {
	return h.Backend.Take(context.WithoutCancel(ctx), ops, out)
}

// A deadline that passes while a function of the application looks something up is for
// the error policy, whether the function fails with it or not, alone and in a gate, in
// process and on a store that ignores the context.
func TestDeadlineWhileALookUpRuns(t *testing.T) {
	t.Parallel()
	for name, identify := range map[string]func(*traffik.Request) (string, error){
		"fails": func(r *traffik.Request) (string, error) {
			<-r.Context.Done()
			return "", r.Context.Err()
		},
		"succeeds late": func(r *traffik.Request) (string, error) {
			<-r.Context.Done()
			return "alice", nil
		},
	} {
		for policy, want := range map[string]struct {
			option  traffik.Option
			allowed bool
		}{
			"open":   {traffik.WithErrorPolicy(traffik.FailOpen), true},
			"closed": {traffik.WithErrorPolicy(traffik.FailClosed), false},
			"report": {traffik.WithReportOnly(), true},
		} {
			t.Run(name+"/"+policy, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					memory, err := traffik.NewMemory()
					if err != nil {
						t.Fatal(err)
					}
					for _, store := range []traffik.Backend{memory, heedless{memory}} {
						admitLate(t, identify, want.allowed, traffik.WithBackend(store), want.option)
					}
				})
			})
		}
	}
}

// admitLate admits requests whose deadline passes in identify.
func admitLate(t *testing.T, identify func(*traffik.Request) (string, error), allowed bool, options ...traffik.Option) {
	t.Helper()
	options = append(options, traffik.WithLogger(slog.New(slog.DiscardHandler)))
	user := traffik.MustNew("user", "10/s", append(options, traffik.WithIdentifier(traffik.Identify("user", identify)))...)
	address := traffik.MustNew("address", "10/s", options...)
	for _, limiter := range []traffik.Limiter{user, traffik.All(user), traffik.All(address, user), traffik.All(user, address)} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		v, err := limiter.Admit(ctx, &traffik.Request{Context: ctx, RemoteAddr: "192.0.2.1:1"})
		cancel()
		if err != nil || v.Allowed() != allowed {
			t.Errorf("%+v, %v; want allowed %v", v, err, allowed)
		}
	}
}

// A throttle that does not count by address says nothing about proxies, though another of
// the same request has looked at the address.
func TestProxyWarningIsOfWhoCountsByAddress(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	address := traffik.MustNew("address", "100/s", traffik.WithBackend(memory), traffik.WithLogger(slog.New(slog.DiscardHandler)))
	key := traffik.MustNew("key", "100/s", traffik.WithBackend(memory), traffik.WithIdentifier(traffik.ByHeader("X-Api-Key")),
		traffik.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	r := &traffik.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Api-Key": {"k"}}}
	if v, err := traffik.All(address, key).Admit(t.Context(), r); err != nil || !v.Allowed() {
		t.Fatalf("%+v, %v", v, err)
	}
	if log.Len() > 0 {
		t.Errorf("a throttle by API key logged %q", log.String())
	}
}

// WithErrorFunc is asked by report-only throttles too, alone and in a gate.
func TestErrorFuncOfReportOnly(t *testing.T) {
	t.Parallel()
	memory, err := traffik.NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	asked, down := 0, traffiktest.Break(memory)
	down.Fail(errors.New("down"))
	failing := traffik.MustNew("failing", "10/s", traffik.WithBackend(down), traffik.WithReportOnly(),
		traffik.WithLogger(slog.New(slog.DiscardHandler)),
		traffik.WithErrorFunc(func(error) traffik.ErrorPolicy { asked++; return traffik.FailClosed }))
	for i, limiter := range []traffik.Limiter{failing, traffik.All(failing)} {
		v, err := limiter.Admit(t.Context(), &traffik.Request{RemoteAddr: "192.0.2.1:1"})
		if err != nil || !v.Allowed() || asked != i+1 {
			t.Errorf("%+v, %v, asked %d times; want it let pass, and to be asked %d times", v, err, asked, i+1)
		}
	}
}

// A nil Request is an empty one, and a refused delay is a denial there too.
func TestRefuseDelayOfNoRequest(t *testing.T) {
	t.Parallel()
	if v := (*traffik.Request)(nil).RefuseDelay(traffik.Verdict{}, 0); len(v.Results()) != 0 {
		t.Errorf("%+v, want no result", v)
	}
}
