package promises

import (
	"math/big"
	"sort"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// The oracles are plain on purpose: integers and fractions of any size, no
// code shared with what is tested, and times found by trying instants instead
// of a formula.

// firstAfter returns the first instant after now, at most 2^53 µs later, for
// which holds is true, as the time until then. holds stays true once it is.
func firstAfter(now int64, holds func(at int64) bool) time.Duration {
	n := sort.Search(maxUnits-1, func(i int) bool { return holds(now + int64(i) + 1) })
	return time.Duration(n+1) * time.Microsecond
}

// resetFrom is firstAfter counting now itself.
func resetFrom(now int64, untouched func(at int64) bool) time.Duration {
	if untouched(now) {
		return 0
	}
	return firstAfter(now, untouched)
}

func num(n int64) *big.Int { return big.NewInt(n) }

func frac(n int64) *big.Rat { return new(big.Rat).SetInt64(n) }

// ratio is a/b.
func ratio(a, b int64) *big.Rat { return big.NewRat(a, b) }

func add(a, b *big.Rat) *big.Rat { return new(big.Rat).Add(a, b) }
func sub(a, b *big.Rat) *big.Rat { return new(big.Rat).Sub(a, b) }
func mul(a, b *big.Rat) *big.Rat { return new(big.Rat).Mul(a, b) }

func least(a, b *big.Rat) *big.Rat {
	if a.Cmp(b) < 0 {
		return a
	}
	return b
}

func most(a, b *big.Rat) *big.Rat {
	if a.Cmp(b) > 0 {
		return a
	}
	return b
}

// floor rounds towards minus infinity; Div of big does for positive divisors.
func floor(a *big.Rat) *big.Int { return new(big.Int).Div(a.Num(), a.Denom()) }

func ceil(a *big.Rat) *big.Int {
	neg := floor(new(big.Rat).Neg(a))
	return neg.Neg(neg)
}

// bounded is a as an int64, at most 2^53.
func bounded(a *big.Int) int64 {
	if a.Cmp(num(maxUnits)) > 0 {
		return maxUnits
	}
	return a.Int64()
}

// givenAt is the instant whose units a refund restores.
func givenAt(d traffik.Draw) int64 {
	if d.TakenAt == 0 || d.TakenAt > d.Now {
		return int64(d.Now)
	}
	return int64(d.TakenAt)
}

// admission is the skeleton of most strategies' decisions: a state that can be
// looked at in the future.
type admission struct {
	limit int64 // of the class
	// fits reports whether the units in use at an instant leave room for cost.
	fits func(at, cost int64) bool
}

// decide answers d; a cost above most is Never.
func (a admission) decide(d traffik.Draw, most int64) (allowed bool, retry time.Duration) {
	now := int64(d.Now)
	switch {
	case d.Cost <= 0 || d.Force:
		return true, 0
	case d.Cost > most:
		return false, traffik.Never
	case a.fits(now, d.Cost):
		return true, 0
	}
	return false, firstAfter(now, func(at int64) bool { return a.fits(at, d.Cost) })
}
