package traffikredis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// These errors of Redis are kinds of [traffik.ErrBackend]. They also wrap the error of the
// client. Only if that comes from a context other than the caller's, they quote it instead.
// A call whose context has ended returns the cause.
var (
	// ErrUnreachable is wrapped when no server could decide: a connection was refused or
	// lost, a cluster is down, or a server is still loading.
	ErrUnreachable = fmt.Errorf("%w: redis can't be reached", traffik.ErrBackend)
	// ErrTimeout is wrapped when a timeout of the client passed: for a connection, an
	// answer, or a free connection of its pool. It is also wrapped when a call has no
	// answer after five seconds, and at once when 65,536 calls are already waiting.
	ErrTimeout = fmt.Errorf("%w: redis did not answer in time", traffik.ErrBackend)
	// ErrMemory is wrapped when Redis refuses to write because it has reached maxmemory.
	ErrMemory = fmt.Errorf("%w: redis is out of memory", traffik.ErrBackend)
	// ErrReadOnly is wrapped when the server takes no writes. Either it is a replica, which
	// happens briefly after a failover, or it can't save its data (MISCONF).
	ErrReadOnly = fmt.Errorf("%w: the redis server is read-only", traffik.ErrBackend)
	// ErrPermission is wrapped when the user lacks a right; docs/redis.md lists them.
	ErrPermission = fmt.Errorf("%w: redis refuses a command to this user", traffik.ErrBackend)
	// ErrScript is wrapped when Redis answers a script with any other error, or with
	// anything but the expected answer.
	ErrScript = fmt.Errorf("%w: the script failed in redis", traffik.ErrBackend)
)

// roundTripTimeout bounds a call, the wait for its round trip included, and the attempts of
// the client at one round trip. Callers with a shorter deadline leave earlier.
const roundTripTimeout = 5 * time.Second

// errLate is the error of callers whose own context would let them wait longer.
var errLate = fmt.Errorf("%w: no answer within %v", ErrTimeout, roundTripTimeout)

// kinds lists the words that tell the errors of Redis apart. They may stand anywhere in the
// text: older servers put other words before an error of a script.
var kinds = []struct {
	words string
	kind  error
}{
	{"OOM command not allowed", ErrMemory},
	{"READONLY ", ErrReadOnly},
	{"MISCONF ", ErrReadOnly},
	{"NOPERM ", ErrPermission},
	{"NOAUTH ", ErrPermission},
	{"WRONGPASS ", ErrPermission},
	{"ACL failure in script", ErrPermission},
	{"can't run this command", ErrPermission},
	{"can't access at least one of the keys", ErrPermission},
	{"CLUSTERDOWN ", ErrUnreachable},
	{"MASTERDOWN ", ErrUnreachable},
	{"LOADING ", ErrUnreachable},
	{"TRYAGAIN ", ErrUnreachable},
	{"MOVED ", ErrUnreachable},
	{"ASK ", ErrUnreachable},
	{"NOREPLICAS ", ErrUnreachable},
	{"max number of clients reached", ErrUnreachable},
	{"BUSY ", ErrTimeout},
}

// typed wraps an error of the client in its kind.
func typed(err error) error {
	if err == nil || errors.Is(err, traffik.ErrBackend) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %v", kindOf(err), err) //nolint:errorlint // not the caller's
	}
	return fmt.Errorf("%w: %w", kindOf(err), err)
}

// failed wraps an error as typed does, and has the client of a Cluster reload the list of
// its servers. By itself the client would go on asking a server that is gone for up to a
// minute.
func (s *servers) failed(err error) error {
	err = typed(err)
	select {
	case <-s.closing:
		return err
	default:
	}
	if cluster, ok := s.client.(*goredis.ClusterClient); ok &&
		(errors.Is(err, ErrUnreachable) || errors.Is(err, ErrTimeout) || errors.Is(err, ErrReadOnly)) {
		cluster.ReloadState(context.Background()) // in the background, one at a time
	}
	return err
}

// ended is what the caller gets of an error that the engine of core/store returned. A hook
// of the client that ends its goroutine is an error of the client.
func ended(ctx context.Context, err error) error {
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx) // whichever came first
	case errors.Is(err, store.ErrExited):
		return errExited
	}
	return err
}

func kindOf(err error) error {
	var network net.Error
	switch text := err.Error(); {
	case errors.Is(err, goredis.ErrPoolTimeout), errors.Is(err, context.DeadlineExceeded):
		return ErrTimeout
	case errors.As(err, &network) && network.Timeout():
		return ErrTimeout
	case network != nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, goredis.ErrClosed),
		errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return ErrUnreachable
	default:
		for _, k := range kinds {
			if strings.Contains(text, k.words) {
				return k.kind
			}
		}
	}
	var answer goredis.Error
	if errors.As(err, &answer) {
		return ErrScript
	}
	return ErrUnreachable
}
