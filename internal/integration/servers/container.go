package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	dockercontainer "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// engineTimeout bounds one request to the Docker engine.
const engineTimeout = 10 * time.Second

// containerDir is the server's directory in its container.
const containerDir = "/tmp"

// quiet drops what testcontainers reports of its work.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func init() {
	log.SetDefault(quiet{})
	// The cleaner would be one more image to pull, and without the second the
	// library asks the network's gateway for the engine's address.
	setUnset("TESTCONTAINERS_RYUK_DISABLED", "true")
	setUnset("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
}

func setUnset(name, value string) {
	if _, set := os.LookupEnv(name); !set {
		_ = os.Setenv(name, value) // fails for impossible names alone
	}
}

// provide returns nil if the engine has image; if pull, it is asked to get it.
// The engine's own deadline for a registry that hangs would be minutes.
func provide(image string, pull bool) error {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return fmt.Errorf("no Docker engine: %w", err)
	}
	defer func() { _ = provider.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	_, err = provider.Client().ImageInspect(ctx, image)
	if err == nil || !pull {
		return err
	}
	ctx, cancel = context.WithTimeout(context.Background(), pullTimeout)
	defer cancel()
	if err := provider.PullImage(ctx, image); err != nil {
		return fmt.Errorf("pull %s: %w", image, err)
	}
	return nil
}

// container is a server in the host's network. It listens on 127.0.0.1, as a process
// would. So Cluster and Sentinel need nothing special, although their members tell
// each other their addresses.
type container struct {
	image     string
	binary    string
	dir       string // what it sees as containerDir
	programOf func(dir string) program

	ctr   *testcontainers.DockerContainer
	guard *guard
}

func (c *container) start(ctx context.Context) error {
	if c.ctr != nil {
		return c.ctr.Start(ctx)
	}
	prog := c.programOf(containerDir)
	if err := prog.write(c.dir); err != nil {
		return err
	}
	opts := []testcontainers.ContainerCustomizer{
		// An image's own entrypoint and user would not reach our files.
		testcontainers.WithEntrypoint(c.binary),
		testcontainers.WithConfigModifier(func(config *dockercontainer.Config) { config.User = "0" }),
		testcontainers.WithCmd(prog.args...),
		testcontainers.WithHostConfigModifier(func(host *dockercontainer.HostConfig) {
			host.NetworkMode = "host"
			host.Binds = []string{c.dir + ":" + containerDir + ":z"} // z: also where SELinux guards the host's files
		}),
	}
	ctr, err := testcontainers.Run(ctx, c.image, opts...)
	c.ctr = ctr
	if err != nil {
		return err
	}
	return c.post()
}

// post guards the container against the end of this process, where that is
// possible.
func (c *container) post() error {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return nil //nolint:nilerr // without the command a test binary that is killed leaves its containers behind
	}
	c.guard, err = newGuard(c.dir, docker, "rm", "--force", "--volumes", c.ctr.GetContainerID())
	return err
}

func (c *container) kill() error {
	if c.ctr == nil || c.ended() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	if err := c.signal(ctx, "KILL"); err != nil {
		return err
	}
	for !c.ended() {
		pause(ctx)
		if ctx.Err() != nil {
			return errors.New("its container does not end")
		}
	}
	return nil
}

func (c *container) signal(ctx context.Context, name string) error {
	engine, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	_, err = engine.ContainerKill(ctx, c.ctr.GetContainerID(), client.ContainerKillOptions{Signal: name})
	return err
}

func (c *container) ended() bool {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	state, err := c.ctr.State(ctx)
	return err != nil || !state.Running
}

func (c *container) output() string {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	logs, err := c.ctr.Logs(ctx)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = logs.Close() }()
	text, err := io.ReadAll(logs)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(text))
}

func (c *container) remove() error {
	if c.ctr == nil {
		return nil
	}
	err := c.kill()
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	err = errors.Join(err, c.ctr.Terminate(ctx, testcontainers.StopTimeout(0)))
	c.guard.dismiss()
	return err
}
