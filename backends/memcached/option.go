package traffikmemcached

import (
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

const (
	defaultNamespace = "traffik"
	// defaultTimeout leaves room for some retries of a client with its default
	// Timeout of 500 ms for each request.
	defaultTimeout = 2 * time.Second
	// defaultMaxSkew is far beyond what servers that keep time by NTP come to,
	// and costs memory for a minute more for each key.
	defaultMaxSkew = time.Minute
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

// WithMaxSkew tells how far apart the clocks of the application's servers may
// be, 0 or more; the default is a minute. Items are kept that much longer than they are
// needed by the clock that wrote them: as long as they are there, clocks that
// differ hand out nothing twice.
func WithMaxSkew(skew time.Duration) Option {
	return optionFunc(func(c *config) {
		if skew < 0 {
			c.refuse("WithMaxSkew(%v); accepted is 0 or more", skew)
		}
		c.maxSkew = skew
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
