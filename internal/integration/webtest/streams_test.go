package webtest

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// streams are exchanges in which both sides take turns.
var streams = []behaviour{
	{name: "flushed chunks", brokenBy: []fault{opaque}, serve: serveChunks, visit: visitLines},
	{name: "server-sent events", brokenBy: []fault{opaque}, serve: serveEvents, visit: visitLines},
	{name: "full duplex", brokenBy: []fault{opaque}, serve: serveDuplex, visit: visitDuplex},
	{name: "read deadline", over: []*protocol{http1, http2}, brokenBy: []fault{opaque}, serve: serveReadDeadline, visit: func(s *site) {
		body, _ := s.pipe()
		s.finish(s.send(s.request(http.MethodPost, body)))
	}},
	{name: "write deadline", over: []*protocol{http1, http2}, brokenBy: []fault{opaque}, serve: serveWriteDeadline, visit: get},
}

// serveChunks flushes a line and continues when the client has it.
func serveChunks(s *site, w http.ResponseWriter, _ *http.Request) {
	rc := http.NewResponseController(w)
	if err := rc.Flush(); err != nil {
		http.Error(w, "no streaming", http.StatusInternalServerError)
		return
	}
	for i := range 3 {
		_, _ = fmt.Fprintf(w, "chunk %d\n", i)
		s.note("handler", "flush: %v", rc.Flush())
		s.wait()
	}
	_, _ = io.WriteString(w, "end\n")
}

// serveEvents does so as most handlers of events do, by a type assertion.
func serveEvents(s *site, w http.ResponseWriter, r *http.Request) {
	flusher, ok := w.(http.Flusher)
	if !ok {
		http.Error(w, "no streaming", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	for i := range 3 {
		_, _ = fmt.Fprintf(w, "id: %d\ndata: event after %q\n\n", i, r.Header.Get("Last-Event-ID"))
		flusher.Flush()
		for range 3 {
			s.wait()
		}
	}
}

func visitLines(s *site) {
	res := s.send(s.request(http.MethodGet, nil, "Last-Event-ID: 7"))
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	s.readLines(res, res.Body)
}

// readLines passes its turn for each line of an answer that it has read, except
// the last.
func (s *site) readLines(res *http.Response, body io.Reader) {
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadString('\n')
		s.note("client", "%q, error %v", line, err)
		switch {
		case err != nil:
			return
		case res.StatusCode == http.StatusOK && line != "end\n":
			s.pass()
		}
	}
}

// plainBody undoes the compression of a body, if there is any.
func plainBody(res *http.Response) io.Reader {
	if res.Header.Get("Content-Encoding") != "gzip" {
		return res.Body
	}
	plain, err := gzip.NewReader(res.Body)
	if err != nil {
		return strings.NewReader(err.Error())
	}
	return plain
}

// serveDuplex answers each line of the request while the client is still
// sending.
func serveDuplex(s *site, w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	if err := rc.EnableFullDuplex(); err != nil {
		s.note("handler", "full duplex: %v", err)
		panic(http.ErrAbortHandler) // returning would wait for a body that waits for an answer
	}
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		_, _ = fmt.Fprintf(w, "you said %q\n", lines.Text())
		s.note("handler", "%q, flush: %v", lines.Text(), rc.Flush())
	}
}

// pipe is a body as slow as its writer, which ends with the request at the
// latest.
func (s *site) pipe() (io.Reader, *io.PipeWriter) {
	body, writer := io.Pipe()
	go func() {
		<-s.ended
		_ = writer.Close()
	}()
	return body, writer
}

func visitDuplex(s *site) {
	body, writer := s.pipe()
	go func() { _, _ = io.WriteString(writer, "line 0\n") }()
	res := s.send(s.request(http.MethodPost, body))
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	answers := bufio.NewReader(res.Body)
	for i := 1; ; i++ {
		line, err := answers.ReadString('\n')
		s.note("client", "%q, error %v", line, err)
		switch {
		case err != nil:
			return
		case i < 4:
			_, _ = fmt.Fprintf(writer, "line %d\n", i)
		default:
			_ = writer.Close()
		}
	}
}

// serveReadDeadline does not wait for a body that never comes.
func serveReadDeadline(s *site, w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(-time.Hour)); err != nil {
		s.note("handler", "set: %v", err)
		panic(http.ErrAbortHandler)
	}
	_, err := r.Body.Read(make([]byte, 1))
	s.note("handler", "timed out %t", errors.Is(err, os.ErrDeadlineExceeded))
	w.WriteHeader(http.StatusRequestTimeout)
}

// serveWriteDeadline is too late for its answer.
func serveWriteDeadline(s *site, w http.ResponseWriter, _ *http.Request) {
	rc := http.NewResponseController(w)
	if err := rc.SetWriteDeadline(time.Now().Add(-time.Hour)); err != nil {
		s.note("handler", "set: %v", err)
		return
	}
	_, err := io.WriteString(w, strings.Repeat("too late ", 10_000))
	s.note("handler", "wrote all %t, flushed %t", err == nil, rc.Flush() == nil)
}
