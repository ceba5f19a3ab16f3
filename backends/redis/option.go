package traffikredis

import (
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// Option configures [New].
type Option interface {
	apply(b *Backend) error
}

type optionFunc func(b *Backend) error

func (f optionFunc) apply(b *Backend) error { return f(b) }

// WithNamespace puts name in front of all keys, so that several apps can share a
// server; the default is "traffik". It is escaped as keys are.
func WithNamespace(name string) Option {
	return optionFunc(func(b *Backend) error {
		if name == "" {
			return fmt.Errorf("%w: WithNamespace(\"\"); give the name of the app", traffik.ErrConfig)
		}
		b.prefix = string(append(appendPart(nil, name), ':', '{'))
		return nil
	})
}

// WithSlot puts all keys of this backend into one slot of a Cluster, that of
// name, a tenant's for example: Takes over several of its callers are then
// atomic. All its load is on one server.
func WithSlot(name string) Option {
	return optionFunc(func(b *Backend) error {
		if name == "" {
			return fmt.Errorf("%w: WithSlot(\"\"); give the name of a tenant", traffik.ErrConfig)
		}
		b.slot = string(appendPart(nil, name))
		return nil
	})
}

// WithoutCoalescing makes a round trip for every Take, instead of sending those
// together that come while another is under way.
func WithoutCoalescing() Option {
	return optionFunc(func(b *Backend) error {
		b.alone = true
		return nil
	})
}

// WithClock takes the time from clock instead of Redis, for tests. Expiry in
// Redis still follows its own clock; keys are kept an hour longer.
func WithClock(clock traffik.Clock) Option {
	return optionFunc(func(b *Backend) error {
		if clock == nil {
			return fmt.Errorf("%w: WithClock(nil); leave it out for the clock of Redis", traffik.ErrConfig)
		}
		b.clock = clock
		return nil
	})
}
