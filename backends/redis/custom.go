package traffikredis

import (
	"strings"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// customArguments is how many numbers a [Scripted] strategy hands its script.
const customArguments = 4

// Scripted is an optional power of a strategy that is not one of the eight of
// package traffik: Decide a second time, in Lua. A Take of it is then one round
// trip, and may be mixed with others; without it such a strategy is read, decided
// in Go and written with a compare-and-set.
//
// RedisScript returns the source of a chunk of Lua 5.1, the same for all values
// of the type. It returns a function
//
//	function(state, draw, cost) return next, decision end
//
// of the stored state (nil for an untouched key), the draw (the fields limit,
// period, l/p (limit/period in lowest terms), force, taken, now and args, a table
// of RedisArguments) and its cost, 0 for a look. next is what Decide appends, nil
// for nothing; decision is a table with allowed, limit, remaining, retry_after
// (-1 for never), reset_after, and, if they are not 0 and now, delay and at: whole
// numbers up to 2^53, times in microseconds. The function must be as pure as
// Decide: it calls no Redis command and keeps nothing.
//
// A script that fails, or that answers anything else, makes Takes of this strategy
// fail with [ErrScript], and nothing is written. One that is no Lua does so to
// those of all Scripted strategies of the backend.
type Scripted interface {
	traffik.Strategy

	// RedisScript returns the source.
	RedisScript() string
	// RedisArguments returns numbers of the strategy or the draw that the script
	// needs: parameters, or a class told as a number.
	RedisArguments(d *traffik.Draw) [customArguments]float64
}

// customScripts are the scripts of Scripted strategies that were met so far. They
// keep their number, so that every spec stays valid, and are part of one script
// that is sent for their draws alone.
type customScripts struct {
	mu       sync.Mutex
	sources  []string
	families map[string]int32
	script   *script
}

// family returns the number of the family that source is.
func (o *customScripts) family(source string) int32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if family, known := o.families[source]; known {
		return family
	}
	family := firstCustom + int32(len(o.sources)) //nolint:gosec // as many as types of strategies
	if o.families == nil {
		o.families = map[string]int32{}
	}
	o.families[source] = family
	o.sources = append(o.sources, source)
	o.script = newScript(takeSource("local scripts = {\n(function()\n" + strings.Join(o.sources, "\nend)(),\n(function()\n") + "\nend)(),\n}\n"))
	return family
}

// current returns the script that contains all of them.
func (o *customScripts) current() *script {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.script
}
