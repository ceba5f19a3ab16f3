package traffik

import (
	"context"
	"fmt"
)

// Mistakes of a program that its first test run shows: a nil or zero receiver, a nil
// context. A call that returns an error returns one of these, whatever the error policy; a
// call that returns none panics with the text.
var (
	errNoThrottle = fmt.Errorf("%w: the Throttle is nil or zero; make it with New and check the error", ErrUsage)
	errNoGate     = fmt.Errorf("%w: the Gate is nil or zero and has no limit; make it with All", ErrUsage)
	errNoContext  = fmt.Errorf("%w: the context is nil; give context.Background() where there is no other", ErrUsage)
	errNobody     = fmt.Errorf("%w: the Identifier is nil or zero; make it with ClientIP, Identify or another constructor", ErrUsage)
)

// misused returns what is wrong with a use of s with ctx.
func (s *settings) misused(ctx context.Context) error {
	switch {
	case s == nil:
		return errNoThrottle
	case ctx == nil:
		return errNoContext
	}
	return nil
}
