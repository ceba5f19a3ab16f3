package webtest

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// behaviours returns what every framework is tested for.
func behaviours() []behaviour {
	return slices.Concat(messages, requests, failures, streams, connections, webSockets, stacks, unrouted, commands)
}

// messages are about the parts of a response.
var messages = []behaviour{
	{name: "writer", brokenBy: []fault{opaque}, visit: get, serve: serveWriter},
	{name: "status and headers", brokenBy: []fault{hasty}, visit: get, serve: func(_ *site, w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header()["x-lower"] = []string{"kept as it is"}
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusTeapot) // superfluous: only logged
		_, _ = fmt.Fprint(w, "<html>sniffed</html>")
	}},
	{name: "long body", brokenBy: []fault{hasty}, visit: get, serve: func(s *site, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x-long")
		n, err := io.Copy(w, strings.NewReader(strings.Repeat("long ", 20_000)))
		s.note("handler", "copied %d, %v", n, err)
	}},
	{name: "declared length", brokenBy: []fault{hasty}, visit: get, serve: func(s *site, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5")
		_, err := io.WriteString(w, "hello")
		s.note("handler", "%v", err)
		_, err = io.WriteString(w, " and too much")
		s.note("handler", "%v", err)
	}},
	{name: "HEAD", brokenBy: []fault{hasty}, serve: func(s *site, w http.ResponseWriter, r *http.Request) {
		s.note("handler", "%s", r.Method)
		w.Header().Set("X-Late", "yes")
		n, err := io.WriteString(w, "never sent")
		s.note("handler", "%d, %v", n, err)
	}, visit: func(s *site) { s.visit(http.MethodHead, nil) }},
	{name: "no content", brokenBy: []fault{hasty}, visit: get, serve: func(s *site, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		_, err := io.WriteString(w, "not allowed")
		s.note("handler", "%v", err)
	}},
	{name: "conditional and ranges", brokenBy: []fault{hasty}, serve: serveContent, visit: func(s *site) {
		s.visit(http.MethodGet, nil, `If-None-Match: "v1"`)
		s.visit(http.MethodGet, nil, "Range: bytes=2-5")
		s.visit(http.MethodGet, nil, "Range: bytes=0-1,-3")
		s.visit(http.MethodGet, nil, "Range: bytes=99-")
		s.visit(http.MethodGet, nil, "Range: bytes=2-5", `If-Range: "v0"`)
		s.visit(http.MethodHead, nil, "Range: bytes=2-5")
	}},
	// Gin's and echo's writers don't hand a file on to the connection.
	{name: "file", brokenBy: []fault{opaque}, blind: []string{"gin", "echo"}, serve: serveFile, visit: func(s *site) {
		s.visit(http.MethodGet, nil)
		s.visit(http.MethodGet, nil, "Range: bytes=600-8999")
	}},
	// Gin's writer doesn't send informational statuses.
	{name: "early hints", brokenBy: []fault{hasty}, blind: []string{"gin"}, visit: get, serve: func(_ *site, w http.ResponseWriter, _ *http.Request) {
		serveHints(w)
	}},
	{name: "early hints beneath the framework", brokenBy: []fault{hasty}, visit: get, serve: func(_ *site, w http.ResponseWriter, _ *http.Request) {
		serveHints(beneath(w))
	}},
	{name: "trailers", brokenBy: []fault{hasty}, visit: get, serve: func(_ *site, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "4")
		w.Header().Set(http.TrailerPrefix+"X-Undeclared", "too")
	}},
	{name: "on the wire", over: []*protocol{http1}, brokenBy: []fault{hasty}, serve: func(_ *site, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Proto", r.Proto)
		_, _ = io.WriteString(w, "one ")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "two")
	}, visit: func(s *site) {
		s.wire("GET /api/users/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /api/users/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		s.wire("GET /api/users/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		s.wire("HEAD /api/users/1 HTTP/1.0\r\n\r\n")
	}},
}

func get(s *site) { s.visit(http.MethodGet, nil) }

