package traffikws

import (
	"context"
	"crypto/rand"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/httptraffik"
)

// From returns the request for which the messages of a connection count. It has the address,
// headers, cookies and path of the handshake r, and the identities that middleware has found for
// it. Use it as long as the connection lives, even after the handler of the handshake has
// returned: its context has the values of r's context but does not end with it.
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
// wrappers use it. It is safe for concurrent use.
type Meter struct {
	sender *sender
	limit  traffik.Limiter
	choose func(Message) traffik.Limiter // instead of limit, unless it is nil
}

// NewMeter returns a meter that charges limit for each message of from. Identities of from are
// looked up at the first message and kept for the connection, except those that depend on the
// message (see [MessageOf]), are absent or failed. Join several limits, such as one per connection,
// one per user and one for all, with [traffik.All]. It panics if limit or from is nil.
func NewMeter(from *traffik.Request, limit traffik.Limiter) *Meter {
	return newMeter(newSender(from), limit, nil)
}

// NewMeterFunc returns a meter that charges each message to the limit that choose returns. A
// message is free if that is nil, or a nil [traffik.Throttle] or [traffik.Gate]. Each Allow calls
// choose once; concurrent calls of Allow call it concurrently. It panics if from or choose is nil.
func NewMeterFunc(from *traffik.Request, choose func(Message) traffik.Limiter) *Meter {
	if choose == nil {
		panic("traffikws: the function that chooses the limit of a message is nil")
	}
	return newMeter(newSender(from), nil, choose)
}

func newMeter(from *sender, limit traffik.Limiter, choose func(Message) traffik.Limiter) *Meter {
	if choose == nil {
		traffik.All(limit) // panics if it is nil or zero
	}
	return &Meter{sender: from, limit: limit, choose: choose}
}

// Allow charges one message. A message over the limit is a Verdict, not an error. Errors are those
// of [traffik.Subject.Hit]; for a nil context and for a nil or zero Meter the error wraps
// [traffik.ErrUsage]. Control frames and messages without a limit are free. Allow blocks as long
// as the backend does, at most until ctx ends.
func (m *Meter) Allow(ctx context.Context, message Message) (traffik.Verdict, error) {
	switch {
	case m == nil || m.sender == nil:
		return traffik.Verdict{}, errNoMeter
	case ctx == nil:
		return traffik.Verdict{}, errNoContext
	}
	return m.charge(ctx, message, m.limitOf(message))
}

// limitOf returns what message is charged to, nil if it is free.
func (m *Meter) limitOf(message Message) traffik.Limiter {
	switch {
	case message.Type >= closeMessage:
		return nil
	case m.choose == nil:
		return m.limit
	}
	if limit := m.choose(message); !isNil(limit) {
		return limit
	}
	return nil
}

// isNil reports whether v is nil or a nil pointer, such as the connection of a handshake that failed.
func isNil(v any) bool {
	value := reflect.ValueOf(v)
	return !value.IsValid() || value.Kind() == reflect.Pointer && value.IsNil()
}

// charge charges message to limit. Each message is a use of the request, so that none waits for the
// store call of another, and an identifier that had no answer is asked again.
func (m *Meter) charge(ctx context.Context, message Message, limit traffik.Limiter) (traffik.Verdict, error) {
	if limit == nil {
		return traffik.Verdict{}, nil
	}
	s := m.sender
	r := s.known.Load().Detach()
	r.Source = &messageSource{Source: s.source, message: message, connection: s.connection}
	v, err := limit.Admit(ctx, r)
	r.Source = s.source // lets go of the message
	s.known.Store(r)
	return v, err
}

// sender is whom the messages of a connection, in both directions, are charged to.
type sender struct {
	source     traffik.Source // of the handshake
	connection func() string
	known      atomic.Pointer[traffik.Request] // remembers the identities found so far; not changed once stored
}

func newSender(from *traffik.Request) *sender {
	if from == nil {
		panic("traffikws: the request of the handshake is nil; give From(r)")
	}
	known := from.Detach()
	s := &sender{source: known.Source, connection: sync.OnceValue(rand.Text)}
	if s.source == nil {
		s.source = noSource{}
	}
	s.known.Store(known)
	return s
}
