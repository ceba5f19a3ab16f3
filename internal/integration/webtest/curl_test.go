package webtest

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// commands are visits by curl.
var commands = []behaviour{
	{name: "curl", brokenBy: []fault{hasty}, serve: serveContent, visit: func(s *site) {
		s.curl(
			[]string{"--include"},
			[]string{"--head"},
			[]string{"--include", "--range", "2-5"},
			[]string{"--include", "--range", "0-1,-3"},
			[]string{"--include", "--header", `If-None-Match: "v1"`},
			[]string{"--fail", "--range", "99-"},
		)
	}},
	{name: "curl of a stream", brokenBy: []fault{opaque}, visit: func(s *site) { s.curl([]string{"--include", "--no-buffer"}) }, serve: func(s *site, w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			s.note("handler", "flush: %v", http.NewResponseController(w).Flush())
		}
	}},
	{name: "curl with a body", over: []*protocol{http1, http2}, brokenBy: []fault{hasty}, visit: func(s *site) {
		s.curl([]string{"--include", "--header", "Expect: 100-continue", "--data", "a=1&b=2"})
	}, serve: func(_ *site, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s of %q, error %v", r.Method, b, err)
	}},
	{name: "curl compressed", outside: compressing, brokenBy: []fault{hasty}, serve: serveText, visit: func(s *site) {
		s.curl([]string{"--include", "--compressed"})
	}},
	{name: "curl of an aborted answer", over: []*protocol{http1}, brokenBy: []fault{soothing}, visit: func(s *site) { s.curl(nil) }, serve: func(_ *site, w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}},
}

// curl runs curl over the site's protocol, once for requests with these options
// each, and notes what it prints and how it exits.
func (s *site) curl(requests ...[]string) {
	s.t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		s.t.Fatal("no curl was found; install it, on Debian by: apt-get install curl")
	}
	common := []string{"--silent", "--noproxy", "*", "--max-time", "20", s.protocol.curl}
	if cert := s.server.Certificate(); cert != nil {
		common = append(common, "--cacert", writeCert(s.t, cert.Raw))
	}
	args := []string{"--disable"}
	for i, options := range requests {
		if i > 0 {
			args = append(args, "--next")
		}
		args = slices.Concat(args, common, options, []string{s.server.URL + "/api/users/42"})
	}
	out, err := exec.CommandContext(s.ctx, path, args...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	s.lines("client", string(out))
	s.note("client", "curl: %v", err)
}

func writeCert(t *testing.T, der []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
