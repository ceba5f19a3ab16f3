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
	round   atomic.Int64              // counts the waits for answers
	served  [loadCallers]atomic.Int64 // in which round a caller had its answers
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
			l.call(ctx, caller)
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

// call draws on all keys of a caller in turn, and notes the round in which all were
// answered twice without an error in between. What another caller meets is its own
// affair: on a busy machine one of them is always late.
func (l *load) call(ctx context.Context, caller int) {
	round, row := int64(0), 0
	for i := 0; ctx.Err() == nil; i++ {
		if now := l.round.Load(); now != round {
			round, row = now, 0
		}
		row++
		if !l.draw(ctx, fmt.Sprint("id", caller, "-", i%loadKeys)) {
			row = 0
		}
		if row == 2*loadKeys {
			l.served[caller].Store(round)
		}
	}
}

// draw draws once, and reports whether that was answered. What comes back after the deadline is the deadline, and what
// comes before it an answer or an error of the store.
func (l *load) draw(ctx context.Context, id string) bool {
	timed, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	err := l.backend.Take(timed, []traffik.Op{in("load", id, 1)}, make([]traffik.Decision, 1))
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil:
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, traffik.ErrBackend):
		l.errors.Add(1)
	default:
		l.Errorf("an error of no kind: %v", err)
	}
	return false
}

// waitForAnswers waits until every caller has had an answer on each of its keys twice, in
// a row without an error.
func (l *load) waitForAnswers(what string) {
	l.Helper()
	end, round := time.Now().Add(recovery), l.round.Add(1)
	for caller := 0; caller < loadCallers; {
		if l.served[caller].Load() == round {
			caller++
			continue
		}
		if time.Now().After(end) {
			l.Fatalf("%s: caller %d of %d has no answers in a row, want service to return", what, caller, loadCallers)
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
