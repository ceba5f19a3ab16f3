package demotest

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser returns the path of an installed Chromium.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium was found; install one, on Debian by: apt-get install chromium")
	return ""
}

// newTab opens a browser of the test's own.
func newTab(t *testing.T) context.Context {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser(t)), chromedp.NoSandbox,
		chromedp.DisableGPU, chromedp.WindowSize(1120, 760), chromedp.UserDataDir(t.TempDir()))
	allocator, closeAllocator := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(closeAllocator)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	return ctx
}

// open opens the demo's page, and waits until its WebSocket is connected.
func open(t *testing.T, d *demo) context.Context {
	t.Helper()
	ctx := newTab(t)
	err := chromedp.Do(ctx, chromedp.Navigate("http://"+d.addr+"/"), chromedp.WaitVisible("#messages li.info"))
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func read(ctx context.Context, t *testing.T, selector string) string {
	t.Helper()
	text, err := chromedp.Run(ctx, chromedp.Text(selector))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The page's buttons send requests and messages, and its logs show what came of
// them. PICTURE=file keeps a picture of it.
func TestPage(t *testing.T) {
	t.Parallel()
	ctx := open(t, start(t))
	awaitWindow(10 * time.Second) // what is counted falls into one
	err := chromedp.Do(ctx,
		chromedp.Click("#send"),
		chromedp.WaitVisible("#requests li.ok"),
		chromedp.Click("#burst"),
		chromedp.WaitVisible("#requests li.no"),
		chromedp.Click("#flood"),
		chromedp.WaitVisible("#messages li.no"),
		chromedp.WaitVisible("#requests li:nth-child(7)"),
	)
	if err != nil {
		t.Fatal(err)
	}
	requests, messages, remaining := read(ctx, t, "#requests"), read(ctx, t, "#messages"), read(ctx, t, "#remaining")
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(requests, "200 /gin/items") != 5 || strings.Count(requests, "429 /gin/items") != 2 {
		t.Errorf("seven requests are shown as:\n%s", requests)
	}
	if !strings.Contains(requests, "X-RateLimit-Remaining: 0") || !strings.Contains(requests, "Retry-After: ") || remaining != "0 of 5 remaining" {
		t.Errorf("the headers are shown as %q:\n%s", remaining, requests)
	}
	if strings.Count(messages, "echo hello") != 5 || strings.Count(messages, "rate_limit") != 1 {
		t.Errorf("six messages are shown as:\n%s", messages)
	}
	keep(t, "", shot)
}

// entries are the messages' log since the connection in mode was opened, oldest
// first, each as "head text".
func entries(ctx context.Context, t *testing.T, mode string) []string {
	t.Helper()
	all, err := chromedp.Run(ctx, chromedp.Evaluate[[]string](
		`[...document.querySelectorAll('#messages li')].map(li => li.childNodes[0].textContent + li.childNodes[1].textContent).reverse()`))
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(all, "open connected, mode "+mode)
	if at < 0 {
		return nil
	}
	return all[at+1:]
}

// awaitEntries waits until there are n of them.
func awaitEntries(ctx context.Context, t *testing.T, mode string, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		got := entries(ctx, t, mode)
		if len(got) >= n {
			return got[:n]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: the log has %q, want %d entries", mode, got, n)
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // a real browser draws at its own pace
	}
}

// Each mode has its button, and the page shows what becomes of six messages, of
// which the limit admits five. PICTURE=file keeps a picture of each, with the
// mode added to its name.
func TestModes(t *testing.T) {
	t.Parallel()
	ctx := open(t, start(t))
	five := slices.Repeat([]string{"echo hello"}, 5)
	dropped, closed := "limit the message was dropped", "close connection closed: 1008 rate limit exceeded"
	for _, c := range []struct {
		mode string
		more int // messages said after the six
		want []string
	}{
		{"drop", 1, nil},
		{"close", 0, []string{closed}},
		{"close3", 2, []string{dropped, closed}},
		{"delay", 0, []string{"echo hello"}},
		{"notify", 1, []string{dropped}},
	} {
		if _, err := chromedp.Run(ctx, chromedp.Evaluate[any](`document.querySelector('#messages').replaceChildren()`)); err != nil {
			t.Fatal(err)
		}
		if err := chromedp.Do(ctx, chromedp.Click("#modes [data-mode="+c.mode+"]")); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); !strings.Contains(read(ctx, t, "#messages"), "mode "+c.mode); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the page did not connect", c.mode)
			}
		}
		if now := time.Now(); now.Sub(now.Truncate(10*time.Second)) > 6*time.Second {
			awaitWindow(10 * time.Second) // what is counted falls into one
		}
		if err := chromedp.Do(ctx, chromedp.Click("#flood")); err != nil {
			t.Fatal(err)
		}
		for range c.more {
			if err := chromedp.Do(ctx, chromedp.Click("#say")); err != nil {
				t.Fatal(err)
			}
		}
		want := append(slices.Clone(five), c.want...)
		if got := awaitEntries(ctx, t, c.mode, len(want)); !slices.Equal(got, want) {
			t.Errorf("%s: the log has %q, want %q", c.mode, got, want)
		}
		shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		keep(t, "-"+c.mode, shot)
	}
}
