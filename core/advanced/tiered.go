package advanced

import (
	"fmt"
	"maps"
	"slices"

	traffik "github.com/traffik-go/traffik/core"
)

// Tiered multiplies the limit by the caller's tier, the class of the draw, and counts like
// [traffik.FixedWindow]. A key has one count whatever its tier, so changing the tier neither
// forgets what was used nor admits more than the new limit. It admits the tier's limit in
// each window.
type Tiered struct {
	// Tiers are the multipliers by name, each 1 ppm or more. The limit of a tier is rounded
	// down and at least 1.
	Tiers map[string]PPM
	// Default names the tier of unknown and empty classes. Unless Tiers has it, they get
	// the rate unchanged.
	Default string
}

// tieredTag marks the layout t, n.
const tieredTag = 'T'

// ID implements [traffik.Strategy].
func (Tiered) ID() string { return "tiered.1" }

// MaxStateBytes implements [traffik.StateSizer].
func (Tiered) MaxStateBytes(traffik.Rate) int { return windowCountBytes }

// Classes implements [traffik.Classer]: the tiers, sorted.
func (s Tiered) Classes() []string { return slices.Sorted(maps.Keys(s.Tiers)) }

// Decide implements [traffik.Strategy].
func (s Tiered) Decide(dst, state []byte, d *traffik.Draw) (next []byte, dec traffik.Decision) {
	c := readCount(state, tieredTag, d)
	limit := s.limit(d)
	next, dec = c.decide(dst, tieredTag, d, limit)
	if !dec.Allowed && d.Cost > limit {
		dec.RetryAfter = traffik.Never
	}
	return next, dec
}

func (s Tiered) limit(d *traffik.Draw) int64 {
	_, multiplier := s.tierOf(d.Class)
	return scaled(d.Rate, multiplier)
}

// tierOf returns the tier of a class, "" for the rate unchanged.
func (s Tiered) tierOf(class string) (name string, multiplier PPM) {
	if multiplier, ok := s.Tiers[class]; ok {
		return class, multiplier
	}
	if multiplier, ok := s.Tiers[s.Default]; ok {
		return s.Default, multiplier
	}
	return "", Whole
}

// Validate returns an error wrapping [traffik.ErrConfig] for a multiplier below 1 ppm or
// above 2^53 ppm, and for a Default that Tiers lacks.
func (s Tiered) Validate() error {
	for name, multiplier := range s.Tiers {
		if multiplier < 1 || multiplier > traffik.MaxUnits {
			return fmt.Errorf("%w: Tiered.Tiers[%q] is %d ppm; accepted is 1 to 2^53 ppm", traffik.ErrConfig, name, int64(multiplier))
		}
	}
	if _, ok := s.Tiers[s.Default]; !ok && s.Default != "" {
		return fmt.Errorf("%w: Tiered.Default is %q, which is none of Tiers", traffik.ErrConfig, s.Default)
	}
	return nil
}

// TierInfo describes a key counted by [Tiered]; see [traffik.Subject.Describe].
type TierInfo struct {
	// WindowInfo describes the window; its Limit is the tier's.
	traffik.WindowInfo
	// Tier is the one that applied, "" for the rate unchanged.
	Tier string
	// Multiplier is the multiplier of the tier.
	Multiplier PPM
}

// Describe implements [traffik.Describer] with a [TierInfo].
func (s Tiered) Describe(state []byte, d *traffik.Draw) any {
	c := readCount(state, tieredTag, d)
	tier, multiplier := s.tierOf(d.Class)
	return TierInfo{WindowInfo: windowInfo(c.Window, scaled(d.Rate, multiplier), c.N), Tier: tier, Multiplier: multiplier}
}
