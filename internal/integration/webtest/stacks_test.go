package webtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

var (
	compressing = []plugin{compression}
	recovering  = []plugin{recovery}
)

// stacks are other middleware around the limits and beneath them.
var stacks = []behaviour{
	{name: "compression outside", outside: compressing, brokenBy: []fault{hasty}, serve: serveText, visit: getGzip},
	{name: "compression inside", inside: compressing, brokenBy: []fault{hasty}, serve: serveText, visit: getGzip},
	{name: "compressed stream outside", outside: compressing, brokenBy: []fault{opaque}, serve: serveEvents, visit: visitCompressed},
	{name: "compressed stream inside", inside: compressing, brokenBy: []fault{opaque}, serve: serveEvents, visit: visitCompressed},
	{name: "recovery outside", outside: recovering, brokenBy: []fault{soothing}, visit: get, serve: servePanic},
	{name: "recovery inside", inside: recovering, brokenBy: []fault{soothing}, visit: get, serve: servePanic},
	// Gin takes an abort for a client that is gone, and is as soothing.
	{name: "abort through recovery", outside: recovering, brokenBy: []fault{soothing}, blind: []string{"gin"}, visit: get, serve: func(*site, http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	}},
	{name: "timeout inside", brokenBy: []fault{hasty}, visit: get, serve: func(s *site, w http.ResponseWriter, r *http.Request) {
		http.TimeoutHandler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			s.note("beneath the timeout", "%v", r.Context().Err())
			s.pass()
		}), time.Millisecond, "too slow").ServeHTTP(w, r)
		s.wait()
	}},
}

func serveText(_ *site, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, strings.Repeat("compress me ", 1000))
}

func servePanic(_ *site, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Before", "kept")
	panic(fmt.Sprintf("on purpose, as %T", w))
}

func getGzip(s *site) {
	s.visit(http.MethodGet, nil, "Accept-Encoding: gzip")
	s.visit(http.MethodHead, nil, "Accept-Encoding: gzip")
	s.visit(http.MethodGet, nil, "Accept-Encoding: identity")
}

// visitCompressed reads events from a compressed stream as they come.
func visitCompressed(s *site) {
	res := s.send(s.request(http.MethodGet, nil, "Accept-Encoding: gzip"))
	if res == nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	s.readLines(res, plainBody(res))
}

// unrouted are requests that no handler answers.
var unrouted = []behaviour{{
	name: "no such route", brokenBy: []fault{hasty}, faultFirst: true,
	serve: func(*site, http.ResponseWriter, *http.Request) {},
	visit: func(s *site) {
		for _, path := range []string{"/", "/api", "/api/users", "/api/users/", "/api/users/42/", "/api//users/42", "/api/../api/users/42", "/%2e%2e/api"} {
			req := s.request(http.MethodGet, nil)
			req.URL.Path, req.URL.RawPath = path, ""
			s.finish(s.send(req))
		}
		s.visit(http.MethodDelete, nil)
		s.visit("BREW", nil)
	},
}}
