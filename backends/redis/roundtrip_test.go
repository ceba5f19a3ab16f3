package traffikredis

import (
	"context"
	"errors"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

// fullAndDown answers, at the end of the time for a round trip, that there is no memory for the
// first command and no server for the others.
type fullAndDown struct{}

func (fullAndDown) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (fullAndDown) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }
func (fullAndDown) ProcessPipelineHook(goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		<-ctx.Done()
		for i, command := range commands {
			command.SetErr(serverError("CLUSTERDOWN The cluster is down"))
			if i == 0 {
				command.SetErr(serverError("OOM command not allowed when used memory > 'maxmemory'."))
			}
		}
		return commands[0].Err()
	}
}

// Calls that were to go alone, and have no time left for it, end as they did together.
func TestNoTimeToGoAlone(t *testing.T) {
	t.Parallel()
	client := goredis.NewClient(&goredis.Options{Addr: "127.0.0.1:1"}) // is not dialed
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(fullAndDown{})
	b, err := New(client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	callOf := func(number uint16, id string) *call {
		return b.newCall(slot{number: number}, []traffik.Op{{
			Key: traffik.Key{Scope: store.ScopeOf("round", "x"), ID: id}, Strategy: traffik.FixedWindow{},
			Draw: traffik.Draw{Rate: traffik.Per(3, time.Hour), Cost: 1},
		}}, false)
	}
	full, down := []*call{callOf(1, "a"), callOf(1, "b")}, []*call{callOf(2, "c"), callOf(2, "d")}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	b.send(ctx, append(full, down...))
	for i := range full {
		if !errors.Is(full[i].err, ErrMemory) {
			t.Errorf("without memory: %v, want ErrMemory", full[i].err)
		}
		if !errors.Is(down[i].err, ErrUnreachable) {
			t.Errorf("without a server: %v, want ErrUnreachable", down[i].err)
		}
	}
}
