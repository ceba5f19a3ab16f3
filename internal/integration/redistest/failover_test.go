package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

const (
	// deadline is that of each caller while servers die.
	deadline = 2 * time.Second
	// loadCallers draw, each on so many keys in turn.
	loadCallers, loadKeys = 16, 50
	// recovery is how long a failover may take, on a busy machine.
	recovery = 2 * time.Minute
)

// load draws with several callers, on keys all over the slots, until the test
// ends them.
type load struct {
	*testing.T
	backend traffik.Backend
	answers atomic.Int64 // since the last look
	errors  atomic.Int64
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

func startLoad(t *testing.T, backend traffik.Backend) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{T: t, backend: backend, stop: cancel}
	for caller := range loadCallers {
		l.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				l.draw(ctx, fmt.Sprint("id", caller, "-", i%loadKeys))
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

// draw draws once. What comes back after the deadline is the deadline, and what
// comes before it an answer or an error of the store.
func (l *load) draw(ctx context.Context, id string) {
	timed, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	err := l.backend.Take(timed, []traffik.Op{in("load", id, 1)}, make([]traffik.Decision, 1))
	switch {
	case err == nil:
		l.answers.Add(1)
	case ctx.Err() != nil:
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, traffik.ErrBackend):
		l.errors.Add(1)
	default:
		l.Errorf("an error of no kind: %v", err)
	}
}

// waitForAnswers waits until the callers have had as many answers in a row, without an
// error in between, as it takes to draw on all keys twice.
func (l *load) waitForAnswers(what string) {
	l.Helper()
	const want = 2 * loadCallers * loadKeys
	end := time.Now().Add(recovery)
	l.answers.Store(0)
	for l.answers.Load() < want {
		if l.errors.Swap(0) > 0 {
			l.answers.Store(0)
		}
		if time.Now().After(end) {
			l.Fatalf("%s: %d answers since the last error, want service to return", what, l.answers.Load())
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // real servers fail over meanwhile
	}
}

func (l *load) waitForErrors() {
	l.Helper()
	end := time.Now().Add(recovery)
	for l.errors.Load() == 0 {
		if time.Now().After(end) {
			l.Fatal("no caller noticed that the master is gone")
		}
		time.Sleep(time.Millisecond) //nolint:forbidigo // the real server dies meanwhile
	}
}

func TestClusterMasterDies(t *testing.T) {
	t.Parallel()
	cluster := servers.RedisCluster(t)
	client := newClusterClient(t, cluster.Addrs())
	l := startLoad(t, newBackend(t, client))
	l.waitForAnswers("before")
	master, err := client.MasterForKey(t.Context(), "{id0-0}")
	if err != nil {
		t.Fatal(err)
	}
	l.errors.Store(0)
	cluster.Node(master.Options().Addr).Kill()
	l.waitForErrors()
	l.waitForAnswers("after the master died")
}

func TestSentinelMasterDies(t *testing.T) {
	t.Parallel()
	sentinels := servers.Sentinel(t)
	client := newSentinelClient(t, sentinels)
	l := startLoad(t, newBackend(t, client))
	l.waitForAnswers("before")
	l.errors.Store(0)
	sentinels.Nodes[0].Kill()
	l.waitForErrors()
	l.waitForAnswers("after the master died")
	if role := client.Do(t.Context(), "role").String(); !strings.Contains(role, "master") {
		t.Errorf("the client talks to %s", role)
	}
}

// TestServerComesBack: a single server that dies takes its counts with it, and
// service returns with it.
func TestServerComesBack(t *testing.T) {
	t.Parallel()
	server := servers.Redis(t, servers.Own())
	client := newClientOf(t, &redis.Options{Addr: server.Addr, MaxRetries: -1})
	l := startLoad(t, newBackend(t, client))
	l.waitForAnswers("before")
	l.errors.Store(0)
	server.Kill()
	l.waitForErrors()
	server.Restart()
	l.waitForAnswers("after the restart")
}
