package traffiktest

import (
	"context"
	"errors"
	"fmt"
	"math"

	traffik "github.com/traffik-go/traffik/core"
)

// readStates forwards to backend if it is a [traffik.StateReader].
func readStates(ctx context.Context, backend traffik.Backend, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	reader, ok := backend.(traffik.StateReader)
	if !ok {
		return dst, 0, fmt.Errorf("traffiktest: reading states of %T: %w", backend, errors.ErrUnsupported)
	}
	return reader.ReadStates(ctx, keys, dst)
}

// resetNamespace forwards to backend if it is a [traffik.NamespaceResetter].
func resetNamespace(ctx context.Context, backend traffik.Backend) error {
	resetter, ok := backend.(traffik.NamespaceResetter)
	if !ok {
		return fmt.Errorf("traffiktest: resetting the namespace of %T: %w", backend, errors.ErrUnsupported)
	}
	return resetter.ResetNamespace(ctx)
}

// maxStateBytes is the bound of backend, none if it is no [traffik.StateBounder].
func maxStateBytes(backend traffik.Backend) int {
	if bounder, ok := backend.(traffik.StateBounder); ok {
		return bounder.MaxStateBytes()
	}
	return math.MaxInt
}

// errorPolicy is that of backend, the default if it is no
// [traffik.PolicySetter].
func errorPolicy(backend traffik.Backend, err error) traffik.ErrorPolicy {
	if setter, ok := backend.(traffik.PolicySetter); ok {
		return setter.ErrorPolicy(err)
	}
	return traffik.DefaultPolicy
}
