package webtest

import (
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// documented are the only headers that limits add to a response that is no denial.
var documented = []string{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"}

// behaviour is something that a handler and its client can see of each other.
type behaviour struct {
	name  string
	over  []*protocol // every one if nil
	serve func(s *site, w http.ResponseWriter, r *http.Request)
	visit func(s *site)
	// outside and inside are plugins of the app.
	outside, inside []plugin
	// broken by each of these faults, which proves that the behaviour is seen.
	brokenBy []fault
	// faultFirst puts the fault before the framework instead of at the handler,
	// for behaviours in which no handler takes part.
	faultFirst bool
	// blind names frameworks whose own writer lacks the behaviour, so that there
	// is nothing for the fault to break.
	blind []string
}

// setup is where a behaviour is watched: with limits or without, or with a
// fault in their place.
type setup struct {
	limited  bool
	outcomes bool // the limits look at the status of the response
	fault    *fault
}

// TestTransparency runs each behaviour with each framework over each protocol,
// bare and below limits on engine, group and route, and compares what is seen.
// The limits count every response, and then only some.
func TestTransparency(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		for _, b := range behaviours() {
			for _, p := range b.protocols() {
				t.Run(b.name+"/"+p.name, func(t *testing.T) {
					t.Parallel()
					bare := f.watch(t, b, p, setup{})
					wantSame(t, bare, f.watch(t, b, p, setup{limited: true}))
					wantSame(t, bare, f.watch(t, b, p, setup{limited: true, outcomes: true}))
				})
			}
		}
	})
}

// TestFaultsAreSeen puts a faulty middleware in place of the limits, and wants every behaviour
// to look different.
func TestFaultsAreSeen(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		for _, b := range behaviours() {
			if len(b.brokenBy) == 0 {
				t.Errorf("no fault proves that %s is seen", b.name)
			}
			if slices.Contains(b.blind, f.name) {
				continue
			}
			for _, fault := range b.brokenBy {
				t.Run(b.name+"/"+fault.name, func(t *testing.T) {
					t.Parallel()
					p := b.protocols()[0]
					bare, broken := f.watch(t, b, p, setup{}), f.watch(t, b, p, setup{fault: &fault})
					if bare.String() == broken.String() {
						t.Errorf("a middleware that is %s is not noticed; seen:\n%s", fault.name, bare)
					}
				})
			}
		}
	})
}

func (b *behaviour) protocols() []*protocol {
	if b.over != nil {
		return b.over
	}
	return every
}

// watch lets the behaviour happen and returns what was seen.
func (f framework) watch(t *testing.T, b behaviour, p *protocol, how setup) *observation {
	t.Helper()
	a := app{outside: b.outside, inside: b.inside}
	o := newObservation()
	if how.limited {
		o = newObservation(documented...)
		a.engine, a.group, a.route = plenty(t, "engine"), plenty(t, "group"), plenty(t, "route")
	}
	if how.outcomes {
		a.counts = func(status int) bool { return status < 400 }
	}
	s := open(t, p, o, func(s *site) http.Handler {
		h := b.handler(s, how)
		if how.fault != nil && !b.faultFirst {
			h = how.fault.wrap(h)
		}
		a.handler = h.ServeHTTP
		engine := f.build(a)
		if how.fault != nil && b.faultFirst {
			engine = how.fault.wrap(engine)
		}
		return s.seeEnd(engine)
	})
	defer s.close()
	b.visit(s)
	s.close()
	return o
}

// plenty is a limit that is never reached.
func plenty(t *testing.T, uid string) traffik.Limiter {
	t.Helper()
	backend, _ := store(t)
	return limit(t, uid, "1000000/s", traffik.WithBackend(backend))
}

// handler is that of the behaviour, after a check that the limits are there.
func (b *behaviour) handler(s *site, how setup) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := 0
		if how.limited {
			want = 3
		}
		if got := len(httptraffik.VerdictFrom(r.Context()).Results()); got != want {
			s.t.Errorf("checked by %d limits, want %d", got, want)
		}
		b.serve(s, w, r)
	})
}

// seeEnd sees the end of handlers, and closes s.ended as soon as a request's
// context has ended, both in front of everything.
func (s *site) seeEnd(next http.Handler) http.Handler {
	var once sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() {
			<-r.Context().Done()
			once.Do(func() { close(s.ended) })
		}()
		s.running.Add(1)
		defer s.running.Done()
		defer s.seePanic()
		next.ServeHTTP(w, r)
	})
}

// seePanic counts a panic on its way to the server.
func (s *site) seePanic() {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		s.panicked.Add(1)
	}
	panic(p)
}
