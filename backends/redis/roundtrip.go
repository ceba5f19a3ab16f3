package traffikredis

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// firstResendPause bounds the random pause before batches are sent again; the bound
// doubles each time.
const firstResendPause = 16 * time.Millisecond

// errExited is what callers get for a hook of the client that ends its goroutine.
var errExited = fmt.Errorf("%w: a hook of the client ended its goroutine", ErrUnreachable)

// send makes a round trip for calls, or several where a server wants it. Each call ends
// with its answer, its error, or the panic of a hook of the client.
//
// What must not be repeated, alone or with what was sent with it, the client is told not
// to repeat. It is sent again here, as often as the client would.
func (b *Backend) send(ctx context.Context, calls []*call) {
	var left []*batch // without an answer
	defer func() {    // a hook of the client panicked or ended its goroutine
		panicked := recover()
		for _, each := range left {
			if each != nil {
				each.end(errExited, panicked)
			}
		}
	}()
	for _, c := range calls {
		// One batch for each slot. A call that needs a custom script gets one to itself, since
		// an error of a script fails its whole batch; later calls stay behind it.
		at := len(left) - 1
		for at >= 0 && left[at].calls[0].slot != c.slot {
			at--
		}
		if at < 0 || c.custom || left[at].custom {
			at = len(left)
			fresh, _ := batches.Get().(*batch) // the pool holds nothing else
			left = append(left, fresh)
		}
		left[at].add(c)
	}
	if cluster, ok := b.client.(*goredis.ClusterClient); ok && !b.located.Load() {
		b.locate(ctx, cluster, &left)
	}
	pause := firstResendPause
	for resends := 0; len(left) > 0; {
		b.process(ctx, left)
		var again []*batch
		wait := false
		for i, each := range left {
			left[i] = nil
			kept, rests := b.settle(each, resends < b.resends)
			again, wait = append(again, kept...), wait || rests
		}
		if left = again; !wait {
			continue
		}
		select {
		case <-time.After(rand.N(pause)): //nolint:gosec // chance keeps clients apart, not secrets
		case <-ctx.Done():
			for _, each := range left {
				each.end(b.failed(each.sent.Err()), nil)
			}
			left = nil
		}
		resends++
		pause *= 2
	}
}

// locate has the client of a Cluster find its servers, and hands the calls on to the
// queues of their servers.
func (b *Backend) locate(ctx context.Context, cluster *goredis.ClusterClient, left *[]*batch) {
	_, err := cluster.MasterForKey(ctx, b.prefix)
	if err != nil {
		err = b.failed(err)
	}
	b.located.Store(err == nil)
	all := *left
	*left = nil
	for _, each := range all {
		if err != nil {
			each.end(err, nil)
			continue
		}
		for _, c := range each.calls {
			if err := b.queueOf(c.keys[0]).submit(ctx, b, c); err != nil {
				c.finish(err)
			}
		}
		each.calls = nil
		each.end(nil, nil)
	}
}

// process sends batches, several of them in a pipeline. Each has its own error
// afterwards.
func (b *Backend) process(ctx context.Context, all []*batch) {
	_, cluster := b.client.(*goredis.ClusterClient)
	var instant []byte // else the clock of Redis
	if b.clock != nil {
		now := float64(b.clock.Now().Add(0)) // within what an Instant may be
		instant = binary.LittleEndian.AppendUint64(nil, math.Float64bits(now))
	}
	for _, each := range all {
		each.pipelined = len(all) > 1 || cluster && len(each.calls) > 1
		s := takeScript
		if each.custom {
			s = b.custom.current()
		}
		each.data = append(each.data[:0], each.takes...)
		for _, spec := range slices.Backward(each.specs.all) {
			each.data = spec.append(each.data)
		}
		args := []any{each.data}
		if b.clock != nil {
			args = append(args, instant)
		}
		each.sent = s.command(ctx, each.refunds || each.pipelined, each.whole, each.keys.all, args...)
	}
	if len(all) == 1 {
		_ = b.client.Process(ctx, all[0].sent)
		return
	}
	pipe := b.client.Pipeline()
	for _, each := range all {
		_ = pipe.Process(ctx, each.sent)
	}
	_, _ = pipe.Exec(ctx)
}

// settle ends the calls of a batch that ran or failed for good. It returns what is to be
// sent again, and whether that should wait a moment: a batch whose script Redis does not
// know, and, if more attempts are allowed, what a server did not run.
func (b *Backend) settle(each *batch, more bool) (again []*batch, pause bool) {
	answer, err := each.sent.Text()
	if err == nil {
		if err = each.read(answer); err != nil {
			err = b.failed(err)
		}
		each.end(err, nil)
		return nil, false
	}
	lost := connectionLost(err)
	switch more = more && (each.pipelined || each.refunds) && (lost || notRun(err)); {
	case goredis.HasErrorPrefix(err, "NOSCRIPT") && !each.whole:
		each.whole = true
		return []*batch{each}, false
	case len(each.calls) > 1 && spoiled(err):
	case !more:
		each.end(b.failed(err), nil)
		return nil, false
	case (len(each.calls) == 1 || !moving(err)) && (!lost || !each.refunds):
		return []*batch{each}, true
	}
	// The calls go alone: they spoiled each other; or, while their slot moves to another
	// server, some of their keys are here and some there; or refunds may have been made,
	// which must not be made again.
	for _, c := range each.calls {
		if lost && c.refunds {
			c.finish(b.failed(err))
			continue
		}
		lone, _ := batches.Get().(*batch)
		lone.add(c)
		lone.sent = each.sent // the answer, if there is no time for another
		again = append(again, lone)
	}
	each.calls = nil
	each.end(nil, nil)
	return again, more && len(again) > 0
}

// spoiled reports whether a script that failed with err wrote nothing, and might not
// fail for all of its calls if they were alone: Redis has no memory for some, but
// denials need none, or logs are longer than expected.
func spoiled(err error) bool {
	return goredis.HasErrorPrefix(err, "TOOLONG ") || errors.Is(typed(err), ErrMemory)
}

// tryAgain is the answer of a server that has some of a command's keys while the others
// are at another one already.
const tryAgain = "TRYAGAIN "

// notRun reports whether a server answered that it did not run a command, and may run
// it later.
func notRun(err error) bool {
	return slices.ContainsFunc([]string{
		tryAgain, "MOVED ", "ASK ", "CLUSTERDOWN ", "LOADING ", "MASTERDOWN ", "READONLY ", "NOREPLICAS ", "max number of clients reached",
	}, func(prefix string) bool { return goredis.HasErrorPrefix(err, prefix) })
}

// connectionLost reports whether nobody knows if a command ran.
func connectionLost(err error) bool {
	var network net.Error
	if errors.As(err, &network) {
		return !network.Timeout()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
