package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// pullTimeout bounds the one attempt of a process to get an image.
const pullTimeout = 10 * time.Second

// source is where servers of one kind come from.
type source struct {
	binary string // a process, unless there is an image
	image  string
	why    string // why a preferred source is not available
}

func (s source) String() string {
	text := "the process " + s.binary
	if s.image != "" {
		text = "the image " + s.image
	}
	if s.why != "" {
		text += " (" + s.why + ")"
	}
	return text
}

func (s source) runner(binary, dir string, programOf func(dir string) program) runner {
	if s.image != "" {
		return &container{image: s.image, binary: binary, dir: dir, programOf: programOf}
	}
	return &process{binary: s.binary, dir: dir, programOf: programOf}
}

// source chooses once for all tests of a process.
func (k *kind) source() (source, error) {
	k.once.Do(func() { k.chosen, k.err = k.choose() })
	return k.chosen, k.err
}

func (k *kind) choose() (source, error) {
	only := os.Getenv("TRAFFIK_TEST_SOURCE")
	if only != "" && only != "container" && only != "process" {
		return source{}, fmt.Errorf("servers: TRAFFIK_TEST_SOURCE=%q; accepted are container and process", only)
	}
	binary, binaryErr := exec.LookPath(k.binary)
	if only == "container" {
		binary, binaryErr = "", errors.New("TRAFFIK_TEST_SOURCE asks for a container")
	}
	if only == "process" {
		return k.process(binary, binaryErr, errors.New("TRAFFIK_TEST_SOURCE asks for a process"))
	}
	image, named := k.image, false
	if name := os.Getenv(k.imageEnv); name != "" {
		image, named = name, true
	}
	// An image is pulled only if the environment names it or no program is installed.
	imageErr := provide(image, named || binaryErr != nil)
	if imageErr == nil {
		imageErr = k.try(image)
	}
	if imageErr == nil {
		return source{image: image}, nil
	}
	return k.process(binary, binaryErr, imageErr)
}

func (k *kind) process(binary string, binaryErr, imageErr error) (source, error) {
	if binaryErr == nil {
		return source{binary: binary, why: "no container: " + imageErr.Error()}, nil
	}
	return source{}, fmt.Errorf("servers: no %s was found; name one in %s, start a Docker engine that has %s, or install one, on Debian by: %s\n  container: %w\n  process: %w",
		k.name, k.addrEnv, k.image, k.advice, imageErr, binaryErr)
}

// try starts a container for a moment: an engine in a virtual machine, or one
// elsewhere, may run it where it can't be reached.
func (k *kind) try(image string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	s := &Server{kind: k}
	err := s.on(ctx, source{image: image}, func(port int, dir string) program {
		return program{args: k.args(port, dir)}
	})
	if err != nil {
		return fmt.Errorf("the image %s: %w", image, err)
	}
	return s.remove()
}
