package demotest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Ctrl-C, which goes to everything that the terminal runs, ends "make demo" without
// an error of make's or go's.
func TestCtrlCEndsMakeDemo(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "-C", root, "demo")
	cmd.Env = append(os.Environ(), "ADDR=127.0.0.1:0", "MAKEFLAGS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	lines := bufio.NewReader(out)
	printed := ""
	for !strings.Contains(printed, "open http://") {
		line, err := lines.ReadString('\n')
		if printed += line; err != nil {
			t.Fatalf("the demo did not start: %v\n%s", err, printed)
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !cmd.ProcessState.Success() && (!status.Signaled() || status.Signal() != syscall.SIGINT) {
		t.Errorf("make ended with %v, want success or an end by the signal", cmd.ProcessState)
	}
	if got := string(rest); got != "demo: ending\n" {
		t.Errorf("after Ctrl-C it printed %q", got)
	}
}

var root = filepath.Join("..", "..", "..")
