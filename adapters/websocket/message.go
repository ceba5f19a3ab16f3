package traffikws

import (
	"crypto/rand"
	"fmt"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// The opcodes of a text message, of a close, which is the first of control frames, and of
// a pong (RFC 6455, section 11.8): both styles of library number them so, too.
const (
	textMessage  = 1
	closeMessage = 8
	pongMessage  = 10
)

// Message is one message as far as limits are concerned.
type Message struct {
	// Type is the opcode of RFC 6455: 1 is text, 2 binary. Those of control
	// frames, 8 and up, are never counted.
	Type int
	// Data is the message; it is neither changed nor kept.
	Data []byte
}

func (m Message) control() bool { return m.Type >= closeMessage }

// MessageOf returns the message that r is charged for. It is for the functions
// of a throttle that see the request, such as those of [traffik.WithCostFunc]
// and [traffik.Identify]; elsewhere, and for nil, it reports false. An identity
// found by a function that has called it holds for that message alone: the
// function is asked for each.
func MessageOf(r *traffik.Request) (m Message, ok bool) {
	if r == nil {
		return Message{}, false
	}
	source, ok := r.Source.(*messageSource)
	if !ok {
		return Message{}, false
	}
	r.PerUse()
	return source.message, true
}

// CostBySize is a cost function for [traffik.WithCostFunc]: one unit for each
// started piece of so many bytes, and one for an empty message. CostBySize(1)
// counts bytes, with a rate such as "64000/s". It panics for less than a byte.
func CostBySize(bytes int) func(*traffik.Request) (units int64, err error) {
	if bytes < 1 {
		panic(fmt.Sprintf("traffikws: CostBySize(%d); accepted is 1 byte or more", bytes))
	}
	return func(r *traffik.Request) (int64, error) {
		m, ok := MessageOf(r)
		if !ok {
			return 0, fmt.Errorf("traffikws: CostBySize of %s %s, which is no message", r.Method, r.Path)
		}
		return int64(max(1, (len(m.Data)+bytes-1)/bytes)), nil
	}
}

// ByConnection makes an identifier that is another for every connection:
// "connection:…". What is not a message of a connection is absent.
func ByConnection() *traffik.Identifier { return byConnection }

var byConnection = traffik.Identify("connection", func(r *traffik.Request) (string, error) {
	if source, ok := r.Source.(*messageSource); ok {
		return source.connection(), nil
	}
	return "", traffik.ErrAbsent
})

// messageSource is what the native context of the handshake knows, with the
// message under way.
type messageSource struct {
	traffik.Source // nil if there is none
	message        Message
	connection     func() string
}

// newConnection returns the name of a connection: made when it is asked for,
// and told apart from those of other processes on the same store.
func newConnection() func() string { return sync.OnceValue(rand.Text) }

// Param implements [traffik.Source].
func (s *messageSource) Param(name string) string {
	if s.Source == nil {
		return ""
	}
	return s.Source.Param(name)
}

// Value implements [traffik.Source].
func (s *messageSource) Value(key any) any {
	if s.Source == nil {
		return nil
	}
	return s.Source.Value(key)
}

// Unwrap leads to a [traffik.Router].
func (s *messageSource) Unwrap() traffik.Source { return s.Source }
