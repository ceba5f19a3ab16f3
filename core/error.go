package traffik

import (
	"errors"
	"fmt"
)

// Callers tell these errors apart with [errors.Is]. Being over the limit is a [Decision],
// not an error.
var (
	// ErrConfig is wrapped by every error of New, NewMemory and the New of a backend.
	ErrConfig = errors.New("traffik: invalid configuration")
	// ErrRate is wrapped by errors about the text or the parts of a [Rate].
	ErrRate = errors.New("traffik: invalid rate")
	// ErrUsage is wrapped by errors about a wrong call, such as HitN with a negative n.
	ErrUsage = errors.New("traffik: wrong use")
	// ErrIdentity is wrapped when an identifier fails. A missing identity is not a failure:
	// see [ErrAbsent].
	ErrIdentity = errors.New("traffik: no identity")
	// ErrBackend is wrapped when the store failed and nothing is known.
	ErrBackend = errors.New("traffik: backend failed")
	// ErrClosed, a kind of ErrBackend, is returned by a closed backend.
	ErrClosed = fmt.Errorf("%w: it is closed", ErrBackend)
	// ErrDuplicateKey, a kind of ErrUsage, is returned by Take and Peek when two ops name
	// one key.
	ErrDuplicateKey = fmt.Errorf("%w: two ops of one call have the same key", ErrUsage)
	// ErrContention, a kind of ErrBackend, is wrapped when others changed a key so often
	// that a compare-and-swap store gave up.
	ErrContention = fmt.Errorf("%w: too much contention on one key", ErrBackend)
)

// configError is an error that wraps ErrConfig.
func configError(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
}

// Mistakes of a program that its first test run shows: a nil or zero receiver, a nil
// context. A call that returns an error returns one of these, whatever the error policy; a
// call that returns none panics with the text.
var (
	errNoThrottle = fmt.Errorf("%w: the Throttle is nil or zero; make it with New and check the error", ErrUsage)
	errNoGate     = fmt.Errorf("%w: the Gate is nil or zero and has no limit; make it with All", ErrUsage)
	errNoContext  = fmt.Errorf("%w: the context is nil; give context.Background() where there is no other", ErrUsage)
	errNobody     = fmt.Errorf("%w: the Identifier is nil or zero; make it with ClientIP, Identify or another constructor", ErrUsage)
)
