package traffikredis_test

import (
	"context"
	"errors"
	"log"

	"github.com/redis/go-redis/v9"

	traffikredis "github.com/traffik-go/traffik/backends/redis"
	traffik "github.com/traffik-go/traffik/core"
)

func Example() {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{"127.0.0.1:6379"}})
	defer func() { _ = client.Close() }()
	backend, err := traffikredis.New(client, traffikredis.WithNamespace("myapp"))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = backend.Close() }()
	items, err := traffik.New("api:items", "100/min", traffik.WithBackend(backend))
	if err != nil {
		log.Fatal(err)
	}
	res, err := items.Key("user:42").Hit(context.Background())
	switch {
	case err != nil:
		log.Print("the caller left: ", err)
	case errors.Is(res.Err, traffikredis.ErrUnreachable):
		log.Print("not limited while Redis is away")
	case !res.Allowed:
		log.Print("try again in ", res.RetryAfter)
	}
}

// All limits of a tenant lie in one slot of a Cluster, so that a Take over several
// of its users is atomic.
func ExampleWithSlot() {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:7000"}})
	defer func() { _ = client.Close() }()
	backend, err := traffikredis.New(client, traffikredis.WithSlot("tenant:acme"))
	if err != nil {
		log.Fatal(err)
	}
	seats := traffik.MustNew("seats", "50/h", traffik.WithBackend(backend))
	if _, err := seats.Key("user:42").Hit(context.Background()); err != nil {
		log.Print(err)
	}
}
