package benchmarks

import "testing"

// Every contender really limits, as it is configured here.
func TestContendersLimit(t *testing.T) {
	t.Parallel()
	for _, c := range Contenders() {
		if err := c.Check(); err != nil {
			t.Error(err)
		}
	}
}

// A workload with a high limit denies nothing, and a workload with a used-up limit
// admits nothing.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	keys := Keys(1000)
	for _, c := range Contenders() {
		for _, w := range Workloads {
			w.Keys = min(w.Keys, len(keys))
			b := Prepare(c, w, keys)
			if w.Fresh {
				b.Round(0)
			}
			if err := b.Check(); err != nil {
				t.Errorf("%s: %v", c.Name, err)
			}
			b.Close()
		}
	}
}

// Every middleware really limits.
func TestMiddlewaresLimit(t *testing.T) {
	t.Parallel()
	for _, framework := range Frameworks {
		for _, m := range Middlewares(framework) {
			if err := m.Check(); err != nil {
				t.Errorf("%s: %v", framework, err)
			}
		}
	}
}
