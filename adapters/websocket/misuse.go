package traffikws

import (
	"context"
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// Mistakes of a program that its first test run shows: a nil or zero receiver, a nil
// context. A call that returns an error returns one of these; a constructor, which returns
// none, panics.
var (
	errNoConn        = fmt.Errorf("%w: the Conn is nil or zero; make it with Wrap", traffik.ErrUsage)
	errNoMessageConn = fmt.Errorf("%w: the MessageConn is nil or zero; make it with WrapMessages", traffik.ErrUsage)
	errNoMeter       = fmt.Errorf("%w: the Meter is nil or zero; make it with NewMeter or NewMeterFunc", traffik.ErrUsage)
	errNoContext     = fmt.Errorf("%w: the context is nil; give context.Background() where there is no other", traffik.ErrUsage)
)

// misused returns what is wrong with a use of c with ctx.
func (c *Conn[T]) misused(ctx context.Context) error {
	switch {
	case c == nil || c.in == nil:
		return errNoConn
	case ctx == nil:
		return errNoContext
	}
	return nil
}

// misused returns what is wrong with a use of c.
func (c *MessageConn) misused() error {
	if c == nil || c.in == nil {
		return errNoMessageConn
	}
	return nil
}

// misused returns what is wrong with a use of m with ctx.
func (m *Meter) misused(ctx context.Context) error {
	switch {
	case m == nil || m.sender == nil:
		return errNoMeter
	case ctx == nil:
		return errNoContext
	}
	return nil
}
