package traffikws

import (
	"context"
	"errors"
	"sync"
)

// What is read ahead of the application at most, so that a peer can't fill the
// memory: enough that pings are seen behind an ordinary burst.
const (
	maxAheadMessages = 256
	maxAheadBytes    = 64 << 10
)

// errNoReturn ends a connection whose read has not returned but ended its
// goroutine: by a panic, which goes on in the application's read, or
// runtime.Goexit.
var errNoReturn = errors.New("traffikws: the read of the connection did not return")

// readFunc reads the next message from the connection beneath.
type readFunc func(ctx context.Context) (Message, error)

// readAhead hands out the messages of a connection in order. Without apart it
// just reads. With it, under [Delay], a goroutine reads: on while a message is
// held, because libraries handle pings, pongs and closes inside of reads only,
// and beyond the end of an application's read, because libraries may end a
// connection with the context of a read. The goroutine never waits for the
// application: it ends when there is no room, when it is not wanted any more, or
// with the connection, and what was read goes with that, too.
type readAhead struct {
	read  readFunc
	life  *life
	apart bool
	came  chan struct{} // something came since it was last looked

	mu       sync.Mutex
	queue    []Message
	bytes    int
	wanted   bool // more than one
	reading  bool // by the goroutine
	panicked any  // of the goroutine
}

func newReadAhead(read readFunc, l *life, apart bool) *readAhead {
	return &readAhead{read: read, life: l, apart: apart, came: make(chan struct{}, 1)}
}

// start reads ahead until stop.
func (a *readAhead) start(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted = true
	if a.room() && a.life.failure() == nil {
		a.begin(ctx)
	}
}

// stop leaves a read that is under way to the next call of next.
func (a *readAhead) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wanted = false
}

// room needs the lock.
func (a *readAhead) room() bool { return len(a.queue) < maxAheadMessages && a.bytes < maxAheadBytes }

// begin has the goroutine read at least once. It needs the lock.
func (a *readAhead) begin(ctx context.Context) {
	if !a.reading {
		a.reading = true
		// A read that is under way when the application's ends goes on: it is
		// the next one's.
		go a.run(context.WithoutCancel(ctx))
	}
}

func (a *readAhead) run(ctx context.Context) {
	defer a.life.settle()
	returned := false
	defer func() {
		if !returned {
			a.noReturn(recover())
		}
	}()
	for a.push(a.read(ctx)) {
	}
	returned = true
}

// push keeps what was read and reports whether to read on.
func (a *readAhead) push(m Message, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.tell()
	if err != nil {
		a.fail(err)
		return false
	}
	a.queue = append(a.queue, m)
	a.bytes += len(m.Data)
	a.reading = a.wanted && a.room() && !a.life.hasEnded()
	return a.reading
}

// fail ends reading. What was read before goes with it, rather than being
// charged for a peer that is gone, unless the peer has closed: then it had said all
// that it wanted to be heard. It needs the lock.
func (a *readAhead) fail(err error) {
	a.reading = false
	a.life.fail(err)
	if _, closed := a.life.closed(); !closed {
		a.queue, a.bytes = nil, 0
	}
}

func (a *readAhead) noReturn(panicked any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.tell()
	a.panicked = panicked
	a.fail(errNoReturn)
}

func (a *readAhead) tell() {
	select {
	case a.came <- struct{}{}:
	default: // not looked at yet
	}
}

// carryPanic panics as the goroutine did, once: a panic that the application's
// server would recover from must not end the process.
func (a *readAhead) carryPanic() {
	a.mu.Lock()
	panicked := a.panicked
	a.panicked = nil
	a.mu.Unlock()
	if panicked != nil {
		panic(panicked)
	}
}

// next returns the next message: one read ahead, the one being read, or a new
// one.
func (a *readAhead) next(ctx context.Context) (Message, error) {
	for {
		m, popped, direct, err := a.pop(ctx)
		switch {
		case popped || err != nil:
			return m, err
		case direct:
			return a.readDirectly(ctx)
		}
		select {
		case <-a.came:
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
	}
}

// readDirectly reads without the goroutine. A read that ends with its context has
// ended the connection, as in coder/websocket, unless it was over before it began.
func (a *readAhead) readDirectly(ctx context.Context) (Message, error) {
	begun := ctx.Err() == nil
	m, err := a.read(ctx)
	if err != nil && begun {
		a.life.fail(err)
	}
	return m, err
}

// pop returns a message that is read already. Without one, unless reading has
// failed, it has the goroutine read, or asks for a direct read if nothing can
// interrupt that: it spares the change of goroutines.
func (a *readAhead) pop(ctx context.Context) (m Message, popped, direct bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		if err := a.life.failure(); a.apart && err != nil {
			return Message{}, false, false, err
		}
		direct = !a.reading && (!a.apart || ctx.Done() == nil)
		if !direct {
			a.begin(ctx)
		}
		return Message{}, false, direct, nil
	}
	m = a.queue[0]
	a.bytes -= len(m.Data)
	a.queue[0] = Message{} // lets go of the data
	if a.queue = a.queue[1:]; len(a.queue) == 0 {
		a.queue = nil
	}
	return m, true, false, nil
}
