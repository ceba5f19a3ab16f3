package webtest

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// fault is a middleware that is not transparent in a common way.
type fault struct {
	name string
	wrap func(http.Handler) http.Handler
}

// opaque hides everything but the three methods of http.ResponseWriter.
var opaque = fault{"opaque", func(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	})
}}

// hasty sends a header before the handler has decided on one.
var hasty = fault{"hasty", func(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		if now, ok := w.(interface{ WriteHeaderNow() }); ok {
			now.WriteHeaderNow()
		}
		next.ServeHTTP(w, r)
	})
}}

// detached gives the handler a copy of the request whose context knows nothing about the
// connection.
var detached = fault{"detached", func(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.Background()))
	})
}}

// greedy reads the body before the handler asks for it.
var greedy = fault{"greedy", func(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(b))
		next.ServeHTTP(w, r)
	})
}}

// soothing swallows panics.
var soothing = fault{"soothing", func(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		next.ServeHTTP(w, r)
	})
}}
