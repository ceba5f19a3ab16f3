package traffiktest

import (
	"context"
	"errors"
	"fmt"
	"math"

	traffik "github.com/traffik-go/traffik/core"
)

// forward is a backend with all optional powers, which it forwards to the wrapped backend.
type forward struct{ traffik.Backend }

// newForward panics if backend is nil.
func newForward(function string, backend traffik.Backend) forward {
	if backend == nil {
		panic("traffiktest: " + function + "(nil); give a backend")
	}
	return forward{backend}
}

// ReadStates implements [traffik.StateReader]; the error wraps [errors.ErrUnsupported] if the
// wrapped backend lacks that power.
func (f forward) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if reader, ok := f.Backend.(traffik.StateReader); ok {
		return reader.ReadStates(ctx, keys, dst)
	}
	return dst, 0, fmt.Errorf("traffiktest: reading states of %T: %w", f.Backend, errors.ErrUnsupported)
}

// ResetNamespace implements [traffik.NamespaceResetter]; the error wraps
// [errors.ErrUnsupported] if the wrapped backend lacks that power.
func (f forward) ResetNamespace(ctx context.Context) error {
	if resetter, ok := f.Backend.(traffik.NamespaceResetter); ok {
		return resetter.ResetNamespace(ctx)
	}
	return fmt.Errorf("traffiktest: resetting the namespace of %T: %w", f.Backend, errors.ErrUnsupported)
}

// MaxStateBytes implements [traffik.StateBounder]: the bound of the wrapped backend, or none.
func (f forward) MaxStateBytes() int {
	if bounder, ok := f.Backend.(traffik.StateBounder); ok {
		return bounder.MaxStateBytes()
	}
	return math.MaxInt
}

// ErrorPolicy implements [traffik.PolicySetter]: it asks the wrapped backend, or returns
// [traffik.DefaultPolicy].
func (f forward) ErrorPolicy(err error) traffik.ErrorPolicy {
	if setter, ok := f.Backend.(traffik.PolicySetter); ok {
		return setter.ErrorPolicy(err)
	}
	return traffik.DefaultPolicy
}
