package httptraffik_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/traffik-go/traffik/core/httptraffik"
)

// failing is a source that fails after a few bytes, or panics.
type failing struct {
	bytes  int
	panics bool
}

func (f *failing) Read(p []byte) (int, error) {
	if f.bytes == 0 {
		if f.panics {
			panic("source")
		}
		return 0, errors.New("failing")
	}
	n := min(len(p), f.bytes)
	f.bytes -= n
	return n, nil
}

// What is copied from a source counts as what the client of a server gets: a source
// without a byte leaves the status open.
func TestCountOnlyOfCopies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src    io.Reader
		header http.Header
		want   int
	}{
		"fails at once":       {&failing{}, nil, 401},
		"fails after a byte":  {&failing{bytes: 1}, nil, 200},
		"fails when sniffed":  {&failing{bytes: 512}, nil, 200},
		"fails late":          {&failing{bytes: 100_000}, nil, 200},
		"panics after a byte": {&failing{bytes: 1, panics: true}, nil, 200},
		"longer than said":    {&failing{bytes: 9}, http.Header{"Content-Length": {"0"}}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(chan int, 1)
			limited := httptraffik.New(newLimit(t, "5/d"), httptraffik.CountOnly(func(status int) bool { seen <- status; return true }))
			server := httptest.NewUnstartedServer(limited(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, values := range c.header {
					w.Header()[name] = values
				}
				if _, err := w.(io.ReaderFrom).ReadFrom(c.src); err != nil {
					http.Error(w, "", http.StatusUnauthorized)
				}
			})))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Start()
			defer server.Close()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := c.want
			if response, err := server.Client().Do(r); err == nil { // else the server has cut it off
				got = response.StatusCode
				_ = response.Body.Close()
			}
			if counted := <-seen; counted != c.want || got != c.want {
				t.Errorf("counted %d, the client got %d; want %d", counted, got, c.want)
			}
		})
	}
}

// A copy that is longer than what is sniffed arrives whole, once.
func TestCopyUnderCountOnly(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 511, 512, 513, 100_000} {
		body := strings.Repeat("x", size-size/2) + strings.Repeat("y", size/2)
		rec := httptest.NewRecorder()
		handler := httptraffik.New(newLimit(t, "5/d"), httptraffik.CountOnly(func(int) bool { return true }))(
			http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(body))
				if err != nil || n != int64(size) {
					t.Errorf("copied %d bytes of %d: %v", n, size, err)
				}
			}))
		handler.ServeHTTP(readingRecorder{rec}, httptest.NewRequest(http.MethodGet, "/", nil))
		if got := rec.Body.String(); got != body {
			t.Errorf("%d bytes arrived, want %d", len(got), size)
		}
	}
}

type readingRecorder struct{ *httptest.ResponseRecorder }

func (r readingRecorder) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(r.ResponseRecorder, src)
}
