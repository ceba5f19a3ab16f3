module github.com/traffik-go/traffik/adapters/chi

go 1.25

require github.com/traffik-go/traffik/core v0.1.0

require github.com/go-chi/chi/v5 v5.5.0

replace github.com/traffik-go/traffik/core => ../../core
