// Command stress runs the tests again and again beside busy loops on all cores, and
// prints a table of packages, runs and failures:
//
//	go run ./internal/integration/stress -runs 10 work
//
// The arguments are packages, as go test takes them. Each run tests all packages. One
// more run follows with -short -race -cpu=1,2. The output of failed tests goes to a file,
// whose name is printed last. The exit status is 1 if anything failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// grace is how long go test may take to end after Ctrl-C.
const grace = 20 * time.Second

func main() {
	runs := flag.Int("runs", 10, "how often all packages are run")
	flag.Parse()
	packages := flag.Args()
	if *runs < 1 || len(packages) == 0 {
		fmt.Fprintln(os.Stderr, "stress: give at least one run and one package, for example: -runs 10 work")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer keepBusy()()
	p := plan{dir: ".", runs: *runs, packages: packages, last: []string{"-short", "-race", "-cpu=1,2"}}
	if err := p.run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1) //nolint:gocritic // the busy loops end with the process
	}
}

// plan says which tests to run, and how often.
type plan struct {
	dir      string
	runs     int
	packages []string
	last     []string // the flags of one more run
}

// run prints to out what came of the plan. It returns an error if anything failed.
func (p plan) run(ctx context.Context, out io.Writer) error {
	log, err := os.CreateTemp("", "traffik-stress-*.log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	t := newTable(log)
	for run := 1; run <= p.runs; run++ {
		t.pass(ctx, out, p.dir, fmt.Sprintf("run %d of %d", run, p.runs), p.packages)
	}
	t.pass(ctx, out, p.dir, strings.Join(p.last, " "), slices.Concat(p.last, p.packages))
	t.print(out)
	if t.failures() > 0 {
		_, _ = fmt.Fprintln(out, "\nwhat failed printed:", log.Name())
		err = fmt.Errorf("%d failures", t.failures())
	} else {
		_ = os.Remove(log.Name())
	}
	if ctx.Err() != nil {
		err = errors.Join(errors.New("interrupted"), err)
	}
	return err
}

// keepBusy starts a loop on each core, until end is called. The loops are threads of
// this process, so that none is left however it ends.
func keepBusy() (end func()) {
	cores := runtime.NumCPU()
	before := runtime.GOMAXPROCS(2 * cores) // the loops leave room for the rest of this process
	var done atomic.Bool
	for range cores {
		go func() {
			for !done.Load() { // to be busy is all there is to do
			}
		}()
	}
	return func() {
		done.Store(true)
		runtime.GOMAXPROCS(before)
	}
}

// pass runs go test once. Nothing is counted of a pass that was interrupted.
func (t *table) pass(ctx context.Context, out io.Writer, dir, name string, args []string) {
	if ctx.Err() != nil {
		return
	}
	start, before := time.Now(), t.failures()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json", "-count=1", "-timeout=30m"}, args...)...) //nolint:gosec // the arguments of this command
	cmd.Dir = dir
	// The go command alone would wait for the tests that it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = grace
	events := &lines{each: func(line string) { t.add(name, line) }}
	cmd.Stdout, cmd.Stderr = events, events
	err := cmd.Run()
	events.flush()
	if ctx.Err() != nil {
		return
	}
	if err != nil && t.failures() == before { // before any test, for example
		t.fail(name, "go test", []string{err.Error() + "\n"})
	}
	_, _ = fmt.Fprintf(out, "%s: %d failures, %v\n", name, t.failures()-before, time.Since(start).Round(time.Second))
}
