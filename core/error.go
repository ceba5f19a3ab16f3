package traffik

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is. Being over the limit is not
// among them: that is a [Decision].
var (
	// ErrConfig is wrapped by every error that New, NewMemory or the New of a backend
	// returns.
	ErrConfig = errors.New("traffik: invalid configuration")
	// ErrRate is wrapped by errors about the text or the parts of a [Rate].
	ErrRate = errors.New("traffik: invalid rate")
	// ErrUsage is wrapped by errors about a wrong call, such as a negative n
	// handed to HitN.
	ErrUsage = errors.New("traffik: wrong use")
	// ErrIdentity is wrapped when an identifier fails or finds nobody.
	ErrIdentity = errors.New("traffik: no identity")
	// ErrBackend is wrapped when the store failed and nothing is known.
	ErrBackend = errors.New("traffik: backend failed")
	// ErrClosed, a kind of ErrBackend, is returned by a closed backend.
	ErrClosed = fmt.Errorf("%w: it is closed", ErrBackend)
	// ErrDuplicateKey, a kind of ErrUsage, is returned by Take and Peek when two
	// ops name one key.
	ErrDuplicateKey = fmt.Errorf("%w: two ops of one call have the same key", ErrUsage)
	// ErrContention, a kind of ErrBackend, is wrapped when a key was changed by
	// others so often that a compare-and-set store gave up.
	ErrContention = fmt.Errorf("%w: too much contention on one key", ErrBackend)
)
