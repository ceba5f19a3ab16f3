package httptraffik_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// used returns how many units of the shared identity are charged.
func used(t *testing.T, limit *traffik.Throttle) int64 {
	t.Helper()
	stat, err := limit.Key("shared:").Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return stat.Limit - stat.Remaining
}

// Each way in which a handler can write and end counts as a status.
func TestCountOnly(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		gone    bool
		want    int
	}{
		"nothing":          {func(http.ResponseWriter, *http.Request) {}, false, 200},
		"status":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, false, 401},
		"the first counts": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401); w.WriteHeader(200) }, false, 401},
		"after early hints": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(404)
		}, false, 404},
		"body":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")); w.WriteHeader(401) }, false, 200},
		"string":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x"); w.WriteHeader(401) }, false, 200},
		"flush":       {func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); panic(http.ErrAbortHandler) }, false, 200},
		"controller":  {func(w http.ResponseWriter, _ *http.Request) { _ = http.NewResponseController(w).Flush(); panic("late") }, false, 200},
		"copied":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, strings.NewReader("x")); panic("late") }, false, 200},
		"panic":       {func(http.ResponseWriter, *http.Request) { panic("handler") }, false, 500},
		"gone":        {func(http.ResponseWriter, *http.Request) {}, true, 499},
		"gone, 401":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, true, 401},
		"gone, panic": {func(http.ResponseWriter, *http.Request) { panic("handler") }, true, 499},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, counts := range []bool{true, false} {
				limit := newLimit(t, "5/d")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				seen := 0
				handler := httptraffik.New(limit, httptraffik.CountOnly(func(status int) bool {
					seen = status
					return counts
				}))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if got := used(t, limit); got != 1 {
						t.Errorf("%d units are charged while the handler runs, want 1", got)
					}
					if c.gone {
						cancel()
					}
					c.handler(w, r)
				}))
				func() {
					defer func() { _ = recover() }()
					handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
				}()
				if seen != c.want {
					t.Errorf("the response counts as %d, want %d", seen, c.want)
				}
				if got := used(t, limit); got != map[bool]int64{true: 1, false: 0}[counts] {
					t.Errorf("%d units are charged afterwards; counted is %v", got, counts)
				}
			}
		})
	}
}

// The panic of a handler goes on.
func TestCountOnlyLetsPanicsThrough(t *testing.T) {
	t.Parallel()
	handler := httptraffik.New(newLimit(t, "5/d"), httptraffik.CountOnly(func(int) bool { return false }))(
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("as ever") }))
	defer func() {
		if got := recover(); got != "as ever" {
			t.Errorf("recovered %v, want the handler's own panic", got)
		}
	}()
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

// A store that hangs delays a response only briefly, and gets the refund once it answers
// again.
func TestCountOnlyIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		backend := traffiktest.Break(memory)
		limit, err := traffik.New("slow", "5/d", traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared()))
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			slow, took time.Duration
			charged    int64 // in the end
		}{
			{10 * time.Millisecond, 10 * time.Millisecond, 0},
			{time.Second, httptraffik.RefundPatience, 0},
			{time.Hour, httptraffik.RefundPatience, 1},
		} {
			handler := httptraffik.New(limit, httptraffik.CountOnly(func(int) bool { return false }))(
				http.HandlerFunc(func(http.ResponseWriter, *http.Request) { backend.Slow(c.slow) }))
			start := time.Now()
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			if took := time.Since(start); took != c.took {
				t.Errorf("a store that takes %v held the response up for %v, want %v", c.slow, took, c.took)
			}
			afterTheBound()
			backend.Slow(0)
			if got := used(t, limit); got != c.charged {
				t.Errorf("a store that takes %v: %d units stay charged, want %d", c.slow, got, c.charged)
			}
		}
	})
}

