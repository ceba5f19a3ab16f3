package webtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	traffik "github.com/traffik-go/traffik/core"
)

// denying serves an app whose route is used up, on a real listener.
func denying(t *testing.T, f framework, p *protocol, a app) *site {
	t.Helper()
	backend, _ := store(t)
	none := limit(t, "none", "1/h", traffik.WithBackend(backend), traffik.WithIdentifier(traffik.Shared()))
	a.route = none
	a.before = func(h http.Header) { h.Set("Access-Control-Allow-Origin", "https://a.example") }
	a.handler = func(http.ResponseWriter, *http.Request) {}
	s := open(t, p, newObservation(), func(s *site) http.Handler { return s.seeEnd(f.build(a)) })
	t.Cleanup(s.close)
	s.visit(http.MethodGet, nil)
	return s
}

// wantDenied reads an answer with Retry-After that keeps what was set before it.
func wantDenied(t *testing.T, res *http.Response, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" ||
		res.Header.Get("Access-Control-Allow-Origin") != "https://a.example" {
		t.Errorf("status %d, headers %v", res.StatusCode, res.Header)
	}
	if req := res.Request; req != nil && req.Method == http.MethodHead {
		return // the client takes care that there is no body
	}
	b, err := io.ReadAll(plainBody(res))
	var problem struct{ Status int }
	if err == nil {
		err = json.Unmarshal(b, &problem)
	}
	if err != nil || problem.Status != http.StatusTooManyRequests {
		t.Errorf("body %q, error %v", b, err)
	}
}

// A denial reaches every client, whatever it is about to send, and the connection serves the
// next request.
func TestDenialReachesClients(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		for _, p := range every {
			s := denying(t, f, p, app{})
			for range 2 {
				for _, req := range []*http.Request{
					s.request(http.MethodGet, nil),
					s.request(http.MethodHead, nil),
					s.request(http.MethodPost, bytes.NewReader(make([]byte, 10_000))),
					s.request(http.MethodPost, strings.NewReader("not sent"), "Expect: 100-continue"),
					s.request(http.MethodGet, nil, "Accept: text/event-stream"),
				} {
					res, err := s.transport.RoundTrip(req) //nolint:bodyclose // wantDenied closes it
					wantDenied(t, res, err)
				}
			}
			s.curl([]string{"--fail", "--retry", "0"})
			if got := s.String(); !strings.Contains(got, "curl: exit status 22") || strings.Contains(got, "informational") {
				t.Errorf("%s: %s", p.name, got)
			}
		}
	})
}

func TestDeniedWebSocket(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		s := denying(t, f, http1, app{})
		_, res, err := coder.Dial(s.ctx, s.server.URL+"/api/users/1", &coder.DialOptions{HTTPClient: &http.Client{Transport: s.transport}}) //nolint:bodyclose // wantDenied closes it
		if err == nil {
			t.Fatal("coder's client was let through")
		}
		wantDenied(t, res, nil)
		_, res, err = gorilla.DefaultDialer.DialContext(s.ctx, "ws"+strings.TrimPrefix(s.server.URL, "http")+"/api/users/1", nil) //nolint:bodyclose // wantDenied closes it
		if err == nil {
			t.Fatal("gorilla's client was let through")
		}
		wantDenied(t, res, nil)
	})
}

// A denial inside of compression is compressed, one outside of it is not.
func TestDenialAndCompression(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, f framework) {
		for _, p := range every {
			for _, a := range []app{{outside: compressing}, {inside: compressing}} {
				s := denying(t, f, p, a)
				for _, lines := range [][]string{{"Accept-Encoding: gzip"}, {"Accept-Encoding: identity"}, nil} {
					for _, method := range []string{http.MethodGet, http.MethodHead} {
						res, err := s.transport.RoundTrip(s.request(method, nil, lines...)) //nolint:bodyclose // wantDenied closes it
						wantDenied(t, res, err)
						if err == nil && res.Header.Get("Content-Encoding") != "" && (a.outside == nil || lines == nil) {
							t.Errorf("compressed unasked: %v", res.Header)
						}
					}
				}
			}
		}
	})
}
