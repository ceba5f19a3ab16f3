package traffikws

import (
	"errors"
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// ErrMessageTooBig is what a [TooBigError] wraps.
var ErrMessageTooBig = errors.New("traffikws: a message is too big")

// TooBigError is what reads and writes return once a peer has sent a message larger
// than [WithMaxMessageBytes] allows. The connection was closed with status 1009, or is
// the application's to close if there is no way to: see [WithCloser]. It wraps
// [ErrMessageTooBig].
type TooBigError struct {
	// MaxBytes is the bound, in bytes.
	MaxBytes int
}

// Error implements error.
func (e *TooBigError) Error() string {
	return fmt.Sprintf("%v: the peer sent more than the %d bytes that WithMaxMessageBytes allows", ErrMessageTooBig, e.MaxBytes)
}

// Unwrap returns [ErrMessageTooBig].
func (e *TooBigError) Unwrap() error { return ErrMessageTooBig }

// DeniedError is what reads and writes return whose connection was ended over
// the limit, and what a write returns that the limit of [WithOutbound] has
// stopped.
type DeniedError struct {
	// Verdict is how the message was judged. Under [Delay] it may be an
	// admission whose turn comes too late; its charge was refunded.
	Verdict traffik.Verdict
	// Closed tells that the connection was ended with status 1008.
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

// Unwrap returns why an error policy stopped the message, nil if a limit did.
func (e *DeniedError) Unwrap() error { return e.Verdict.Err() }
