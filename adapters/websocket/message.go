package traffikws

import (
	"context"
	"fmt"
	"io"
	"math"

	traffik "github.com/traffik-go/traffik/core"
)

// The opcodes of a text message, of a close, which is the first control frame, and of a pong
// (RFC 6455, section 11.8). Libraries of both styles use the same numbers.
const (
	textMessage  = 1
	closeMessage = 8
	pongMessage  = 10
)

// DefaultMaxMessageBytes is the size in bytes, 1 MiB, of the largest inbound message that is
// accepted without [WithMaxMessageBytes].
const DefaultMaxMessageBytes = 1 << 20

// Message is one message as limits see it.
type Message struct {
	// Type is the opcode of RFC 6455: 1 is text, 2 is binary. Control frames, 8 and up, are never
	// counted.
	Type int
	// Data is the message. It is neither changed nor kept.
	Data []byte
}

// MessageOf returns the message that r stands for. Call it in functions that get the request from a
// throttle, such as those of [traffik.WithCostFunc] and [traffik.Identify]. It reports false for
// nil and for requests that are not messages. An identity that such a function returns after this
// call holds for one message: the function is called for each.
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

// CostBySize returns a cost function for [traffik.WithCostFunc]: one unit for each block of that
// many bytes, a partial block included, and one unit for an empty message. CostBySize(1) counts
// bytes; combine it with a rate such as "64000/s". It panics if bytes is below 1.
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

// ByConnection returns the identifier "connection:…", which is different for every connection. It
// is absent for requests that are not messages.
func ByConnection() *traffik.Identifier { return byConnection }

var byConnection = traffik.Identify("connection", func(r *traffik.Request) (string, error) {
	if source, ok := r.Source.(*messageSource); ok {
		return source.connection(), nil
	}
	return "", traffik.ErrAbsent
})

// messageSource is the native context of the handshake together with a message.
type messageSource struct {
	traffik.Source
	message    Message
	connection func() string // names the connection, differently from all others on a store
}

// Unwrap leads to a [traffik.Router].
func (s *messageSource) Unwrap() traffik.Source { return s.Source }

// noSource is the context of a handshake that has none.
type noSource struct{}

func (noSource) Param(string) string { return "" }

func (noSource) Value(any) any { return nil }

// openFunc starts to read the next message from the connection. Its data comes from body, or is in
// the message if body is nil.
type openFunc func(ctx context.Context) (m Message, body io.Reader, err error)

// openSocket reads conn by Reader if it has that method, as coder/websocket does.
func openSocket[T ~int](conn Socket[T]) openFunc {
	streams, _ := conn.(interface {
		Reader(ctx context.Context) (T, io.Reader, error)
	})
	return func(ctx context.Context) (Message, io.Reader, error) {
		if streams == nil {
			kind, data, err := conn.Read(ctx)
			return Message{Type: int(kind), Data: data}, nil, err
		}
		kind, body, err := streams.Reader(ctx)
		return Message{Type: int(kind)}, body, err
	}
}

// openMessageSocket reads conn by NextReader if it has that method, as gorilla/websocket does.
func openMessageSocket(conn MessageSocket) (open openFunc, skips bool) {
	streams, ok := conn.(interface {
		NextReader() (messageType int, r io.Reader, err error)
	})
	return func(context.Context) (Message, io.Reader, error) {
		if !ok {
			messageType, data, err := conn.ReadMessage()
			return Message{Type: messageType, Data: data}, nil, err
		}
		messageType, body, err := streams.NextReader()
		return Message{Type: messageType}, body, err
	}, ok
}

// messageReader reads whole messages of at most max bytes. A compressed message grows while it is
// read, so its body is read up to the bound and no further. Without a body the library has read the
// message already, and its size is checked.
type messageReader struct {
	open    openFunc
	skips   bool // open passes over what is left of the message before
	max     int
	closing *closeState
	body    io.LimitedReader // of the message being read
}

// read returns the next message. One above the bound ends the connection. Messages of a connection
// that is over are cut off.
func (mr *messageReader) read(ctx context.Context) (Message, error) {
	live := ctx.Err() == nil
	m, body, err := mr.open(ctx)
	lost := isClosed(mr.closing.lost)
	switch {
	case err != nil || body == nil:
	case !lost:
		mr.body = io.LimitedReader{R: body, N: min(int64(mr.max), math.MaxInt64-1) + 1}
		m.Data, err = io.ReadAll(&mr.body)
		mr.body.R = nil
	case !mr.skips:
		_, err = io.Copy(io.Discard, body)
	}
	switch {
	case err != nil && live: // else ctx ended the read before it began, and not the connection
		mr.closing.fail(err)
	case err == nil && !lost && len(m.Data) > mr.max:
		mr.closing.end(&TooBigError{MaxBytes: mr.max}, messageTooBig, tooBigReason, mr.closing.finish != nil)
		m.Data = nil
	}
	return m, err
}
