package webtest

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"time"

	frames "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// servePush pushes another resource of the same route along with a page.
func servePush(s *site, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/api/users/style" {
		_, _ = io.WriteString(w, "body{}")
		return
	}
	pusher := pusherOf(w)
	if pusher == nil {
		s.note("handler", "no pusher")
		return
	}
	s.note("handler", "push: %v", pusher.Push("/api/users/style", &http.PushOptions{Header: http.Header{"X-Pushed": {"yes"}}}))
	_, _ = io.WriteString(w, "page")
}

// visitPush asks for the page frame by frame, because no client accepts pushes any more, and
// notes each stream by itself.
func visitPush(s *site) {
	conn, err := s.dialHTTP2()
	if err != nil {
		s.t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	framer := frames.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := s.askForPage(conn, framer); err != nil {
		s.t.Error(err)
		return
	}
	for open := 1; open > 0; {
		frame, err := framer.ReadFrame()
		if err != nil {
			s.t.Error(err)
			return
		}
		open += s.noteFrame(framer, frame)
	}
}

// noteFrame returns by how many streams more are open after a frame.
func (s *site) noteFrame(framer *frames.Framer, frame frames.Frame) (opened int) {
	switch frame := frame.(type) {
	case *frames.PushPromiseFrame:
		fields, err := framer.ReadMetaHeaders.DecodeFull(frame.HeaderBlockFragment())
		s.note("client", "stream %d promised on %d, error %v", frame.PromiseID, frame.StreamID, err)
		s.fields("promise", fields)
		return 1
	case *frames.MetaHeadersFrame:
		s.fields(streamName(frame.StreamID), frame.Fields)
		return ended(frame.StreamEnded())
	case *frames.DataFrame:
		s.note(streamName(frame.StreamID), "data %q", frame.Data())
		return ended(frame.StreamEnded())
	case *frames.RSTStreamFrame:
		s.note(streamName(frame.StreamID), "reset: %v", frame.ErrCode)
		return -1
	}
	return 0
}

func streamName(id uint32) string {
	if id%2 == 0 {
		return "pushed stream"
	}
	return "stream"
}

func ended(yes bool) int {
	if yes {
		return -1
	}
	return 0
}

func (s *site) fields(witness string, fields []hpack.HeaderField) {
	h := http.Header{}
	for _, field := range fields {
		h.Add(field.Name, field.Value)
	}
	s.header(witness, "field", h)
}

func (s *site) dialHTTP2() (*tls.Conn, error) {
	config := s.transport.TLSClientConfig.Clone()
	config.NextProtos = []string{frames.NextProtoTLS}
	plain, err := (&tls.Dialer{Config: config}).DialContext(s.ctx, "tcp", s.server.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	conn, ok := plain.(*tls.Conn)
	if !ok {
		return nil, errors.New("no TLS connection")
	}
	return conn, conn.SetDeadline(time.Now().Add(patience))
}

func (s *site) askForPage(conn io.Writer, framer *frames.Framer) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "a.example"}, {":path", "/api/users/page"}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	_, err := io.WriteString(conn, frames.ClientPreface)
	return errors.Join(err,
		framer.WriteSettings(frames.Setting{ID: frames.SettingEnablePush, Val: 1}),
		framer.WriteHeaders(frames.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}))
}
