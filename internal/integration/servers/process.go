package servers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// process is a server as a child of the test binary.
type process struct {
	binary    string
	dir       string
	programOf func(dir string) program

	log   string
	done  chan struct{} // closed when the running one has ended
	cmd   *exec.Cmd
	guard *guard
}

func (p *process) start(context.Context) error {
	prog := p.programOf(p.dir)
	if err := prog.write(p.dir); err != nil {
		return err
	}
	p.log = filepath.Join(p.dir, "output.log")
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(p.binary, prog.args...) //nolint:gosec,noctx // it ends with kill
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait() // a killed server's exit code says nothing
	}()
	p.guard, err = newGuard(p.dir, "kill", "-9", strconv.Itoa(cmd.Process.Pid))
	if err != nil {
		return errors.Join(err, p.kill())
	}
	return nil
}

func (p *process) kill() error {
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.done
	p.guard.dismiss()
	p.guard = nil
	return err
}

func (p *process) signal(ctx context.Context, name string) error {
	return exec.CommandContext(ctx, "kill", "-"+name, strconv.Itoa(p.cmd.Process.Pid)).Run() //nolint:gosec // our own child
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text))
}

func (p *process) remove() error { return p.kill() }

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