// While the refund of a first try is still under way, a second try of the same
// request is charged anew, and reading the verdict is no race.
func TestSecondTryWhileTheRefundIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		backend := traffiktest.Break(memory)
		limit, err := traffik.New("slow", "5/d", traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared()))
		if err != nil {
			t.Fatal(err)
		}
		tries := 0
		login := httptraffik.New(limit, httptraffik.CountOnly(func(status int) bool { return status == http.StatusUnauthorized }))(
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tries++; tries == 1 {
					backend.Slow(time.Second)
					return
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
		serve(httptraffik.New(newNamed(t, "outer", "9/d"))(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			login.ServeHTTP(httptest.NewRecorder(), r)
			synctest.Wait()
			backend.Slow(0)
			login.ServeHTTP(httptest.NewRecorder(), r)
			if results := httptraffik.VerdictFrom(r.Context()).Results(); len(results) != 2 || results[1].Outcome != traffik.Admitted {
				t.Errorf("%+v, want the second try's charge", results)
			}
		})))
		afterTheBound()
		if got := used(t, limit); got != 1 {
			t.Errorf("%d units are charged, want the one of the second try", got)
		}
	})
}

func TestCountOnlyWhileHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		backend, err := traffik.NewMemory()
		if err != nil {
			t.Fatal(err)
		}
		limit, err := traffik.New("held", "5/h", traffik.WithBackend(backend), traffik.WithStrategy(slow{}), traffik.WithIdentifier(traffik.Shared()))
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		handler := httptraffik.New(limit, httptraffik.CountOnly(func(status int) bool { seen = status; return false }))(http.NotFoundHandler())
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(time.Second, cancel).Stop()
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		if seen != httptraffik.StatusClientGone || used(t, limit) != 0 {
			t.Errorf("counted as %d, %d units charged; want 499 and none", seen, used(t, limit))
		}
	})
}

// The charge belongs to the outermost use of a throttle, whose option decides.
func TestCountOnlyNested(t *testing.T) {
	t.Parallel()
	never := []httptraffik.Option{httptraffik.CountOnly(func(int) bool { return false })}
	for name, c := range map[string]struct {
		outer, inner []httptraffik.Option
		want         int64
	}{
		"outer": {never, nil, 0},
		"inner": {nil, never, 1},
		"both":  {never, never, 0},
	} {
		limit := newLimit(t, "5/d")
		if _, err := limit.Key("shared:").Hit(t.Context()); err != nil { // of another request
			t.Fatal(err)
		}
		serve(httptraffik.New(limit, c.outer...)(httptraffik.New(limit, c.inner...)(http.NotFoundHandler())))
		if got := used(t, limit) - 1; got != c.want {
			t.Errorf("%s: %d units charged by the request, want %d", name, got, c.want)
		}
	}
}

// abilities are the interfaces that a writer may have besides its own.
type abilities struct{ flush, hijack, push bool }

func abilitiesOf(w http.ResponseWriter) (a abilities) {
	_, a.flush = w.(http.Flusher)
	_, a.hijack = w.(http.Hijacker)
	_, a.push = w.(http.Pusher)
	return a
}

type (
	bare  struct{ http.ResponseWriter }
	flush struct{ http.ResponseWriter }
	both  struct {
		http.ResponseWriter
		all
	}
	all struct{}
)

func (flush) Flush() {}

func (all) Flush()                                        {}
func (all) Hijack() (net.Conn, *bufio.ReadWriter, error)  { return nil, nil, nil }
func (all) ReadFrom(r io.Reader) (int64, error)           { return io.Copy(io.Discard, r) }
func (all) Push(target string, _ *http.PushOptions) error { return errors.New("pushed " + target) }
func (all) CloseNotify() <-chan bool                      { return nil }

