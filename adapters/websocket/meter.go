package traffikws

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// From returns the request that the messages of a connection are charged to: the address, headers,
// cookies and path of the handshake r, and the identities that middleware has found for it. Use it
// as long as the connection lives, also after the handler of the handshake has returned: its
// context has the values of r's context but does not end with it.
//
// It knows the path parameters of [http.ServeMux] and chi, and the values of the request's context.
// Inside a handler of gin or echo call Detach of traffikgin or traffikecho instead, which also know
// the parameters and keys of the framework's context. It panics if r is nil.
func From(r *http.Request) *traffik.Request {
	if r == nil {
		panic("traffikws: From(nil); give the request of the handshake")
	}
	return httptraffik.Detach(r) // messages are read while the handler of the handshake goes on
}

// Meter charges the messages of one connection, in either direction and with any library. The
// wrappers are made of it. It is safe for concurrent use.
type Meter struct {
	sender *sender
	choose func(Message) traffik.Limiter // nil if all messages are charged to gate

	mu     sync.Mutex // of choose's answers
	latest traffik.Limiter
	gate   *traffik.Gate // of latest
}

// NewMeter returns a meter that charges limit for each message of from. Identities of from are
// looked up at the first message and kept for the connection, except those that depend on the
// message (see [MessageOf]), are absent or failed. Join several limits, such as one per connection,
// one per user and one for all, with [traffik.All]. It panics if limit or from is nil.
func NewMeter(from *traffik.Request, limit traffik.Limiter) *Meter {
	return newMeter(newSender(from), limit, nil)
}

// NewMeterFunc returns a meter that charges each message to the limit that choose returns. A
// message is free if that is nil, also a nil [traffik.Throttle] or [traffik.Gate]. Each Allow calls
// choose once; concurrent calls of Allow call it concurrently. It panics if from or choose is nil.
func NewMeterFunc(from *traffik.Request, choose func(Message) traffik.Limiter) *Meter {
	if choose == nil {
		panic("traffikws: the function that chooses the limit of a message is nil")
	}
	return newMeter(newSender(from), nil, choose)
}

func newMeter(from *sender, limit traffik.Limiter, choose func(Message) traffik.Limiter) *Meter {
	m := &Meter{sender: from, choose: choose}
	if choose == nil {
		m.gate = traffik.All(limit)
	}
	return m
}

// Allow charges one message. A message over the limit is a Verdict and not an error. Errors are
// those of [traffik.Subject.Hit]; one that wraps [traffik.ErrUsage] stands for a nil context and a
// nil or zero Meter. Control frames and messages without a limit are free. Allow blocks as long as
// the backend does, at most until ctx ends.
func (m *Meter) Allow(ctx context.Context, message Message) (traffik.Verdict, error) {
	switch {
	case m == nil || m.sender == nil:
		return traffik.Verdict{}, errNoMeter
	case ctx == nil:
		return traffik.Verdict{}, errNoContext
	}
	return m.charge(ctx, message, m.gateOf(message))
}

// gateOf returns what message is charged to, nil if it is free.
func (m *Meter) gateOf(message Message) *traffik.Gate {
	switch {
	case message.Type >= closeMessage:
		return nil
	case m.choose == nil:
		return m.gate
	}
	limit := m.choose(message)
	if isNil(limit) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if limit != m.latest {
		m.latest, m.gate = limit, traffik.All(limit)
	}
	return m.gate
}

// isNil reports whether limit is nil or a nil pointer of one of the types of [traffik.Limiter].
func isNil(limit traffik.Limiter) bool {
	switch limit := limit.(type) {
	case *traffik.Throttle:
		return limit == nil
	case *traffik.Gate:
		return limit == nil
	}
	return limit == nil
}

// charge charges message to gate. Each message is a use of the request, so that none waits for the
// store call of another, and an identifier that had no answer is asked again.
func (m *Meter) charge(ctx context.Context, message Message, gate *traffik.Gate) (traffik.Verdict, error) {
	if gate == nil {
		return traffik.Verdict{}, nil
	}
	s := m.sender
	r := s.known.Load().Detach()
	r.Source = &messageSource{Source: s.source, message: message, connection: s.connection}
	v, err := gate.For(r).Hit(ctx)
	r.Source = s.source // lets go of the message
	s.known.Store(r)
	return v, err
}

// sender is whom the messages of a connection, in both directions, are charged to.
type sender struct {
	source     traffik.Source // of the handshake, nil if there is none
	connection func() string
	known      atomic.Pointer[traffik.Request] // remembers the identities found so far; not changed once stored
}

func newSender(from *traffik.Request) *sender {
	if from == nil {
		panic("traffikws: the request of the handshake is nil; give From(r)")
	}
	known := from.Detach()
	s := &sender{source: known.Source, connection: newConnection()}
	s.known.Store(known)
	return s
}
