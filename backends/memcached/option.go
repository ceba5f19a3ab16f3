package traffikmemcached

import (
	"fmt"
	"log/slog"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

const (
	defaultNamespace = "traffik"
	// defaultTimeout leaves room for some retries of a client with its default
	// Timeout of 500 ms for each request.
	defaultTimeout = 2 * time.Second
	// defaultMaxSkew is far beyond the differences between servers that keep time by
	// NTP, and costs memory for a minute more for each key.
	defaultMaxSkew = time.Minute
	longestSkew    = 24 * time.Hour
	// defaultMaxItemBytes is Memcached's own default, its option -I.
	defaultMaxItemBytes = 1 << 20
	minItemBytes        = 1 << 10
)

// Option configures [New].
type Option interface {
	apply(c *config)
}

type config struct {
	namespace    string
	timeout      time.Duration
	maxSkew      time.Duration
	maxItemBytes int
	clock        traffik.Clock
	logger       *slog.Logger
	errs         []error
}

func (c *config) refuse(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("%w: "+format, append([]any{traffik.ErrConfig}, args...)...))
}

type optionFunc func(c *config)

func (f optionFunc) apply(c *config) { f(c) }

// WithNamespace keeps this application's keys apart from those of others on the
// same servers; the default is "traffik". Accepted are 1 to 64 printable ASCII
// characters besides space, "~" and "#".
func WithNamespace(name string) Option {
	return optionFunc(func(c *config) {
		if name == "" || len(name) > maxNamespaceBytes || !readable(name) {
			c.refuse("WithNamespace(%q); accepted are 1 to %d printable ASCII characters besides space, \"~\" and \"#\"", name, maxNamespaceBytes)
		}
		c.namespace = name
	})
}

// WithTimeout bounds a whole call, retries and waiting for other callers of the
// same key included; above 0, and 2 s by default. A call whose ctx ends earlier returns
// then. The client's own Timeout bounds each of its requests.
func WithTimeout(timeout time.Duration) Option {
	return optionFunc(func(c *config) {
		if timeout <= 0 {
			c.refuse("WithTimeout(%v); accepted is a positive duration", timeout)
		}
		c.timeout = timeout
	})
}

// WithMaxSkew sets how far apart the clocks of the application's servers may be, from
// 0 to 24 hours; the default is a minute. Clocks that differ by that much at most admit
// what one clock would, and what it would in the time by which they differ.
//
// Items are kept that much longer than the clock that wrote them needs them, so that one
// that is behind finds them. A larger difference is logged, see [WithLogger]: each time
// an item expires, a server whose clock is further behind may admit up to a limit more.
func WithMaxSkew(skew time.Duration) Option {
	return optionFunc(func(c *config) {
		if skew < 0 || skew > longestSkew {
			c.refuse("WithMaxSkew(%v); accepted is 0 to 24 hours", skew)
		}
		c.maxSkew = skew
	})
}

// WithLogger sets where the backend logs, at most once a minute, that clocks differ by
// more than [WithMaxSkew] allows. The record names the cure. The default is
// [slog.Default] as it stands when a record is written; a logger over
// [slog.DiscardHandler] silences it. A nil logger is a configuration error.
func WithLogger(logger *slog.Logger) Option {
	return optionFunc(func(c *config) {
		if logger == nil {
			c.refuse("WithLogger(nil); give a logger; one over slog.DiscardHandler is silent")
		}
		c.logger = logger
	})
}

// WithMaxItemBytes tells the largest item that the servers take, their option
// -I; the default is theirs, 1 MiB. A throttle whose strategy might need more is
// refused by [traffik.New].
func WithMaxItemBytes(n int) Option {
	return optionFunc(func(c *config) {
		if n < minItemBytes {
			c.refuse("WithMaxItemBytes(%d); accepted is %d or more", n, minItemBytes)
		}
		c.maxItemBytes = n
	})
}

// WithClock replaces the system clock, for tests.
func WithClock(clock traffik.Clock) Option {
	return optionFunc(func(c *config) {
		if clock == nil {
			c.refuse("WithClock(nil); give a clock")
		}
		c.clock = clock
	})
}
