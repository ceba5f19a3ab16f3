package traffikredis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// firstResendPause bounds the random pause before batches are sent again; the bound
// doubles each time.
const firstResendPause = 16 * time.Millisecond

// roundTrip is a round trip for calls, or several where a server wants it.
type roundTrip struct {
	backend *Backend
	batches []*batch // that have no answer
}

// roundTripOf returns a round trip with the batches that calls make, one for each slot.
func (b *Backend) roundTripOf(calls []*call) *roundTrip {
	t := &roundTrip{backend: b}
	for _, c := range calls {
		t.batchFor(c).add(c)
	}
	return t
}

// batchFor finds the batch of the slot of c. A call that needs the script of a
// strategy has one of its own, since an error of a script fails its whole batch,
// and those that came later stay behind it.
func (t *roundTrip) batchFor(c *call) *batch {
	custom, _ := c.needs()
	for i := len(t.batches) - 1; i >= 0 && !custom; i-- {
		each := t.batches[i]
		if each.calls[0].slot != c.slot {
			continue
		}
		if each.custom {
			break
		}
		return each
	}
	added := newBatch()
	t.batches = append(t.batches, added)
	return added
}

// errExited is what callers get for a hook of the client's that ends its goroutine.
var errExited = fmt.Errorf("%w: a hook of the client ended its goroutine", ErrUnreachable)

// send makes a round trip for callers that may leave. They get their answers, or the
// panic of a hook of the client's.
func (b *Backend) send(calls []*call) {
	ctx, cancel := context.WithTimeout(context.Background(), roundTripTimeout)
	defer cancel()
	t := b.roundTripOf(calls)
	defer func() {
		panicked := recover()
		t.endAll(func(c *call) { c.panicked, c.err = panicked, errExited })
	}()
	switch found, err := b.locate(ctx); {
	case err != nil:
		err = b.failed(err)
		t.endAll(func(c *call) { c.err = err })
	case found:
		for _, each := range t.batches {
			each.release()
		}
		t.batches = nil
		for _, c := range calls {
			b.queueOf(c.keys[0]).pass(c)
		}
	default:
		t.run(ctx)
	}
}

// endAll ends the calls that have no answer.
func (t *roundTrip) endAll(note func(*call)) {
	for _, each := range t.batches {
		each.end(note)
	}
	t.batches = nil
}

// run sends the batches until all have an answer. What must not be repeated, or not
// with all that goes with it, the client is told not to repeat: it is sent again
// here, as often as the client would.
func (t *roundTrip) run(ctx context.Context) {
	pause := firstResendPause
	for resends := 0; len(t.batches) > 0; {
		t.process(ctx)
		if !t.settle(resends < t.backend.resends) {
			continue
		}
		if rest(ctx, rand.N(pause)) != nil { //nolint:gosec // chance keeps clients apart, not secrets
			t.settle(false)
		}
		resends++
		pause *= 2
	}
}

// process sends the batches, several of them in a pipeline. Each has its own error
// afterwards.
func (t *roundTrip) process(ctx context.Context) {
	_, cluster := t.backend.client.(*goredis.ClusterClient)
	for _, each := range t.batches {
		each.pipelined = len(t.batches) > 1 || cluster && len(each.calls) > 1
		each.sent = each.command(ctx, t.backend)
	}
	if len(t.batches) == 1 {
		_ = t.backend.client.Process(ctx, t.batches[0].sent)
		return
	}
	pipe := t.backend.client.Pipeline()
	for _, each := range t.batches {
		_ = pipe.Process(ctx, each.sent)
	}
	_, _ = pipe.Exec(ctx)
}

// settle answers the calls of the batches that were run or failed for good, and
// keeps the others: those whose script Redis does not know, and, if another
// attempt is allowed, those that a server did not want to run yet. It reports
// whether there are such, which should wait a moment.
func (t *roundTrip) settle(more bool) (pause bool) {
	batches := t.batches
	t.batches = make([]*batch, 0, len(batches))
	for i, each := range batches {
		batches[i] = nil
		switch err := each.sent.Err(); {
		case err == nil:
			each.read(t.backend)
		case goredis.HasErrorPrefix(err, "NOSCRIPT") && !each.whole:
			each.whole = true
			t.batches = append(t.batches, each)
		case len(each.calls) > 1 && spoiled(err):
			t.split(each)
		case more && (each.pipelined || each.once) && (notRun(err) || lost(err)):
			pause = t.keep(each, err) || pause
		default:
			each.read(t.backend)
		}
	}
	return pause
}

// keep keeps of a batch that failed with err what may be sent again, and fails the
// others. While a slot moves to another server, keys that are still here can't be
// used together with those that are there: then each call goes alone. Where nobody
// knows whether the batch was run, calls that refund units may have done so.
func (t *roundTrip) keep(each *batch, err error) (kept bool) {
	failed := t.backend.failed(err)
	apart, ran := goredis.HasErrorPrefix(err, tryAgain), lost(err)
	if whole := len(each.calls) == 1 && apart || !apart && (!ran || !each.once); whole {
		t.batches = append(t.batches, each)
		return true
	}
	for _, c := range each.calls {
		if _, refunds := c.needs(); refunds && ran {
			c.err = failed
			c.finish()
			continue
		}
		lone := newBatch()
		lone.add(c)
		lone.sent, kept = each.sent, true
		t.batches = append(t.batches, lone)
	}
	each.release()
	return kept
}

// split lets each call of a batch go alone.
func (t *roundTrip) split(each *batch) {
	for _, c := range each.calls {
		lone := newBatch()
		lone.add(c)
		lone.sent = each.sent // the answer, if there is no time for another
		t.batches = append(t.batches, lone)
	}
	each.release()
}

// spoiled reports whether a script that failed with err wrote nothing, and would not
// fail for all of its calls, were they alone: Redis has no memory for some, but denials
// need none, or logs are longer than was to be expected.
func spoiled(err error) bool {
	return goredis.HasErrorPrefix(err, "TOOLONG ") || errors.Is(typed(err), ErrMemory)
}

// tryAgain is what a server answers that has some of a command's keys while the
// others are at another already.
const tryAgain = "TRYAGAIN "

// notRun reports whether a server answered that it did not run a command, and may
// run it later.
func notRun(err error) bool {
	return slices.ContainsFunc([]string{
		tryAgain, "MOVED ", "ASK ", "CLUSTERDOWN ", "LOADING ", "MASTERDOWN ", "READONLY ", "NOREPLICAS ", "max number of clients reached",
	}, func(prefix string) bool { return goredis.HasErrorPrefix(err, prefix) })
}

// lost reports whether the connection was lost, so that nobody knows whether a
// command was run.
func lost(err error) bool {
	var network net.Error
	if errors.As(err, &network) {
		return !network.Timeout()
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