// The writer that handlers get can do what the one beneath can, in one of four forms.
func TestAbilities(t *testing.T) {
	t.Parallel()
	type (
		f = http.Flusher
		h = http.Hijacker
		p = http.Pusher
	)
	a, w := all{}, http.ResponseWriter(bare{httptest.NewRecorder()})
	for name, c := range map[string]struct {
		writer http.ResponseWriter
		want   abilities
	}{
		"plain": {w, abilities{}},
		"flush": {struct {
			http.ResponseWriter
			f
		}{w, a}, abilities{flush: true}},
		"flush and hijack": {struct {
			http.ResponseWriter
			f
			h
		}{w, a, a}, abilities{flush: true, hijack: true}},
		"flush and push": {struct {
			http.ResponseWriter
			f
			p
		}{w, a, a}, abilities{flush: true, push: true}},
		"flush beneath":  {unwrapping{bare{flush{w}}}, abilities{flush: true}},
		"hijack beneath": {unwrapping{bare{both{ResponseWriter: w}}}, abilities{flush: true, hijack: true}},
		// These have no form.
		"hijack": {struct {
			http.ResponseWriter
			h
		}{w, a}, abilities{flush: true, hijack: true}},
		"push": {struct {
			http.ResponseWriter
			p
		}{w, a}, abilities{}},
		"all": {both{ResponseWriter: w}, abilities{flush: true, hijack: true}},
	} {
		for _, opts := range [][]httptraffik.Option{nil, {httptraffik.CountOnly(func(int) bool { return true })}} {
			handler := httptraffik.New(newNamed(t, name, "5/d"), opts...)(
				http.HandlerFunc(func(got http.ResponseWriter, _ *http.Request) {
					if has := abilitiesOf(got); has != c.want {
						t.Errorf("%s: handlers get %+v, want %+v", name, has, c.want)
					}
					if p, ok := got.(http.Pusher); ok && p.Push("/x", nil) == nil {
						t.Errorf("%s: pushing did not reach the writer beneath", name)
					}
					if f, ok := got.(http.Flusher); ok {
						f.Flush() // does nothing at worst
					}
					if _, ok := got.(io.ReaderFrom); !ok {
						t.Errorf("%s: no ReadFrom", name)
					}
					_ = got.(interface{ CloseNotify() <-chan bool }).CloseNotify()
				}))
			handler.ServeHTTP(c.writer, httptest.NewRequest(http.MethodGet, "/", nil))
		}
	}
}

// A hijacked connection counts as 101.
func TestCountOnlyOfAHijackedConnection(t *testing.T) {
	t.Parallel()
	seen := 0
	handler := httptraffik.New(newLimit(t, "5/d"), httptraffik.CountOnly(func(status int) bool { seen = status; return true }))(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, _, err := w.(http.Hijacker).Hijack(); err != nil {
				t.Error(err)
			}
		}))
	handler.ServeHTTP(both{ResponseWriter: httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil))
	if seen != http.StatusSwitchingProtocols {
		t.Errorf("counted as %d, want 101", seen)
	}
}

// unwrapping can only unwrap.
type unwrapping struct{ bare }

func (u unwrapping) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// What http.ResponseController does with a writer beneath one that only unwraps counts as
// well. What it can not do counts for nothing.
func TestCountOnlyThroughUnwrap(t *testing.T) {
	t.Parallel()
	able := both{ResponseWriter: httptest.NewRecorder()}
	flush := func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }
	hijack := func(w http.ResponseWriter) error {
		_, _, err := http.NewResponseController(w).Hijack()
		return err
	}
	for name, c := range map[string]struct {
		writer http.ResponseWriter
		does   func(w http.ResponseWriter) error
		fails  bool
		want   int
	}{
		"flush":              {unwrapping{bare{able}}, flush, false, 200},
		"flush, two down":    {unwrapping{bare{unwrapping{bare{able}}}}, flush, false, 200},
		"no flush":           {unwrapping{bare{bare{able}}}, flush, true, 401},
		"hijack":             {unwrapping{bare{able}}, hijack, false, 101},
		"hijack, two down":   {unwrapping{bare{unwrapping{bare{able}}}}, hijack, false, 101},
		"no hijack":          {unwrapping{bare{bare{able}}}, hijack, true, 401},
		"no way beneath":     {bare{able}, hijack, true, 401},
		"deadline":           {unwrapping{bare{able}}, func(w http.ResponseWriter) error { return http.NewResponseController(w).SetReadDeadline(time.Time{}) }, true, 401},
		"not by itself":      {unwrapping{bare{able}}, func(w http.ResponseWriter) error { _, _ = w.(http.Flusher); return nil }, false, 401},
		"hijacked beneath 2": {unwrapping{bare{unwrapping{bare{bare{able}}}}}, hijack, true, 401},
	} {
		seen := 0
		handler := httptraffik.New(newLimit(t, "5/d"), httptraffik.CountOnly(func(status int) bool { seen = status; return true }))(
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if err := c.does(w); (err != nil) != c.fails {
					t.Errorf("%s: error %v", name, err)
				}
				w.WriteHeader(401)
			}))
		handler.ServeHTTP(c.writer, httptest.NewRequest(http.MethodGet, "/", nil))
		if seen != c.want {
			t.Errorf("%s: counted as %d, want %d", name, seen, c.want)
		}
	}
}