// serveWriter notes what the writer is and can do, at every depth.
func serveWriter(s *site, w http.ResponseWriter, r *http.Request) {
	// Wrappers may stand in between, as long as they have what is beneath.
	for _, w := range []http.ResponseWriter{w, beneath(w)} {
		note := func(name string, has bool) { s.note("handler", "%s %t", name, has) }
		_, ok := w.(http.Flusher)
		note("Flush", ok)
		_, ok = w.(interface{ FlushError() error })
		note("FlushError", ok)
		_, ok = w.(http.Hijacker)
		note("Hijack", ok)
		_, ok = w.(http.Pusher)
		note("Push", ok)
		if r.ProtoMajor == 1 { // else a wrapper may have it in addition
			_, ok = w.(io.ReaderFrom)
			note("ReadFrom", ok)
		}
		_, ok = w.(io.StringWriter)
		note("WriteString", ok)
		_, ok = w.(interface{ CloseNotify() <-chan bool })
		note("CloseNotify", ok)
		control := http.NewResponseController(w)
		note("SetReadDeadline", control.SetReadDeadline(time.Time{}) == nil)
		note("EnableFullDuplex", control.EnableFullDuplex() == nil)
	}
	s.note("handler", "%T", beneath(w))
}

func unwrap(w http.ResponseWriter) http.ResponseWriter {
	if wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return wrapper.Unwrap()
	}
	return nil
}

// beneath is the server's own writer.
func beneath(w http.ResponseWriter) http.ResponseWriter {
	for {
		inner := unwrap(w)
		if inner == nil {
			return w
		}
		w = inner
	}
}

func serveContent(_ *site, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Etag", `"v1"`)
	http.ServeContent(w, r, "content.txt", time.Unix(1_700_000_000, 0), strings.NewReader("0123456789"))
}

// serveFile serves a file of 10,000 bytes, which the connection may read itself.
func serveFile(s *site, w http.ResponseWriter, r *http.Request) {
	name := filepath.Join(s.t.TempDir(), "file.txt")
	if err := os.WriteFile(name, []byte(strings.Repeat("0123456789", 1000)), 0o600); err != nil {
		s.t.Error(err)
	}
	f, err := os.Open(name)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer func() { _ = f.Close() }()
	http.ServeContent(w, r, name, time.Unix(1_700_000_000, 0), f)
}

func serveHints(w http.ResponseWriter) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Set("Link", "</script.js>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "late")
}

// requests are about what a handler finds in the request.
var requests = []behaviour{
	{name: "context", brokenBy: []fault{detached}, visit: get, serve: func(s *site, _ http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		_, server := ctx.Value(http.ServerContextKey).(*http.Server)
		addr, _ := ctx.Value(http.LocalAddrContextKey).(net.Addr)
		deadline, ok := ctx.Deadline()
		s.note("handler", "server %t, address %v, deadline %v %t, can end %t, ended %v", server, addr, deadline, ok, ctx.Done() != nil, ctx.Err())
	}},
	{name: "100-continue", brokenBy: []fault{greedy}, serve: func(s *site, w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Refuse") != "" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		b, err := io.ReadAll(r.Body)
		s.body("handler", b, err)
	}, visit: func(s *site) {
		s.visit(http.MethodPost, strings.NewReader("wanted"), "Expect: 100-continue")
		s.visit(http.MethodPost, strings.NewReader("not wanted"), "Expect: 100-continue", "X-Refuse: yes")
	}},
	{name: "trailers of a request", brokenBy: []fault{greedy}, serve: serveTrailers, visit: func(s *site) {
		req := s.request(http.MethodPost, io.MultiReader(strings.NewReader("chunked")))
		req.Trailer = http.Header{"X-Sum": {"7"}}
		s.finish(s.send(req))
	}},
	// Chi gives its handlers a copy of the request, which the server forgets.
	{name: "trailers without notice", over: []*protocol{http1}, brokenBy: []fault{detached}, blind: []string{"chi"}, serve: serveTrailers, visit: func(s *site) {
		s.wire("POST /api/users/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n")
	}},
	// Only the server's own writer knows how to give up the rest of a body.
	{name: "too large", over: []*protocol{http1}, brokenBy: []fault{opaque}, blind: []string{"gin", "echo"}, serve: func(s *site, w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4))
		s.body("handler", b, err)
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	}, visit: func(s *site) { s.visit(http.MethodPost, strings.NewReader("five!")) }},
	{name: "uploaded files are removed", over: []*protocol{http1}, brokenBy: []fault{detached}, blind: []string{"chi"}, serve: serveUpload, visit: visitUpload},
}

