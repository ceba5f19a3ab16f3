package traffikmemcached

import (
	"fmt"
	"log/slog"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

const (
	defaultNamespace = "traffik"
	// defaultTimeout leaves time for some retries if the client has its default Timeout of
	// 500 ms for a request.
	defaultTimeout = 2 * time.Second
	// defaultMaxSkew is far above the differences between servers on NTP. It keeps each
	// item for a minute longer.
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

// WithNamespace separates the keys of this application from those of other applications on
// the same servers. It accepts 1 to 64 printable ASCII characters other than space, "~" and
// "#". The default is "traffik".
func WithNamespace(name string) Option {
	return optionFunc(func(c *config) {
		if name == "" || len(name) > maxNamespaceBytes || !readable(name) {
			c.refuse("WithNamespace(%q); accepted are 1 to %d printable ASCII characters besides space, \"~\" and \"#\"", name, maxNamespaceBytes)
		}
		c.namespace = name
	})
}

// WithTimeout bounds a whole call, including retries and the wait for other callers of a
// key. It must be above 0; the default is 2 s. The client's own Timeout bounds each
// request.
func WithTimeout(timeout time.Duration) Option {
	return optionFunc(func(c *config) {
		if timeout <= 0 {
			c.refuse("WithTimeout(%v); accepted is a positive duration", timeout)
		}
		c.timeout = timeout
	})
}

// WithMaxSkew sets how far apart the clocks of the application's servers may be, from 0 to
// 24 hours. The default is a minute. Clocks that differ by no more than skew admit as much
// as one clock would, plus what it would admit in the time by which they differ.
//
// Items are kept longer by skew than their writer's clock needs them, so that a server
// whose clock is behind still finds them. A server whose clock is further behind may admit
// up to one limit more each time an item expires. The backend then logs a warning; see
// [WithLogger].
func WithMaxSkew(skew time.Duration) Option {
	return optionFunc(func(c *config) {
		if skew < 0 || skew > longestSkew {
			c.refuse("WithMaxSkew(%v); accepted is 0 to 24 hours", skew)
		}
		c.maxSkew = skew
	})
}

// WithLogger sets the logger for the warning, at most once a minute, that clocks differ by
// more than [WithMaxSkew] allows. The default is [slog.Default] at the time of the
// warning. To silence it, pass a logger over [slog.DiscardHandler]. A nil logger is a
// configuration error.
func WithLogger(logger *slog.Logger) Option {
	return optionFunc(func(c *config) {
		if logger == nil {
			c.refuse("WithLogger(nil); give a logger; one over slog.DiscardHandler is silent")
		}
		c.logger = logger
	})
}

// WithMaxItemBytes tells the backend the size in bytes of the largest item that the servers
// accept, which their option -I sets. The default is theirs, 1 MiB. [traffik.New] refuses a
// throttle whose strategy might need a larger item.
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
