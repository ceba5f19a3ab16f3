package traffikredis

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by it
	"embed"
	"encoding/hex"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// Redis gets the scripts once, comments and all; calls name them by their hash.
//
//go:embed script/*.lua
var sources embed.FS

// source returns the Lua in script/name.lua.
func source(name string) string {
	text, err := sources.ReadFile("script/" + name + ".lua")
	if err != nil {
		panic(err) // a mistake in this package
	}
	return string(text)
}

// takeSource puts a script of Takes and Peeks together. custom is Lua that decides the draws
// of Scripted strategies.
func takeSource(custom string) string {
	take := source("take")
	for _, family := range []string{"bucket", "fixed", "sliding", "log"} {
		take = strings.Replace(take, "-- "+family+".lua\n", source(family), 1)
	}
	return source("head") + source("number") + custom + take
}

var (
	takeScript = newScript(takeSource(""))
	readScript = newScript(source("states") + source("read"))
	swapScript = newScript(source("states") + source("swap"))
)

// script is a script with the name under which Redis keeps it.
type script struct {
	source, sha string
}

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // Redis names scripts by it
	return &script{source: source, sha: hex.EncodeToString(sum[:])}
}

// command is an EVALSHA of a script. A refund is sent at most once: its lost
// answer may be that of one that was made. A draw that is sent again costs the
// caller twice at worst.
type command struct {
	*goredis.Cmd
	once bool
}

// NoRetry tells the client whether it may send the command again.
func (c command) NoRetry() bool { return c.once }

// command returns the EVALSHA of s over keys, or its EVAL.
func (s *script) command(ctx context.Context, once, whole bool, keys []string, args ...any) command {
	all := make([]any, 0, 3+len(keys)+len(args))
	if whole {
		all = append(all, "eval", s.source, len(keys))
	} else {
		all = append(all, "evalsha", s.sha, len(keys))
	}
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := goredis.NewCmd(ctx, append(all, args...)...)
	cmd.SetFirstKeyPos(3)
	return command{Cmd: cmd, once: once}
}

// run runs a script, sending it whole if Redis doesn't know it.
func (s *servers) run(ctx context.Context, of *script, once bool, keys []string, args ...any) (any, error) {
	cmd := of.command(ctx, once, false, keys, args...)
	if err := s.client.Process(ctx, cmd); goredis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd = of.command(ctx, once, true, keys, args...)
		_ = s.client.Process(ctx, cmd)
	}
	answer, err := cmd.Result()
	return answer, s.failed(err)
}
