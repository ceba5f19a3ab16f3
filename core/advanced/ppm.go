package advanced

import (
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// PPM is a share or a multiplier in millionths: 300,000 is 30 percent, and 2,000,000
// doubles. In the structs of this package 0 means the documented default.
type PPM int64

// Whole is 100 percent, or a factor of one.
const Whole PPM = 1_000_000

// Percent returns n percent.
func Percent(n int64) PPM { return PPM(n) * (Whole / 100) }

// Times returns n times: Times(2) doubles.
func Times(n int64) PPM { return PPM(n) * Whole }

// of returns the share of units, rounded down, at most 2^53.
func (p PPM) of(units int64) int64 {
	share, _ := count.MulDivMod(units, int64(p), 0, int64(Whole))
	return share
}

// orElse returns v, or the default for 0.
func orElse[T int | int64 | PPM](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

// checkUnits returns an error unless units is 0, the rate's limit, to 2^53.
func checkUnits(field string, units int64) error {
	if 0 <= units && units <= traffik.MaxUnits {
		return nil
	}
	return fmt.Errorf("%w: %s is %d; accepted is 0 (the rate's limit) to 2^53", traffik.ErrConfig, field, units)
}

// check returns an error unless p is 0, the default, to Whole.
func (p PPM) check(field string) error {
	if 0 <= p && p <= Whole {
		return nil
	}
	return fmt.Errorf("%w: %s is %d ppm; accepted is 1 to %d ppm, or 0 for the default", traffik.ErrConfig, field, int64(p), int64(Whole))
}
