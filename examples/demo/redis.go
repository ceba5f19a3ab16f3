package main

import (
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
)

// redisBackend is a Redis backend that owns its client.
type redisBackend struct {
	*traffikredis.Backend
	client *redis.Client
}

func newRedis(url string) (traffik.Backend, error) {
	options, err := redis.ParseURL(url)
	if err != nil { // the URL may hold a password, so the error doesn't repeat it
		return nil, fmt.Errorf("BACKEND is not a Redis URL: %w; accepted is redis://[user:password@]host:port[/db]", err)
	}
	client := redis.NewClient(options)
	backend, err := traffikredis.New(client, traffikredis.WithNamespace("demo"))
	if err != nil {
		return nil, err
	}
	return &redisBackend{Backend: backend, client: client}, nil
}

// Close closes the backend, then its client.
func (b *redisBackend) Close() error {
	return errors.Join(b.Backend.Close(), b.client.Close())
}
