// Package advanced has strategies that follow a policy: the caller's tier or priority, the
// time of day, past load, unused quota or the cost of recent draws decide how much is
// admitted.
//
//	items, err := traffik.New("api:items", "100/min",
//		traffik.WithStrategy(advanced.Tiered{Tiers: map[string]advanced.PPM{
//			"free": advanced.Percent(100), "pro": advanced.Percent(500),
//		}, Default: "free"}),
//		traffik.WithClass(planOf))
//
// Shares, multipliers and thresholds are integer millionths, [PPM], so that 29 percent of
// 100 are 29 on every machine and in every store. All strategies are plain values, safe
// for concurrent use as long as nobody changes their maps and slices.
//
// docs/design/strategies.md has the exact definitions.
package advanced
