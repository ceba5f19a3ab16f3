package traffikws

import (
	"context"
	"io"
	"math"
	"time"
)

// DefaultMaxMessageBytes is the size of the largest inbound message, 1 MiB, unless
// [WithMaxMessageBytes] sets another.
const DefaultMaxMessageBytes = 1 << 20

// messageReader reads whole messages of at most max bytes. A compressed message grows
// while it is read, so its size is known only by reading: the stream of a connection
// that has one is read up to the bound and no further. A connection that hands out whole
// messages alone has read the message by then, and its size is checked.
type messageReader struct {
	open   func(ctx context.Context) (kind int, r io.Reader, err error) // nil if the connection has no streams
	skips  bool                                                         // open passes over what is left of the message before
	whole  readFunc                                                     // used without open
	max    int
	life   *life
	config *config
	stream io.LimitedReader // of the message being read
}

// reading is how conn reads messages: by Reader if it has one, as that of coder/websocket.
func reading[T ~int](conn Socket[T]) *messageReader {
	whole := func(ctx context.Context) (Message, error) {
		kind, data, err := conn.Read(ctx)
		return Message{Type: int(kind), Data: data}, err
	}
	streams, ok := conn.(interface {
		Reader(ctx context.Context) (T, io.Reader, error)
	})
	if !ok {
		return &messageReader{whole: whole}
	}
	return &messageReader{open: func(ctx context.Context) (int, io.Reader, error) {
		kind, r, err := streams.Reader(ctx)
		return int(kind), r, err
	}}
}

// readingMessages is how conn reads messages: by NextReader if it has one, as that of
// gorilla/websocket.
func readingMessages(conn MessageSocket) *messageReader {
	streams, ok := conn.(interface {
		NextReader() (messageType int, r io.Reader, err error)
	})
	if !ok {
		return &messageReader{whole: func(context.Context) (Message, error) {
			messageType, data, err := conn.ReadMessage()
			return Message{Type: messageType, Data: data}, err
		}}
	}
	return &messageReader{skips: true, open: func(context.Context) (int, io.Reader, error) { return streams.NextReader() }}
}

// read returns the next message. One above the bound ends the connection; what is
// returned for it is empty, and whoever takes it sees the end.
func (mr *messageReader) read(ctx context.Context) (Message, error) {
	m, err := mr.next(ctx)
	if err != nil || len(m.Data) <= mr.max {
		return m, err
	}
	mr.end()
	return Message{Type: m.Type}, nil
}

// next returns the next message, cut off after the first byte above the bound.
func (mr *messageReader) next(ctx context.Context) (Message, error) {
	if mr.open == nil {
		return mr.whole(ctx)
	}
	kind, r, err := mr.open(ctx)
	if err != nil {
		return Message{Type: kind}, err
	}
	if mr.unwanted() {
		if !mr.skips {
			_, err = io.Copy(io.Discard, r)
		}
		return Message{Type: kind}, err
	}
	mr.stream = io.LimitedReader{R: r, N: min(int64(mr.max), math.MaxInt64-1) + 1}
	data, err := io.ReadAll(&mr.stream)
	mr.stream.R = nil
	return Message{Type: kind, Data: data}, err
}

// unwanted reports whether messages are read for nothing but the close frame that follows.
func (mr *messageReader) unwanted() bool {
	return mr.life.hasEnded() || mr.config.mode.hold > 0 && mr.life.hasLeft()
}

// end ends the connection because a message is above the bound. A [controller] has the
// end told once the answer to the close frame is read.
func (mr *messageReader) end() {
	if !mr.life.endedBy(&TooBigError{MaxBytes: mr.max}) {
		return
	}
	told := time.AfterFunc(closePatience, mr.life.hasTold)
	mr.config.close(messageTooBig, tooBigReason)
	if mr.config.finish == nil {
		told.Stop()
		mr.life.hasTold()
	}
}
