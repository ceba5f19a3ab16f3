package main

import (
	"encoding/json"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	traffikchi "github.com/traffik-go/traffik/adapters/chi"
)

func chiHandler(l *limits) http.Handler {
	router := chi.NewRouter()
	router.Use(middleware.Recoverer)
	router.Route("/chi", func(api chi.Router) {
		api.With(traffikchi.New(l.items["chi"])).Get("/items", answer(itemsAnswer))
		api.With(traffikchi.New(l.search["chi"])).Get("/search", answer(searchAnswer))
	})
	return router
}

func answer(body any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(body)
	}
}
