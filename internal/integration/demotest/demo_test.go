// Package demotest runs the demo as a person would: the built program, curl's
// view of it, a WebSocket client and a browser.
package demotest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

// binary is the demo, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "traffik-demo")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "demo")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", binary, ".") //nolint:gosec // our own program
	build.Dir = filepath.Join("..", "..", "..", "examples", "demo")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the demo: %v\n%s", err, out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// demo is a running demo.
type demo struct {
	*testing.T
	cmd  *exec.Cmd
	addr string
	log  *strings.Builder
	done chan struct{} // closed when the log has ended
}

func start(t *testing.T, env ...string) *demo {
	t.Helper()
	d := &demo{T: t, log: new(strings.Builder), done: make(chan struct{})}
	d.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), binary) //nolint:gosec // our own program
	d.cmd.Env = append(append(os.Environ(), "ADDR=127.0.0.1:0"), env...)
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stderr)
	ready, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the demo said %q and then %v", ready, err)
	}
	_, rest, _ := strings.Cut(ready, "http://")
	d.addr, _, _ = strings.Cut(rest, "/")
	go func() {
		defer close(d.done)
		_, _ = io.Copy(d.log, lines)
	}()
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			_ = d.cmd.Process.Kill()
			<-d.done
			_ = d.cmd.Wait()
		}
	})
	return d
}

// stop ends the demo by a signal and wants it to end well.
func (d *demo) stop(signal os.Signal) {
	d.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		d.Fatal(err)
	}
	<-d.done
	if err := d.cmd.Wait(); err != nil {
		d.Errorf("after %v: %v\n%s", signal, err, d.log)
	}
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (d *demo) get(path string) reply {
	d.Helper()
	req, err := http.NewRequestWithContext(d.Context(), http.MethodGet, "http://"+d.addr+path, nil)
	if err != nil {
		d.Fatal(err)
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		d.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		d.Fatal(err)
	}
	return reply{status: res.StatusCode, header: res.Header, body: string(body)}
}

// awaitWindow waits until a window of this length begins. The demo counts by wall
// time.
func awaitWindow(length time.Duration) {
	now := time.Now()
	time.Sleep(now.Truncate(length).Add(length).Sub(now)) //nolint:forbidigo // a real process counts by wall time
}

// inOneWindow runs attempt, which fails with an error, from the beginning of a window of
// this length. What a slow machine spread over two windows says nothing: the attempt is
// repeated in a new one, where the demo's counters are untouched again.
func inOneWindow(t *testing.T, length time.Duration, attempt func() error) {
	t.Helper()
	for t.Context().Err() == nil {
		awaitWindow(length)
		end := time.Now().Truncate(length).Add(length)
		err := attempt()
		if time.Now().After(end) {
			continue
		}
		if err != nil {
			t.Error(err)
		}
		return
	}
}

