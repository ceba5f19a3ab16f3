module github.com/traffik-go/traffik/core

go 1.25
