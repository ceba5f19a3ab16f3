package advanced

import (
	"testing"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

func TestTieredSteps(t *testing.T) {
	t.Parallel()
	tiers := Tiered{Tiers: map[string]PPM{"free": Percent(50), "pro": Times(3), "tiny": 1}, Default: "free"}
	runSteps(t, tiers, traffik.Per(10, 10*time.Second), []takeStep{
		{at: 0, cost: 5, class: "free", limit: 5, remaining: 0, reset: 10 * s},
		{at: 0, cost: 1, class: "free", limit: 5, remaining: 0, retry: 10 * s, reset: 10 * s},
		{at: 0, cost: 6, class: "free", limit: 5, remaining: 0, retry: never, reset: 10 * s},
		{at: s, cost: 25, class: "pro", limit: 30, remaining: 0, reset: 9 * s}, // one count for all tiers
		{at: s, cost: 0, class: "free", limit: 5, remaining: 0, reset: 9 * s},
		{at: 10 * s, cost: 1, class: "tiny", limit: 1, remaining: 0, reset: 10 * s},
	})
}

// A class that is no tier gets the default one, and without a default the rate unchanged, but
// never no limit.
func TestTieredUnknownTierIsTheDefault(t *testing.T) {
	t.Parallel()
	tiers := map[string]PPM{"free": Percent(50)}
	for _, class := range []string{"", "gold", "FREE"} {
		for def, limit := range map[string]int64{"free": 5, "": 10} {
			k := &storedKey{strategy: Tiered{Tiers: tiers, Default: def}}
			d := traffik.Draw{Rate: traffik.Per(10, time.Second), Class: class, Now: epoch}
			if dec := k.draw(d); dec.Limit != limit {
				t.Errorf("class %q, default %q: a limit of %d, want %d", class, def, dec.Limit, limit)
			}
			info, ok := Tiered{Tiers: tiers, Default: def}.Describe(nil, &d).(TierInfo)
			if !ok || info.Tier != def || info.Limit != limit || info.Multiplier.of(10) != limit {
				t.Errorf("class %q, default %q: described as %+v", class, def, info)
			}
		}
	}
}
