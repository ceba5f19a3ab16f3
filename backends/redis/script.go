package traffikredis

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by it
	_ "embed"
	"encoding/hex"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// The script of Takes and Peeks consists of these.
var (
	//go:embed script/head.lua
	headSource string
	//go:embed script/plain.lua
	plainSource string
	//go:embed script/drawspec.lua
	drawSpecSource string
	//go:embed script/number.lua
	numberSource string
	//go:embed script/linear.lua
	linearSource string
	//go:embed script/window.lua
	windowSource string
	//go:embed script/fixed.lua
	fixedSource string
	//go:embed script/sliding.lua
	slidingSource string
	//go:embed script/log.lua
	logSource string
	//go:embed script/custom.lua
	customSource string
	//go:embed script/take.lua
	decideSource string

	//go:embed script/states.lua
	statesSource string
	//go:embed script/swap.lua
	swapSource string
)

// takeSource puts the script together: each family stands in a block that is
// entered only if a draw is of it. scripts is Lua that declares those of
// Scripted strategies.
func takeSource(scripts string) string {
	when := func(wanted string, sources ...string) string {
		return "if " + wanted + " then\n" + strings.Join(sources, "") + "end\n"
	}
	return headSource + plainSource + drawSpecSource + numberSource +
		when("wants[1]", linearSource) +
		when("wants[2] or wants[3]", windowSource, when("wants[2]", fixedSource), when("wants[3]", slidingSource)) +
		when("wants[4]", logSource) +
		when("wants[100]", scripts, customSource) +
		decideSource
}

var (
	takeScript = newScript(takeSource("local scripts = {}\n"))
	readScript = newScript(statesSource + "return states()\n")
	swapScript = newScript(statesSource + swapSource)
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

// run runs s, sending it whole if Redis doesn't know it.
func (b *Backend) run(ctx context.Context, s *script, once bool, keys []string, args ...any) (any, error) {
	cmd := s.command(ctx, once, false, keys, args...)
	if err := b.client.Process(ctx, cmd); goredis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd = s.command(ctx, once, true, keys, args...)
		_ = b.client.Process(ctx, cmd)
	}
	answer, err := cmd.Result()
	return answer, b.failed(err)
}
