package traffikmemcached

import (
	"context"
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// errUnmade is the answer of a Backend that New did not make.
var errUnmade = fmt.Errorf("%w: the memcached Backend is nil or zero; make it with traffikmemcached.New", traffik.ErrUsage)

// misused returns what is wrong with a call of b with ctx.
func (b *Backend) misused(ctx context.Context) error {
	switch {
	case b == nil || b.client == nil:
		return errUnmade
	case ctx == nil:
		return fmt.Errorf("%w: the context is nil; give context.Background() where there is no other", traffik.ErrUsage)
	}
	return nil
}