func serveTrailers(s *site, _ http.ResponseWriter, r *http.Request) {
	s.header("handler", "announced", r.Trailer)
	b, err := io.ReadAll(r.Body)
	s.body("handler", b, err)
	s.header("handler", "trailer", r.Trailer)
}

// serveUpload parses a form so that its file goes to disk.
func serveUpload(s *site, w http.ResponseWriter, r *http.Request) {
	if err := r.ParseMultipartForm(1); err != nil {
		s.note("handler", "%v", err)
		return
	}
	f, err := r.MultipartForm.File["file"][0].Open()
	if err != nil {
		s.note("handler", "%v", err)
		return
	}
	defer func() { _ = f.Close() }()
	if onDisk, ok := f.(*os.File); ok {
		w.Header().Set("X-File", onDisk.Name())
	}
}

// visitUpload sends a file and looks for what is left of it afterwards.
func visitUpload(s *site) {
	body, writer := io.Pipe()
	form := multipart.NewWriter(writer)
	go func() {
		part, err := form.CreateFormFile("file", "a.txt")
		if err == nil {
			_, err = io.WriteString(part, strings.Repeat("file ", 1000))
		}
		writer.CloseWithError(errors.Join(err, form.Close()))
	}()
	res, err := s.transport.RoundTrip(s.request(http.MethodPost, body, "Content-Type: "+form.FormDataContentType()))
	if err != nil {
		s.t.Error(err)
		return
	}
	_ = res.Body.Close()
	s.close()
	name := res.Header.Get("X-File")
	_, err = os.Stat(name)
	s.note("disk", "a file was made %t, and is gone %t", name != "", errors.Is(err, os.ErrNotExist))
	_ = os.Remove(name)
}

// failures are handlers and clients that give up.
var failures = []behaviour{
	{name: "panic", brokenBy: []fault{soothing}, visit: get, serve: func(*site, http.ResponseWriter, *http.Request) { panic("on purpose") }},
	{name: "panic in the middle", brokenBy: []fault{soothing}, visit: visitHalf, serve: func(s *site, w http.ResponseWriter, _ *http.Request) {
		serveHalf(s, w)
		panic("in the middle")
	}},
	{name: "abort", brokenBy: []fault{soothing}, visit: visitHalf, serve: func(s *site, w http.ResponseWriter, _ *http.Request) {
		serveHalf(s, w)
		panic(http.ErrAbortHandler)
	}},
	{name: "client gone", brokenBy: []fault{detached}, serve: func(s *site, w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-s.ended
		if r.Context().Done() == nil {
			s.note("handler", "never learns of it")
			return
		}
		<-r.Context().Done()
		s.note("handler", "%v", r.Context().Err())
	}, visit: func(s *site) {
		if res := s.send(s.request(http.MethodGet, nil)); res != nil {
			s.note("client", "leaves: %v", res.Body.Close())
		}
		<-s.ended
	}},
}

// serveHalf continues when the client has the first half of the answer.
func serveHalf(s *site, w http.ResponseWriter) {
	_, _ = io.WriteString(w, "half ")
	_ = http.NewResponseController(w).Flush()
	s.wait()
}

func visitHalf(s *site) {
	res := s.send(s.request(http.MethodGet, nil)) //nolint:bodyclose // finish closes it
	if res == nil {
		return
	}
	half := make([]byte, len("half "))
	_, err := io.ReadFull(res.Body, half)
	s.note("client", "%q, error %v", half, err)
	s.pass()
	s.finish(res)
}
