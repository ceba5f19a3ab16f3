module github.com/traffik-go/traffik/adapters/websocket

go 1.25

require github.com/traffik-go/traffik/core v0.1.0

replace github.com/traffik-go/traffik/core => ../../core
