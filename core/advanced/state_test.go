package advanced

import (
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// A field that is a valid number but out of its range makes the key untouched.
func TestDamagedStateIsUntouched(t *testing.T) {
	t.Parallel()
	now := int64(epoch)
	for name, tc := range map[string]struct {
		strategy traffik.Strategy
		tag      byte
		fields   []int64
	}{
		"factor above the whole": {Adaptive{}, adaptiveTag, []int64{now, 3, int64(Whole) + 1}},
		"part of a microsecond":  {CostBasedTokenBucket{}, costTag, []int64{now, 3, 0, 100_000, int64(Whole), 3}},
		"cost of nothing":        {CostBasedTokenBucket{}, costTag, []int64{now, 3, 0, 100_000, 0, 0}},
		"cost above 2^32":        {CostBasedTokenBucket{}, costTag, []int64{now, 3, 0, 100_000, 0, maxRecorded + 1}},
		"remainder of a unit":    {CostBasedTokenBucket{}, costTag, []int64{now, 3, 100_000, 100_000, 0, 3}},
		"no part":                {CostBasedTokenBucket{}, costTag, []int64{now, 3, 0, 100_000}},
		"a field too many":       {Priority{}, priorityTag, []int64{now, 1, 1, 1, 1, 1}},
	} {
		state := []byte{tc.tag}
		for _, field := range tc.fields {
			state = count.AppendField(state, field)
		}
		d := traffik.Draw{Rate: traffik.Per(10, time.Second), Now: epoch, Class: Critical}
		_, got := tc.strategy.Decide(nil, state, &d)
		if _, want := tc.strategy.Decide(nil, nil, &d); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
