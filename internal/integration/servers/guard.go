package servers

import (
	"io"
	"os/exec"
)

// guard is a process that ends a server and removes its directory as soon as
// this one is gone, however it ended: a panic, a timeout of go test or kill -9
// run no cleanup.
type guard struct {
	cmd   *exec.Cmd
	alive io.Closer // the guard reads the other end, which ends with this process
}

// newGuard posts a guard over a server that command would end.
func newGuard(dir string, command ...string) (*guard, error) {
	const script = `read -r _; dir=$1; shift; "$@" >/dev/null 2>&1; rm -rf "$dir"`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", dir}, command...)...) //nolint:gosec,noctx // it ends with dismiss
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{cmd: cmd, alive: alive}, nil
}

// dismiss ends the guard before it does anything.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait() // closes alive, when nobody is left to see it
}