// A stream of events or a hijacked connection that does not count is refunded when it begins.
func TestCountOnlyOfALongResponse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		does func(w http.ResponseWriter) error
		want int
	}{
		"flush":      {func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil }, 200},
		"controller": {func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() }, 200},
		"failure": {func(w http.ResponseWriter) error {
			w.WriteHeader(401)
			return http.NewResponseController(w).Flush()
		}, 401},
		"hijack": {func(w http.ResponseWriter) error { _, _, err := w.(http.Hijacker).Hijack(); return err }, 101},
	} {
		limit := newLimit(t, "5/d")
		var asked []int
		handler := httptraffik.New(limit, httptraffik.CountOnly(func(status int) bool {
			asked = append(asked, status)
			return status == http.StatusUnauthorized
		}))(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range 2 {
				if err := c.does(w); err != nil {
					t.Error(err)
				}
				if got, want := used(t, limit), int64(0); (got != want) != (c.want == 401) {
					t.Errorf("%s: %d units are charged while the response goes on", name, got)
				}
			}
		}))
		handler.ServeHTTP(both{ResponseWriter: httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil))
		if len(asked) != 1 || asked[0] != c.want {
			t.Errorf("%s: asked about %v, want %d once", name, asked, c.want)
		}
	}
}

// The application's Retry-After stays if the request goes on, and ours replaces it in a
// denial.
func TestPassOnKeepsTheApplicationsRetryAfter(t *testing.T) {
	t.Parallel()
	limit := httptraffik.New(newLimit(t, "1/d"), httptraffik.PassOn())
	deny := false
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "17")
		limit(limit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if got := w.Header().Get("Retry-After"); got != "17" {
				t.Errorf("the handler finds Retry-After %q, want the application's 17", got)
			}
			if deny && !httptraffik.Deny(w, r) {
				t.Error("Deny found nothing to deny")
			}
		}))).ServeHTTP(w, r)
	})
	for i := range 3 {
		deny = i == 2
		if got := serve(handler).Header().Get("Retry-After"); (got == "17") == deny || got == "" {
			t.Errorf("request %d is answered with Retry-After %q", i+1, got)
		}
	}
}

// A handler that denies answers as the middleware would have: with the OnDenied of
// the outermost use that passed the request on.
func TestDenyAnswersAsTheMiddleware(t *testing.T) {
	t.Parallel()
	with := func(status int) httptraffik.Option {
		return httptraffik.OnDenied(func(w http.ResponseWriter, _ *http.Request, v traffik.Verdict) {
			if v.Allowed() || w.Header().Get("Retry-After") == "" {
				t.Errorf("OnDenied was given %+v and the headers %v", v.Results(), w.Header())
			}
			w.WriteHeader(status)
		})
	}
	denying := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { httptraffik.Deny(w, r) })
	passOn := httptraffik.PassOn()
	for name, c := range map[string]struct {
		build func(limit *traffik.Throttle) http.Handler
		want  int
	}{
		"no answer of its own": {func(l *traffik.Throttle) http.Handler { return httptraffik.New(l, passOn)(denying) }, 429},
		"its own answer":       {func(l *traffik.Throttle) http.Handler { return httptraffik.New(l, passOn, with(418))(denying) }, 418},
		"beneath another limit": {func(l *traffik.Throttle) http.Handler {
			return httptraffik.New(l, passOn, with(418))(httptraffik.New(newNamed(t, "inner", "9/d"), with(400))(denying))
		}, 418},
		"twice": {func(l *traffik.Throttle) http.Handler {
			return httptraffik.New(l, passOn, with(418))(httptraffik.New(l, passOn, with(400))(denying))
		}, 418},
		"the outer one has none": {func(l *traffik.Throttle) http.Handler {
			return httptraffik.New(l, passOn)(httptraffik.New(l, passOn, with(400))(denying))
		}, 429},
	} {
		handler := c.build(newNamed(t, name, "1/d"))
		serve(handler)
		if rec := serve(handler); rec.Code != c.want {
			t.Errorf("%s: status %d, want %d", name, rec.Code, c.want)
		}
	}
}

