package webtest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

// client sends requests and keeps nothing open.
type client struct {
	t      *testing.T
	server *httptest.Server
}

type reply struct {
	status int
	header http.Header
	body   string
}

// send sends a request with header lines of the form "Name: value".
func (c *client) send(method string, lines ...string) reply {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.server.URL+"/api/users/42?verbose=1", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	res, err := c.server.Client().Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return reply{status: res.StatusCode, header: res.Header, body: string(body)}
}

func (c *client) get(lines ...string) reply {
	c.t.Helper()
	return c.send(http.MethodGet, lines...)
}

// wantStatus sends GETs and compares their statuses.
func (c *client) wantStatus(want int, lines ...string) reply {
	c.t.Helper()
	got := c.get(lines...)
	if got.status != want {
		c.t.Errorf("status %d, want %d; headers %v, body %q", got.status, want, got.header, got.body)
	}
	return got
}

func (r reply) want(t *testing.T, name, want string) {
	t.Helper()
	if got := strings.Join(r.header.Values(name), ", "); got != want {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

// problem is the body of a denial.
func (r reply) problem(t *testing.T) (p struct {
	Type     string   `json:"type"`
	Title    string   `json:"title"`
	Status   int      `json:"status"`
	Violated []string `json:"violated-policies"`
},
) {
	t.Helper()
	r.want(t, "Content-Type", "application/problem+json")
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Errorf("the body %q is no JSON: %v", r.body, err)
	}
	return p
}

// store is a new backend with a clock half a second into a period of ten.
func store(t *testing.T) (traffik.Backend, *traffiktest.Clock) {
	t.Helper()
	clock := traffiktest.NewClock(time.Unix(1_700_000_000, 500_000_000))
	backend, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		t.Fatal(err)
	}
	return backend, clock
}

func limit(t testing.TB, uid, rate string, opts ...traffik.Option) *traffik.Throttle {
	t.Helper()
	throttle, err := traffik.New(uid, rate, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return throttle
}

// sink is a response that costs nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(int)             {}
