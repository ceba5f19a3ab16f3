package demotest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
	traffikecho "github.com/traffik-go/traffik/adapters/echo"
	traffikgin "github.com/traffik-go/traffik/adapters/gin"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// crossOriginPage asks three times from another origin, with a header for which
// the browser asks by a preflight first, and shows what its script may read.
const crossOriginPage = `<!doctype html><body><script>
(async () => {
	let shown = '';
	for (let i = 0; i < 3; i++) {
		const r = await fetch('%s/', {headers: {'X-Custom': '1'}});
		shown += [r.status, r.headers.get('Retry-After'), r.headers.get('X-RateLimit-Remaining')].filter(v => v !== null).join(' ') + ';';
	}
	document.body.innerHTML = '<p id="answers">' + shown + '</p>';
})().catch(e => { document.body.innerHTML = '<p id="answers">' + e + '</p>'; });
</script></body>`

// A script of another origin reads how long it has to wait, and the browser's
// preflights cost nothing.
func TestCrossOriginFetch(t *testing.T) {
	t.Parallel()
	gin.SetMode(gin.ReleaseMode)
	for name, limited := range map[string]func(limit traffik.Limiter) http.Handler{
		"net/http": func(limit traffik.Limiter) http.Handler {
			return httptraffik.New(limit)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		},
		"gin": func(limit traffik.Limiter) http.Handler {
			engine := gin.New()
			engine.Use(traffikgin.New(limit))
			engine.Any("/", func(c *gin.Context) { c.Status(http.StatusOK) })
			return engine
		},
		"echo": func(limit traffik.Limiter) http.Handler {
			e := echo.New()
			e.Use(traffikecho.New(limit))
			e.Any("/", func(c echo.Context) error { return c.NoContent(http.StatusOK) })
			return e
		},
		"chi": func(limit traffik.Limiter) http.Handler {
			r := chi.NewRouter()
			r.Use(traffikchi.New(limit))
			r.HandleFunc("/", func(http.ResponseWriter, *http.Request) {})
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory, err := traffik.NewMemory()
			if err != nil {
				t.Fatal(err)
			}
			limit := traffik.MustNew("cross-origin", "2 per 1000 hours", traffik.WithBackend(memory),
				traffik.WithHeaders(traffik.XRateLimitHeaders.Exposed()))
			var preflights atomic.Int64
			handler := limited(limit)
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Access-Control-Allow-Origin", "*")
				w.Header().Set("Access-Control-Allow-Headers", "X-Custom")
				w.Header().Set("Access-Control-Max-Age", "0") // so that each request has one
				if r.Method == http.MethodOptions {
					preflights.Add(1)
				}
				handler.ServeHTTP(w, r)
			}))
			t.Cleanup(api.Close)
			page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprintf(w, crossOriginPage, api.URL)
			}))
			t.Cleanup(page.Close)
			ctx := newTab(t)
			if err := chromedp.Do(ctx, chromedp.Navigate(page.URL), chromedp.WaitVisible("#answers")); err != nil {
				t.Fatal(err)
			}
			got := read(ctx, t, "#answers")
			if !regexp.MustCompile(`^200 1;200 0;429 [1-9][0-9]* 0;$`).MatchString(got) || preflights.Load() == 0 {
				t.Errorf("the script read %q after %d preflights, want two answers and a denial with its wait", got, preflights.Load())
			}
		})
	}
}
