package traffikws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// life is what both directions of a connection know of its end: it was ended
// over the limit or because of a message that is too big, the application has closed it,
// or a read has failed.
type life struct {
	over chan struct{} // closed at the first end of any kind
	lost chan struct{} // closed when what was read ahead is not delivered any more
	told chan struct{} // closed when the peer was told why the wrapper ended the connection
	// forfeit refunds what nobody will read any more. It is set once, before the first use.
	forfeit func()

	mu       sync.Mutex
	ended    error     // a *DeniedError or a *TooBigError
	failed   error     // of a read
	left     bool      // the application closes
	closedAt time.Time // when a read said that the peer has closed, of its own accord
}

func newLife() *life {
	return &life{over: make(chan struct{}), lost: make(chan struct{}), told: make(chan struct{}), forfeit: func() {}}
}

// end ends the connection because of v, by a function that tells the peer, unless that
// was done before.
func (l *life) end(v traffik.Verdict, tell func()) {
	if l.endedBy(&DeniedError{Verdict: v, Closed: true}) {
		defer time.AfterFunc(closePatience, l.hasTold).Stop()
		defer l.hasTold()
		tell()
	}
}

// endedBy notes that err ends the connection, and reports whether it is the first to.
func (l *life) endedBy(err error) (first bool) {
	defer l.settle()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		return false
	}
	l.ended = err
	shut(l.over)
	shut(l.lost)
	return true
}

// settle has refunded what is lost with the connection, if it is.
func (l *life) settle() {
	if isShut(l.lost) {
		l.forfeit()
	}
}

// fail notes that reading has failed.
func (l *life) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return
	}
	l.failed = err
	shut(l.over)
	if closedByPeer(err) && !l.left {
		l.closedAt = now()
		return
	}
	shut(l.lost)
}

// leave notes that the application closes. It comes before the close frame, whose
// answer reads like a close of the peer's own.
func (l *life) leave() {
	defer l.settle()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left, l.closedAt = true, time.Time{}
	shut(l.over)
	shut(l.lost)
}

// hasLeft reports whether the application closes.
func (l *life) hasLeft() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left
}

// shut closes c unless it is closed. It needs the lock.
func shut(c chan struct{}) {
	if !isShut(c) {
		close(c)
	}
}

func isShut(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// denied is the error of a connection that the wrapper has ended, nil of another. It is not
// known before the peer was told, or there was time for it: an application may close the
// connection with it.
func (l *life) denied() error {
	l.mu.Lock()
	err := l.ended
	l.mu.Unlock()
	if err != nil {
		<-l.told
	}
	return err
}

// hasEnded reports whether the wrapper ends the connection, as soon as that is decided.
func (l *life) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended != nil
}

// explain returns why the wrapper has ended the connection in place of an error that may
// come of that.
func (l *life) explain(err error) error {
	if err == nil {
		return nil
	}
	if denied := l.denied(); denied != nil {
		return denied
	}
	return err
}

// hasTold has it known why the wrapper has ended the connection.
func (l *life) hasTold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	shut(l.told)
}

// failure is the error of the read that failed first, nil if none did.
func (l *life) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// closed reports when the peer has closed, and whether it has, of its own accord.
func (l *life) closed() (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closedAt, !l.closedAt.IsZero()
}

// errOver is what ends a pause with the connection.
var errOver = errors.New("traffikws: the connection is over")

// errLeft is what held writes return that the application's close has ended.
var errLeft = fmt.Errorf("traffikws: the application has closed the connection: %w", net.ErrClosed)

// why is what ended the connection, nil if it lives.
func (l *life) why() error {
	if err := l.denied(); err != nil {
		return err
	}
	if err := l.failure(); err != nil {
		return err
	}
	if l.hasLeft() {
		return errLeft
	}
	return nil
}

// pause waits until t, at most until ctx ends or, with errOver, end is closed.
func pause(ctx context.Context, t time.Time, end <-chan struct{}) error {
	timer := time.NewTimer(t.Sub(now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-end:
		return errOver
	}
}

// now is the connection's own time: that of backends differs from one to the
// other, and from what timers and deadlines go by.
func now() time.Time { return time.Now() } //nolint:forbidigo // the one place that reads it
