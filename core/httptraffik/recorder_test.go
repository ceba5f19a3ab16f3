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

// A response that is copied from a source counts as what the client gets. A source without a
// byte leaves the status open.
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

// A copy arrives whole and once, also if it is longer than what is sniffed.
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

// flushing is a writer that flushes only by FlushError.
type flushing struct{ http.ResponseWriter }

func (w flushing) FlushError() error { return http.NewResponseController(w.ResponseWriter).Flush() }

// A status counts only if it is sent: not after a flush of any kind, and not if the server
// refuses it.
func TestCountOnlyOfWhatIsSent(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"a flush before": func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
			w.WriteHeader(http.StatusUnauthorized)
		},
		"a status that can't be": func(w http.ResponseWriter, _ *http.Request) {
			defer func() {
				_ = recover()
				w.WriteHeader(http.StatusOK)
			}()
			w.WriteHeader(1000)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counted := make(chan int, 1)
			limited := httptraffik.New(newLimit(t, "5/d"), httptraffik.CountOnly(func(status int) bool { counted <- status; return true }))(handler)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				limited.ServeHTTP(flushing{w}, r)
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Start()
			defer server.Close()
			response, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if got := <-counted; got != http.StatusOK || response.StatusCode != http.StatusOK {
				t.Errorf("counted %d, the client got %d; want 200", got, response.StatusCode)
			}
		})
	}
}

// The head of a copied response leaves as early as without the middleware, without a length.
func TestCopyStartsAtOnceUnderCountOnly(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]httptraffik.Option{
		"plain":      nil,
		"count only": {httptraffik.CountOnly(func(int) bool { return true })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src, rest := io.Pipe()
			server := httptest.NewServer(httptraffik.New(newLimit(t, "5/d"), opts...)(
				http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, src) })))
			defer server.Close()
			written := make(chan error, 1)
			go func() {
				_, err := io.WriteString(rest, strings.Repeat("x", 600))
				written <- err
			}()
			response, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if response.ContentLength != -1 {
				t.Errorf("the length is said to be %d; the source has not ended", response.ContentLength)
			}
			if err := <-written; err != nil { // the head leaves when 512 bytes are read
				t.Fatal(err)
			}
			_ = rest.Close()
			if body, err := io.ReadAll(response.Body); err != nil || len(body) != 600 {
				t.Errorf("%d bytes arrived, error %v", len(body), err)
			}
		})
	}
}
