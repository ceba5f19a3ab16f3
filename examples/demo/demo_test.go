package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }

// newDemo returns the demo on a clock that stands still at the start of a minute.
func newDemo(t *testing.T) (http.Handler, *sockets, *traffiktest.Clock) {
	t.Helper()
	clock := traffiktest.NewClock(time.Unix(1_700_000_000, 0).Truncate(time.Minute))
	backend, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		t.Fatal(err)
	}
	limits, err := newLimits(backend)
	if err != nil {
		t.Fatal(err)
	}
	ws := newSockets(limits.messages)
	return newHandler(limits, ws), ws, clock
}

func get(handler http.Handler, path string) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec
}

// send sends n requests and returns how many were admitted and which limits the
// last denial names.
func send(t *testing.T, handler http.Handler, path string, n int) (admitted int, violated string) {
	t.Helper()
	for range n {
		rec := get(handler, path)
		switch rec.Code {
		case http.StatusOK:
			admitted++
		case http.StatusTooManyRequests:
			var problem struct {
				Violated []string `json:"violated-policies"`
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &problem); err != nil {
				t.Errorf("%s: the denial %q: %v", path, rec.Body, err)
			}
			violated = strings.Join(problem.Violated, " ")
		default:
			t.Errorf("%s: status %d, body %s", path, rec.Code, rec.Body)
		}
	}
	return admitted, violated
}

// Each framework counts separately, five in ten seconds.
func TestItems(t *testing.T) {
	t.Parallel()
	handler, _, clock := newDemo(t)
	for range 2 {
		for _, framework := range frameworks {
			admitted, violated := send(t, handler, "/"+framework+"/items", 7)
			if admitted != 5 || violated != framework+":items" {
				t.Errorf("%s: %d of seven admitted, denied by %q; want 5", framework, admitted, violated)
			}
		}
		clock.Advance(10 * time.Second)
	}
}

// Three in a second and twenty in a minute: a request that the limit per second
// denies is not charged to the limit per minute.
func TestSearch(t *testing.T) {
	t.Parallel()
	handler, _, clock := newDemo(t)
	for _, framework := range frameworks {
		path := "/" + framework + "/search"
		for range 6 {
			if admitted, violated := send(t, handler, path, 10); admitted != 3 || violated != framework+":search:second" {
				t.Errorf("%s: %d of ten in a second admitted, denied by %q; want 3", path, admitted, violated)
			}
			clock.Advance(time.Second)
		}
		if admitted, violated := send(t, handler, path, 3); admitted != 2 || violated != framework+":search:minute" {
			t.Errorf("%s: %d admitted after eighteen in the minute, denied by %q; want 2", path, admitted, violated)
		}
	}
}

func TestWithoutLimit(t *testing.T) {
	t.Parallel()
	handler, _, _ := newDemo(t)
	for path, want := range map[string]string{"/healthz": "ok\n", "/": "<title>Traffik demo</title>"} {
		for range 30 {
			rec := get(handler, path)
			if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) || rec.Header().Get("X-RateLimit-Limit") != "" {
				t.Fatalf("%s: status %d, headers %v", path, rec.Code, rec.Header())
			}
		}
	}
	if rec := get(handler, "/ws?mode=shout"); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "accepted are") {
		t.Errorf("an unknown mode: status %d, body %q", rec.Code, rec.Body)
	}
	if rec := get(handler, "/nothing"); rec.Code != http.StatusNotFound {
		t.Errorf("/nothing: status %d, want 404", rec.Code)
	}
}

// Open connections are told when the demo ends.
func TestSocketsEnd(t *testing.T) {
	t.Parallel()
	handler, sockets, _ := newDemo(t)
	server := httptest.NewServer(handler)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, server.URL+"/ws", nil) //nolint:bodyclose // coder: it need not be closed
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	heard := make(chan error, 1)
	go func() {
		_, _, err := ws.Read(ctx)
		heard <- err
	}()
	sockets.end(ctx)
	if err := <-heard; websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the client saw %v, want a close with status 1001", err)
	}
}

// The demo runs until its context ends; mistakes in the environment are errors
// that say what is accepted.
func TestRun(t *testing.T) {
	t.Parallel()
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = busy.Close() }) // after the parallel subtests
	for name, c := range map[string]struct {
		env  map[string]string
		want string // of the error, "" for none
	}{
		"plain":           {map[string]string{"ADDR": "127.0.0.1:0"}, ""},
		"named backend":   {map[string]string{"ADDR": "127.0.0.1:0", "BACKEND": "memory"}, ""},
		"busy address":    {map[string]string{"ADDR": busy.Addr().String()}, busy.Addr().String() + " is in use; choose another"},
		"no address":      {map[string]string{"ADDR": "nonsense"}, "accepted is host:port"},
		"unknown backend": {map[string]string{"BACKEND": "paper"}, `BACKEND="paper" is unknown; accepted are memory, redis://host:port and memcached://host:port`},
		"memcached, down": {map[string]string{"ADDR": "127.0.0.1:0", "BACKEND": "memcached://127.0.0.1:1"}, ""}, // the demo starts all the same
		"bad memcached":   {map[string]string{"BACKEND": "memcached://127.0.0.1"}, "accepted is memcached://host:port"},
		"absent Redis":    {map[string]string{"ADDR": "127.0.0.1:0", "BACKEND": "redis://127.0.0.1:1"}, ""},
		"bad Redis":       {map[string]string{"BACKEND": "redis://user:pass@[/"}, "accepted is redis://[user:password@]host:port[/db]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			err := run(ctx, func(key string) string { return c.env[key] })
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("run: %v, want %q", err, c.want)
			}
		})
	}
}
