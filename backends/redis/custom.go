package traffikredis

import (
	"strings"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// customArguments is the number of arguments that a [Scripted] strategy hands its script.
const customArguments = 4

// Scripted is an optional power of a strategy outside package traffik: a second form of
// Decide, in Lua. A Take then costs one round trip instead of two, and may mix it with the
// strategies of package traffik.
//
// RedisScript returns a chunk of Lua 5.1 that returns a function
//
//		function(state, draw, cost) return next, decision end
//
//	  - state is the stored state, nil for an untouched key.
//	  - draw has the fields limit, period, l and p (limit/period in lowest terms), force,
//	    taken, now, and args, a table of RedisArguments.
//	  - cost is the cost of the draw, 0 for a look, below 0 for a refund.
//	  - next is the next state as Decide appends it, nil for none.
//	  - decision is a table with allowed, limit, remaining, retry_after (-1 for never; may be
//	    left out), reset_after, and optionally delay (default 0) and at (default now). Numbers
//	    are whole and at most 2^53, times in microseconds.
//
// The function must be as pure as Decide: it calls no Redis command and keeps no state.
//
// If a script fails or returns anything else, Takes of its strategy fail with [ErrScript]
// and nothing is written. A source that is not valid Lua fails the Takes of all Scripted
// strategies of the backend.
type Scripted interface {
	traffik.Strategy

	// RedisScript returns the source, the same for all values of the type.
	RedisScript() string
	// RedisArguments returns other values that the script needs, such as parameters of the
	// strategy or the class of the draw as a number.
	RedisArguments(d *traffik.Draw) [customArguments]float64
}

// customScripts holds the scripts of the Scripted strategies seen so far. All of them are part
// of one script, which is used only for their draws. A script keeps its number, so that draw
// specs stay valid.
type customScripts struct {
	mu       sync.Mutex
	sources  []string
	families map[string]uint16
	script   *script
}

// family returns the family of the strategies whose script is text.
func (o *customScripts) family(text string) uint16 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if family, known := o.families[text]; known {
		return family
	}
	family := firstCustom + uint16(len(o.sources)) //nolint:gosec // as many as types of strategies
	if o.families == nil {
		o.families = map[string]uint16{}
	}
	o.families[text] = family
	o.sources = append(o.sources, text)
	o.script = newScript(takeSource("local scripts = {\n(function()\n" +
		strings.Join(o.sources, "\nend)(),\n(function()\n") + "\nend)(),\n}\n" + source("custom")))
	return family
}

// current returns the script that contains all custom scripts.
func (o *customScripts) current() *script {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.script
}
