package traffikws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ReadJSON reads the next message that the limit admits into v. As with wsjson of coder/websocket,
// the message must be one JSON value. Here the connection survives a message that isn't: the error
// is that of [json.Unmarshal], and the message is charged.
func (c *Conn[T]) ReadJSON(ctx context.Context, v any) error {
	_, data, err := c.Read(ctx)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("traffikws: reading JSON: %w", err)
	}
	return nil
}

// WriteJSON writes v as a text message.
func (c *Conn[T]) WriteJSON(ctx context.Context, v any) error {
	return writeJSON(v, func(data []byte) error { return c.Write(ctx, textMessage, data) })
}

// Reader returns the next message that the limit admits. The message is read whole first, since its
// size may be its cost; [WithMaxMessageBytes] bounds it.
func (c *Conn[T]) Reader(ctx context.Context) (T, io.Reader, error) {
	kind, data, err := c.Read(ctx)
	return kind, readerOf(data, err), err
}

// Writer returns a writer of one message, which is sent when you close it. Until then the message
// is kept in memory, however large: bound what you copy into it.
func (c *Conn[T]) Writer(ctx context.Context, kind T) (io.WriteCloser, error) {
	return &messageWriter{send: func(data []byte) error { return c.Write(ctx, kind, data) }}, nil
}

// ReadJSON reads the first JSON value of the next message that the limit admits into v, as in
// gorilla/websocket. Errors are those of [json.Decoder], and [io.ErrUnexpectedEOF] for an empty
// message. The connection survives them.
func (c *MessageConn) ReadJSON(v any) error {
	_, r, err := c.NextReader()
	if err != nil {
		return err
	}
	err = json.NewDecoder(r).Decode(v)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// WriteJSON writes v as a text message.
func (c *MessageConn) WriteJSON(v any) error {
	return writeJSON(v, func(data []byte) error { return c.WriteMessage(textMessage, data) })
}

// NextReader returns the next message that the limit admits. The message is read whole first, since
// its size may be its cost; [WithMaxMessageBytes] bounds it.
func (c *MessageConn) NextReader() (messageType int, r io.Reader, err error) {
	messageType, data, err := c.ReadMessage()
	return messageType, readerOf(data, err), err
}

// NextWriter returns a writer of one message, which is sent when you close it. Until then the
// message is kept in memory, however large: bound what you copy into it.
func (c *MessageConn) NextWriter(messageType int) (io.WriteCloser, error) {
	return &messageWriter{send: func(data []byte) error { return c.WriteMessage(messageType, data) }}, nil
}

// writeJSON sends v with the newline of a [json.Encoder], as libraries of both styles do.
func writeJSON(v any, send func(data []byte) error) error {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(v); err != nil {
		return err
	}
	return send(text.Bytes())
}

func readerOf(data []byte, err error) io.Reader {
	if err != nil {
		return nil
	}
	return bytes.NewReader(data)
}

// messageWriter gathers a message, whose cost is known only when it is closed.
type messageWriter struct {
	data []byte
	send func(data []byte) error // nil once it is closed
}

// Write implements [io.Writer].
func (w *messageWriter) Write(p []byte) (int, error) {
	if w.send == nil {
		return 0, io.ErrClosedPipe
	}
	w.data = append(w.data, p...)
	return len(p), nil
}

// Close implements [io.Closer]. It sends the message, once.
func (w *messageWriter) Close() error {
	if w.send == nil {
		return io.ErrClosedPipe
	}
	send := w.send
	w.send = nil
	return send(w.data)
}
