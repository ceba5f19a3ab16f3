package servers

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Custom is a server that a test configures itself, a proxy for example. It is always a
// single process: its children would outlive it.
type Custom struct {
	Name   string // for messages
	Binary string // looked for in PATH and in /usr/sbin
	Advice string // how to get it on Debian
	// Args and Files are its command line and the files that it needs in dir, which no
	// other test uses. It has to listen on 127.0.0.1 at port.
	Args  func(port int, dir string) []string
	Files func(port int, dir string) map[string]string
}

// Start starts the server and returns when it accepts connections.
func (c Custom) Start(t testing.TB) *Server {
	t.Helper()
	k := &kind{name: c.Name, binary: c.Binary}
	k.once.Do(func() { k.chosen, k.err = c.source() })
	s, err := k.launch(t, func(port int, dir string) program {
		return program{args: c.Args(port, dir), files: c.Files(port, dir)}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (c Custom) source() (source, error) {
	binary, err := lookUp(c.Binary)
	if err != nil {
		return source{}, fmt.Errorf("servers: no %s was found; install one, on Debian by: %s\n%w", c.Name, c.Advice, err)
	}
	return source{binary: binary}, nil
}

// lookUp finds a program in PATH or in /usr/sbin, where Debian has servers. The PATH
// of ordinary users doesn't contain /usr/sbin.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	path = "/usr/sbin/" + name
	if _, statErr := os.Stat(path); statErr != nil {
		return "", errors.Join(err, statErr)
	}
	return path, nil
}
