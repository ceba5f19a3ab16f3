package servers

import (
	"io"
	"os/exec"
)

// guard is a process that runs a command as soon as this one is gone, however
// it ended: a panic, a timeout of go test or kill -9 run no cleanup.
type guard struct {
	cmd   *exec.Cmd
	alive io.Closer // the guard reads the other end, which ends with this process
}

// newGuard posts a guard over what command would end.
func newGuard(command ...string) (*guard, error) {
	cmd := exec.Command("sh", append([]string{"-c", `read -r _; exec "$@" >/dev/null 2>&1`, "sh"}, command...)...) //nolint:gosec,noctx // it ends with dismiss
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