// The limits of all three frameworks at once, each with its own count.
func TestItems(t *testing.T) {
	t.Parallel()
	d := start(t)
	inOneWindow(t, 10*time.Second, func() error { return useUp(d) })
	// Waiting exactly as long as one is told is enough.
	last := d.get("/chi/items")
	if last.status == http.StatusTooManyRequests { // else the next window has come by itself
		wait, err := strconv.Atoi(last.header.Get("Retry-After"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(wait) * time.Second) //nolint:forbidigo // a real process counts by wall time
	}
	for _, framework := range []string{"chi", "echo", "gin"} {
		if got := d.get("/" + framework + "/items"); got.status != http.StatusOK {
			t.Errorf("%s: status %d after waiting as long as was told", framework, got.status)
		}
	}
	d.stop(syscall.SIGTERM)
}

// useUp uses up the items of each framework.
func useUp(d *demo) error {
	for _, framework := range []string{"gin", "echo", "chi"} {
		path := "/" + framework + "/items"
		for left := 4; left >= 0; left-- {
			got := d.get(path)
			if got.status != http.StatusOK || got.header.Get("X-RateLimit-Remaining") != strconv.Itoa(left) {
				return fmt.Errorf("%s: status %d, headers %v, want %d remaining", path, got.status, got.header, left)
			}
		}
		got := d.get(path)
		wait, err := strconv.Atoi(got.header.Get("Retry-After"))
		if got.status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 10 {
			return fmt.Errorf("%s: the sixth got %d, Retry-After %q", path, got.status, got.header.Get("Retry-After"))
		}
		if got.header.Get("X-RateLimit-Limit") != "5" || got.header.Get("X-RateLimit-Remaining") != "0" ||
			got.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(got.body, framework+":items") {
			return fmt.Errorf("%s: headers %v, body %s", path, got.header, got.body)
		}
	}
	return nil
}

// A search denied by the limit of the second leaves the minute's count alone:
// twenty are admitted in the minute, however many were denied in between.
func TestSearch(t *testing.T) {
	t.Parallel()
	d := start(t)
	for _, framework := range []string{"gin", "echo", "chi"} {
		t.Run(framework, func(t *testing.T) {
			t.Parallel()
			for fresh := time.Now().Second() <= 40; ; fresh = false {
				// Twenty searches at three a second fit into the rest of the minute, if none
				// was used before.
				if !fresh {
					awaitWindow(time.Minute)
				}
				end := time.Now().Truncate(time.Minute).Add(time.Minute)
				admitted, denied := searchUntilDenied(t, d, framework)
				if time.Now().After(end) {
					continue // a slow machine spread it over two minutes
				}
				if admitted != 20 || denied < 6 {
					t.Errorf("the minute was used up after %d admitted searches and %d denied by the second's limit, want 20 and some", admitted, denied)
				}
				return
			}
		})
	}
}

// searchUntilDenied searches until the limit per minute denies. It counts the admitted
// searches and those that the limit per second denied.
func searchUntilDenied(t *testing.T, d *demo, framework string) (admitted, denied int) {
	t.Helper()
	for {
		got := d.get("/" + framework + "/search")
		switch {
		case got.status == http.StatusOK:
			admitted++
			continue
		case got.status != http.StatusTooManyRequests:
			t.Fatalf("status %d: %s", got.status, got.body)
		case strings.Contains(got.body, framework+":search:minute"):
			return admitted, denied
		}
		if denied++; denied%3 == 0 { // a few in vain each second
			awaitWindow(time.Second)
		}
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	d := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ws, res, err := websocket.Dial(ctx, "ws://"+d.addr+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body != nil {
		defer func() { _ = res.Body.Close() }()
	}
	defer func() { _ = ws.CloseNow() }()
	say := func(message string) string {
		if err := ws.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		_, data, err := ws.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	inOneWindow(t, 10*time.Second, func() error {
		for i := range 5 {
			if got := say(strconv.Itoa(i)); got != strconv.Itoa(i) {
				return fmt.Errorf("message %d came back as %q", i, got)
			}
		}
		if got := say("sixth"); !strings.HasPrefix(got, `{"type":"rate_limit","retry_after_ms":`) {
			return fmt.Errorf("the sixth message got %q, want a notice", got)
		}
		return nil
	})
	awaitWindow(10 * time.Second)
	if got := say("later"); got != "later" {
		t.Errorf("heard %q in the next window, want the connection to live on", got)
	}
	// A connection still open doesn't keep the demo from ending.
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("when the demo ended the client saw %v, want a close with status 1001", err)
	}
	<-d.done
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, d.log)
	}
}

func TestHealthIsExempt(t *testing.T) {
	t.Parallel()
	d := start(t)
	for range 50 {
		if got := d.get("/healthz"); got.status != http.StatusOK || got.header.Get("X-RateLimit-Limit") != "" {
			t.Fatalf("status %d, headers %v", got.status, got.header)
		}
	}
	d.stop(syscall.SIGTERM)
}

// Mistakes in the environment end the demo with a sentence that helps.
func TestMistakes(t *testing.T) {
	t.Parallel()
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	for want, env := range map[string]string{
		busy.Addr().String() + " is in use": "ADDR=" + busy.Addr().String(),
		"accepted is host:port":             "ADDR=nonsense",
		"accepted are memory":               "BACKEND=paper",
	} {
		cmd := exec.CommandContext(t.Context(), binary) //nolint:gosec // our own program
		cmd.Env = append(os.Environ(), "ADDR=127.0.0.1:0", env)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v, output %q, want exit code 1 and %q", env, err, out, want)
		}
	}
}