// The handler decides about requests over the limit, and may leave the answer to us.
func TestPassOn(t *testing.T) {
	t.Parallel()
	limit := newLimit(t, "1/d")
	denies := false
	handler := httptraffik.New(limit, httptraffik.PassOn())(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if denies && httptraffik.Deny(w, r) {
			return
		}
		_, _ = fmt.Fprint(w, "allowed ", httptraffik.VerdictFrom(r.Context()).Allowed())
	}))
	for _, want := range []string{"allowed true", "allowed false"} {
		rec := serve(handler)
		if rec.Code != 200 || rec.Body.String() != want || rec.Header().Get("Retry-After") != "" || rec.Header().Get("X-RateLimit-Remaining") != "0" {
			t.Errorf("status %d, body %q, headers %v; want %q", rec.Code, rec.Body, rec.Header(), want)
		}
	}
	denies = true
	if rec := serve(handler); rec.Code != 429 || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), "quota-exceeded") {
		t.Errorf("status %d, body %q, headers %v; want the usual denial", rec.Code, rec.Body, rec.Header())
	}
	if httptraffik.Deny(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) {
		t.Error("a request that nobody limits was denied")
	}
}

// A request over the limit that is passed on was not charged, so nothing is refunded.
func TestPassOnWithCountOnly(t *testing.T) {
	t.Parallel()
	limit := newLimit(t, "1/d")
	if _, err := limit.Key("shared:").Hit(t.Context()); err != nil {
		t.Fatal(err)
	}
	serve(httptraffik.New(limit, httptraffik.PassOn(), httptraffik.CountOnly(func(int) bool { return false }))(http.NotFoundHandler()))
	if got := used(t, limit); got != 1 {
		t.Errorf("%d units charged, want the one of the earlier request", got)
	}
}

// afterTheBound lets refunds that hang end, inside of testing/synctest.
func afterTheBound() {
	time.Sleep(6 * time.Second) //nolint:forbidigo // the bubble's clock
}

// After a deadline further out the client still gets an answer.
func TestCountOnlyAfterADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, handler := range map[string]http.HandlerFunc{
			"returns": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"panics":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); panic("late") },
		} {
			seen := 0
			limited := httptraffik.New(newLimit(t, "5/d"), httptraffik.CountOnly(func(status int) bool { seen = status; return true }))(handler)
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("too slow"))
			defer cancel()
			func() {
				defer func() { _ = recover() }()
				limited.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
			}()
			if seen != http.StatusServiceUnavailable {
				t.Errorf("a handler that %s counts as %d, want 503", name, seen)
			}
		}
	})
}

// Slow requests that turn out not to count refund what has leaked long ago: that must not
// let failures pass the burst, of which 199 were once possible in one instant.
func TestCountOnlyOfSlowRequestsKeepsTheBurst(t *testing.T) {
	t.Parallel()
	clock := traffiktest.NewClock(time.Unix(1_700_000_000, 0))
	memory, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		t.Fatal(err)
	}
	limit := traffik.MustNew("login", "100/min", traffik.WithStrategy(traffik.TokenBucket{Burst: 100}), traffik.WithBackend(memory))
	var running, ended sync.WaitGroup
	release := make(chan struct{})
	handler := httptraffik.New(limit, httptraffik.CountOnly(func(status int) bool { return status == http.StatusUnauthorized }))(
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				running.Done()
				<-release
				return
			}
			w.WriteHeader(http.StatusUnauthorized)
		}))
	ask := func(path string) int {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, nil))
		return answer.Code
	}
	running.Add(99)
	for range 99 {
		ended.Go(func() { ask("/slow") })
	}
	running.Wait()
	clock.Advance(time.Minute)
	failed := 0
	for range 100 {
		if ask("/") == http.StatusUnauthorized {
			failed++
		}
	}
	close(release)
	ended.Wait()
	for range 100 {
		if ask("/") == http.StatusUnauthorized {
			failed++
		}
	}
	if failed != 100 {
		t.Errorf("%d logins failed in one instant, want the burst of 100", failed)
	}
}
