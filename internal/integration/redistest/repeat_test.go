package redistest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/advanced"
	"github.com/traffik-go/traffik/internal/integration/servers"
)

// cutter is a connection that loses the next answer when it is told to.
type cutter struct {
	net.Conn
	cut *atomic.Bool
}

func (c cutter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.cut.CompareAndSwap(true, false) {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// TestLostAnswers: a draw whose answer is lost is made again, at the caller's
// cost; units are refunded once, whatever becomes of the answer.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	var cut atomic.Bool
	client := newClientOf(t, &redis.Options{
		Addr: servers.Redis(t).Addr, MinRetryBackoff: time.Millisecond,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return cutter{conn, &cut}, err
		},
	})
	backend := newBackend(t, client)
	take(t, backend, in("u", "a", 5))
	cut.Store(true)
	take(t, backend, in("u", "a", 1))
	if got := left(t, backend, in("u", "a", 0)); got != 3 {
		t.Errorf("%d left after a draw of which one answer was lost, want 3", got)
	}
	cut.Store(true)
	err := backend.Take(t.Context(), []traffik.Op{in("u", "a", -1)}, make([]traffik.Decision, 1))
	if !errors.Is(err, traffikredis.ErrUnreachable) {
		t.Errorf("a refund whose answer was lost: %v, want ErrUnreachable", err)
	}
	if got := left(t, backend, in("u", "a", 0)); got != 4 {
		t.Errorf("%d left after a refund of which the answer was lost, want 4", got)
	}

	inGo := func(cost int64) traffik.Op {
		op := in("go", "a", cost)
		op.Strategy = advanced.Tiered{}
		return op
	}
	take(t, backend, inGo(5))
	client.AddHook(&counter{before: func(cmd redis.Cmder) {
		if len(cmd.Args()) > 5 { // what writes
			cut.Store(true)
		}
	}})
	if err := backend.Take(t.Context(), []traffik.Op{inGo(-1)}, make([]traffik.Decision, 1)); !errors.Is(err, traffikredis.ErrUnreachable) {
		t.Errorf("a refund decided in Go whose answer was lost: %v, want ErrUnreachable", err)
	}
	if got := left(t, newBackend(t, client), inGo(0)); got != 10 {
		t.Errorf("%d left in another namespace, want 10", got)
	}
	if got := left(t, backend, inGo(0)); got != 6 {
		t.Errorf("%d left after that refund, want 6", got)
	}
}

// marked is a connection that loses the answer to what contains a mark.
type marked struct {
	net.Conn
	mark []byte
	cut  *atomic.Bool // once
	lose bool
}

func (m *marked) Write(b []byte) (int, error) {
	if bytes.Contains(b, m.mark) && m.cut.CompareAndSwap(true, false) {
		m.lose = true
	}
	return m.Conn.Write(b)
}

func (m *marked) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if n > 0 && m.lose {
		_ = m.Close()
		return 0, io.EOF
	}
	return n, err
}

// TestLostAnswersOfBatches: of a round trip whose answer is lost the draws are made
// again, and what refunds units is not.
func TestLostAnswersOfBatches(t *testing.T) {
	t.Parallel()
	t.Run("one batch", func(t *testing.T) { testLostBatch(t, false) })
	t.Run("beside another batch", func(t *testing.T) { testLostBatch(t, true) })
}

func testLostBatch(t *testing.T, pipelined bool) {
	t.Helper()
	for refund, want := range map[int64]int64{-1: 1, 1: 0} { // of three, two drawn before
		cut := new(atomic.Bool)
		client := newClientOf(t, &redis.Options{
			Addr: servers.Redis(t).Addr, MinRetryBackoff: time.Millisecond,
			Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return &marked{Conn: conn, mark: []byte("{marked}"), cut: cut}, err
			},
		})
		namespace := traffikredis.WithNamespace(rand.Text())
		take(t, newBackend(t, client, namespace), draws("marked", 2)...)
		j := newJamOn(t, client, []string{"plug1", "plug2"}, namespace)
		cut.Store(true)
		first, second := j.take(t.Context(), draws("marked", refund)), j.take(t.Context(), draws("beside", 1))
		var third <-chan taken
		if pipelined {
			own := draws("own", 1)
			own[0].Strategy = scripted{}
			third = j.take(t.Context(), own)
		}
		j.release()
		if pipelined {
			if got := <-third; got.err != nil {
				t.Errorf("what went with it: %v", got.err)
			}
		}
		if got := <-first; (got.err == nil) != (refund > 0) || got.err != nil && !errors.Is(got.err, traffikredis.ErrUnreachable) {
			t.Errorf("a draw of %d whose answer was lost: %+v", refund, got)
		}
		if got := <-second; got.err != nil {
			t.Errorf("the draw beside one of %d: %v", refund, got.err)
		}
		if got := left(t, j.backend, draws("marked", 0)[0]); got != want+max(0, -refund) {
			t.Errorf("%d left after a draw of %d whose answer was lost, want %d", got, refund, want+max(0, -refund))
		}
	}
}

// refusing is a hook that answers the next script calls instead of the server.
type refusing struct {
	counter
	next   atomic.Int64
	answer refusal
}

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

func (r *refusing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if r.next.Add(-1) >= 0 {
			return r.answer
		}
		return next(ctx, cmd)
	}
}

// TestRefusedRefunds: what a server did not run is sent again, also a refund,
// and then it does so once.
func TestRefusedRefunds(t *testing.T) {
	t.Parallel()
	for _, answer := range []refusal{
		"LOADING Redis is loading the dataset in memory", "TRYAGAIN Multiple keys", "CLUSTERDOWN The cluster is down", "MASTERDOWN Link with MASTER is down",
		"READONLY You can't write", "ERR max number of clients reached", "MOVED 1 127.0.0.1:1",
	} {
		client := newClient(t, servers.Redis(t).Addr)
		j := newJamOn(t, client, []string{"plug1", "plug2"})
		hook := &refusing{answer: answer}
		lone := draws("warm", -1) // one drawn before
		waiting := []<-chan taken{j.take(t.Context(), draws("a", 2)), j.take(t.Context(), draws("a", -1)), j.take(t.Context(), draws("b", 1))}
		client.AddHook(hook)
		hook.next.Store(2)
		j.release()
		for i, done := range waiting {
			if got := <-done; got.err != nil || got.out[0].Remaining != []int64{1, 2, 2}[i] {
				t.Errorf("%s: call %d: %+v", answer, i, got)
			}
		}
		hook.next.Store(1)
		if got := take(t, j.backend, lone...)[0]; got.Remaining != 3 {
			t.Errorf("%s: %d remain after a lone refund, want all three", answer, got.Remaining)
		}
		hook.next.Store(100)
		if err := j.backend.Take(t.Context(), lone, make([]traffik.Decision, 1)); !errors.Is(err, traffik.ErrBackend) {
			t.Errorf("%s for ever: %v, want an error of the store", answer, err)
		}
		hook.next.Store(0)
	}
}
