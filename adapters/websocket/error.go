package traffikws

import (
	"errors"
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// Mistakes of a program that its first test run shows. Calls that return an error return one of
// these; constructors panic.
var (
	errNoConn        = fmt.Errorf("%w: the Conn is nil or zero; make it with Wrap", traffik.ErrUsage)
	errNoMessageConn = fmt.Errorf("%w: the MessageConn is nil or zero; make it with WrapMessages", traffik.ErrUsage)
	errNoMeter       = fmt.Errorf("%w: the Meter is nil or zero; make it with NewMeter or NewMeterFunc", traffik.ErrUsage)
	errNoContext     = fmt.Errorf("%w: the context is nil; give context.Background() where there is no other", traffik.ErrUsage)
)

// ErrMessageTooBig is wrapped by [TooBigError].
var ErrMessageTooBig = errors.New("traffikws: a message is too big")

// TooBigError is the error of reads and writes once a peer has sent a message larger than
// [WithMaxMessageBytes] allows. The wrapper has closed the connection with status 1009. If it has
// no way to do so, the application must; see [WithCloser]. It wraps [ErrMessageTooBig].
type TooBigError struct {
	// MaxBytes is the bound in bytes.
	MaxBytes int
}

// Error implements error.
func (e *TooBigError) Error() string {
	return fmt.Sprintf("%v: the peer sent more than the %d bytes that WithMaxMessageBytes allows", ErrMessageTooBig, e.MaxBytes)
}

// Unwrap returns [ErrMessageTooBig].
func (e *TooBigError) Unwrap() error { return ErrMessageTooBig }

// DeniedError is the error of a write that the limit of [WithOutbound] has stopped, and of reads and
// writes once the connection was closed over the limit.
type DeniedError struct {
	// Verdict is the decision on the message. Under [Delay] it may be an admission whose delay is
	// too long; the charge was refunded.
	Verdict traffik.Verdict
	// Closed reports that the connection was closed with status 1008.
	Closed bool
}

// Error implements error.
func (e *DeniedError) Error() string {
	switch {
	case e.Closed:
		return "traffikws: the connection was closed, because a message was over the limit"
	case e.Verdict.Failed():
		return fmt.Sprintf("traffikws: the message was not sent: %v", e.Verdict.Err())
	}
	return "traffikws: the message was not sent: it is over the limit"
}

// Unwrap returns the failure of the store under [traffik.FailClosed], nil if a limit stopped the
// message.
func (e *DeniedError) Unwrap() error { return e.Verdict.Err() }
