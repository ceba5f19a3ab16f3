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

// WithNamespace puts name in front of all keys, so that several applications can share a
// server. The default is "traffik". The name is escaped in the same way as keys. An empty
// name is an error.
func WithNamespace(name string) Option {
	return optionFunc(func(b *Backend) error {
		if name == "" {
			return fmt.Errorf("%w: WithNamespace(\"\"); give the name of the app", traffik.ErrConfig)
		}
		b.prefix = string(append(appendPart(nil, name), ':', '{'))
		return nil
	})
}

// WithSlot puts all keys of this backend into one slot of a Cluster, that of name. Use it
// for a tenant, for example: Takes over several of its callers are then atomic, but one
// server carries the whole load. An empty name is an error.
func WithSlot(name string) Option {
	return optionFunc(func(b *Backend) error {
		if name == "" {
			return fmt.Errorf("%w: WithSlot(\"\"); give the name of a tenant", traffik.ErrConfig)
		}
		b.slot = string(appendPart(nil, name))
		return nil
	})
}

// WithoutCoalescing makes a round trip for every Take. By default, Takes that arrive while
// round trips are in flight are sent together.
func WithoutCoalescing() Option {
	return optionFunc(func(b *Backend) error {
		b.alone = true
		return nil
	})
}

// WithClock takes the time from clock instead of Redis, for tests. Keys still expire by the
// clock of Redis, an hour after their time. A nil clock is an error.
func WithClock(clock traffik.Clock) Option {
	return optionFunc(func(b *Backend) error {
		if clock == nil {
			return fmt.Errorf("%w: WithClock(nil); leave it out for the clock of Redis", traffik.ErrConfig)
		}
		b.clock = clock
		return nil
	})
}
