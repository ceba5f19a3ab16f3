package main

import (
	_ "embed"
	"net/http"
)

// The API always answers the same; the demo is about its limits.
var (
	itemsAnswer  = map[string]any{"items": []string{"apple", "pear", "plum"}}
	searchAnswer = map[string]any{"results": []string{"pear"}}
)

//go:embed page.html
var page []byte

// newHandler routes to the page, the health check, the WebSocket and the three
// frameworks. The page and the health check have no limit and touch no counter.
func newHandler(l *limits, ws http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/gin/", ginHandler(l))
	mux.Handle("/echo/", echoHandler(l))
	mux.Handle("/chi/", chiHandler(l))
	mux.Handle("GET /ws", ws)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	return mux
}
