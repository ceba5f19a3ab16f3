package traffikws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// encode is how both styles of library write JSON: with the newline of a
// [json.Encoder].
func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(v); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

// messageWriter gathers one message, which is sent when it is closed: only then
// is known what it costs.
type messageWriter struct {
	data []byte
	send func(data []byte) error
}

// Close implements io.Closer: it sends the message, once.
func (w *messageWriter) Close() error {
	if w.send == nil {
		return io.ErrClosedPipe
	}
	send := w.send
	w.send = nil
	return send(w.data)
}

// Write implements io.Writer.
func (w *messageWriter) Write(p []byte) (int, error) {
	if w.send == nil {
		return 0, io.ErrClosedPipe
	}
	w.data = append(w.data, p...)
	return len(p), nil
}

// ReadJSON reads the next message that the limit admits into v, as wsjson of
// coder/websocket does, but the connection survives a message that is not one
// JSON value: that is an error of [json.Unmarshal], charged like any other.
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
	data, err := encode(v)
	if err != nil {
		return err
	}
	return c.Write(ctx, textMessage, data)
}

// Reader returns the next message that the limit admits. It is read whole
// first, since its size may be its cost; [WithMaxMessageBytes] bounds it.
func (c *Conn[T]) Reader(ctx context.Context) (T, io.Reader, error) {
	kind, data, err := c.Read(ctx)
	if err != nil {
		return kind, nil, err
	}
	return kind, bytes.NewReader(data), nil
}

// Writer returns a writer of one message, sent whole when it is closed. Until then the
// message is kept in memory, however large: bound what you copy from others.
func (c *Conn[T]) Writer(ctx context.Context, kind T) (io.WriteCloser, error) {
	return &messageWriter{send: func(data []byte) error { return c.Write(ctx, kind, data) }}, nil
}

// ReadJSON reads the first JSON value of the next message that the limit admits
// into v, as gorilla/websocket does: errors are those of [json.Decoder], and
// [io.ErrUnexpectedEOF] for an empty message. The connection goes on.
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
	data, err := encode(v)
	if err != nil {
		return err
	}
	return c.WriteMessage(textMessage, data)
}

// NextReader returns the next message that the limit admits. It is read whole
// first, since its size may be its cost; [WithMaxMessageBytes] bounds it.
func (c *MessageConn) NextReader() (messageType int, r io.Reader, err error) {
	messageType, data, err := c.ReadMessage()
	if err != nil {
		return messageType, nil, err
	}
	return messageType, bytes.NewReader(data), nil
}

// NextWriter returns a writer of one message, sent whole when it is closed. Until then the
// message is kept in memory, however large: bound what you copy from others.
func (c *MessageConn) NextWriter(messageType int) (io.WriteCloser, error) {
	return &messageWriter{send: func(data []byte) error { return c.WriteMessage(messageType, data) }}, nil
}
