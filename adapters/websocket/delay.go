package traffikws

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	// minRetry is the least time between two attempts to charge a message that others have
	// overtaken, so that many held messages don't hammer the store. The first wait is the
	// announced one.
	minRetry = 20 * time.Millisecond
	// Bounds of what is read ahead, so that a peer can't fill the memory. They leave room to see
	// pings behind an ordinary burst.
	maxAheadMessages = 256
	maxAheadBytes    = 64 << 10
)

// errNoReturn is the error of a connection whose read ended its goroutine: by a panic, which
// continues in the application's next read, or by runtime.Goexit.
var errNoReturn = errors.New("traffikws: the read of the connection did not return")

// now is the time of the connection, for timers and deadlines. The clocks of backends may differ.
func now() time.Time { return time.Now() } //nolint:forbidigo // the one place that reads it

// hold sets until when a message of Delay waits, and reports false if that is beyond its deadline:
// the message is denied. A failed store announces no wait. The time that the store took counts.
func (p *pending) hold() bool {
	at := now()
	left := max(0, p.deadline.Sub(at))
	switch delay := p.verdict.Delay(); {
	case p.charged && delay > left:
		p.wait = delay - left // after which the rest of the delay fits
		return false
	case p.charged:
		p.wait = delay
	case p.wait == 0 || p.wait > left:
		return false
	case !p.until.IsZero():
		p.wait = max(p.wait, min(minRetry, left))
	}
	p.until = at.Add(p.wait)
	return true
}

// pause waits until t, at most until ctx or the connection ends. The latter is errOver.
func (d *direction) pause(ctx context.Context, t time.Time) error {
	end := d.closing.over
	if d.ahead != nil {
		end = d.closing.lost
		d.ahead.want(ctx, true)
		defer d.ahead.want(ctx, false)
	}
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

// readAhead reads a connection under Delay, in order, in a goroutine. The goroutine reads on while
// a message is held, because libraries handle pings, pongs and closes only inside reads, and after
// the end of an application's read, because libraries may end a connection with the context of its
// read. It never waits for the application: it ends when the queue is full, when no message is
// held any more, or with the connection.
type readAhead struct {
	read    func(ctx context.Context) (Message, error)
	closing *closeState
	came    chan struct{} // has room for one signal: push was called

	mu      sync.Mutex
	queue   []Message
	bytes   int
	wanted  bool // more than one message
	reading bool // the goroutine runs
}

// want reads ahead, or leaves a read that is under way to the next call of next.
func (a *readAhead) want(ctx context.Context, wanted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wanted = wanted; wanted {
		a.begin(ctx)
	}
}

// room needs the lock.
func (a *readAhead) room() bool { return len(a.queue) < maxAheadMessages && a.bytes < maxAheadBytes }

// begin makes the goroutine read at least once if it can. It needs the lock.
func (a *readAhead) begin(ctx context.Context) {
	if !a.reading && a.room() && a.closing.known().failed == nil {
		a.reading = true
		go a.run(context.WithoutCancel(ctx))
	}
}

func (a *readAhead) run(ctx context.Context) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			a.closing.panicked.Store(&v)
		}
		a.closing.fail(errNoReturn)
		a.push(Message{}, errNoReturn)
	}()
	for a.push(a.read(ctx)) {
	}
	returned = true
}

// push keeps the message or error that was read, and reports whether to read on.
func (a *readAhead) push(m Message, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.queue = append(a.queue, m)
		a.bytes += len(m.Data)
	} else if isClosed(a.closing.lost) {
		a.queue, a.bytes = nil, 0
	}
	a.reading = err == nil && a.wanted && a.room() && !isClosed(a.closing.lost)
	select {
	case a.came <- struct{}{}:
	default:
	}
	return a.reading
}

// next returns a message that was read ahead, or else the next one. It reads in the caller's
// goroutine if nothing can end ctx, which saves a switch of goroutines.
func (a *readAhead) next(ctx context.Context) (Message, error) {
	for {
		a.mu.Lock()
		if len(a.queue) > 0 {
			m := a.queue[0]
			a.queue, a.bytes = slices.Delete(a.queue, 0, 1), a.bytes-len(m.Data)
			a.mu.Unlock()
			return m, nil
		}
		failed := a.closing.known().failed
		direct := !a.reading && ctx.Done() == nil
		if !direct {
			a.begin(ctx)
		}
		a.mu.Unlock()
		switch {
		case failed != nil:
			return Message{}, failed
		case direct:
			return a.read(ctx)
		}
		select {
		case <-a.came:
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
	}
}
