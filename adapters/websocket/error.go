package traffikws

import (
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// DeniedError is what reads and writes return whose connection was ended over
// the limit, and what a write returns that the limit of [WithOutbound] has
// stopped.
type DeniedError struct {
	// Verdict is how the message was judged. Under [Delay] it may be an
	// admission at the end of a queue that is too long; its charge was given
	// back.
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
