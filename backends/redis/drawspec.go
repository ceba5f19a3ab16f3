package traffikredis

import (
	"encoding/binary"
	"math"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// The families of strategies, as script/take.lua numbers them. Those below familyLog are
// counts: Go decides from the state that the script found. Each custom script is a family
// from firstCustom on.
const (
	familyBucket  = 1
	familyFixed   = 2
	familySliding = 3
	familyLog     = 4
	firstCustom   = 100
)

// The flags of a draw spec, as script/take.lua tests them.
const (
	flagForce    = 1
	flagAdvisory = 2
	flagQueue    = 4
)

// The sizes of a draw spec in bytes, as the script reads it. It needs the long one for a
// refund and for what is not a count.
const (
	shortSpec = 2 + 1 + 4*8
	longSpec  = shortSpec + 6*8
)

// drawSpec is a draw as the script reads it. Equal draws of a batch share one.
type drawSpec struct {
	size   uint16
	family uint16
	flags  uint8
	cost   int64
	// limit is the capacity of a bucket. units over micros is the rate in lowest terms;
	// micros is also the period of a bucket.
	limit, period int64 // units, microseconds
	units, micros int64
	takenAt       int64
	// arguments depend on the family. Those of a bucket are, for a refund, when the draw
	// left the key free and when its wait in the queue ends.
	arguments [customArguments]float64
}

// defaultLogEntries is the default MaxEntries of traffik.SlidingWindowLog.
const defaultLogEntries = 8192

// drawSpecOf returns the draw spec of an op, or false if no script knows its strategy.
func (b *Backend) drawSpecOf(op *traffik.Op) (s drawSpec, ok bool) {
	rate := op.Draw.Rate
	s = drawSpec{limit: rate.Limit(), period: int64(rate.Period() / time.Microsecond), cost: op.Draw.Cost}
	s.units, s.micros = rate.Fraction()
	if op.Draw.Cost < 0 {
		s.takenAt = int64(op.Draw.TakenAt)
	}
	if op.Draw.Force {
		s.flags |= flagForce
	}
	if op.Advisory {
		s.flags |= flagAdvisory
	}
	switch strategy := op.Strategy.(type) {
	case traffik.FixedWindow:
		s.family = familyFixed
	case traffik.SlidingWindowCounter:
		s.family = familySliding
	case traffik.SlidingWindowLog:
		s.family = familyLog
		s.arguments[0] = float64(or(int64(strategy.MaxEntries), defaultLogEntries))
	case traffik.TokenBucket:
		s.bucket(&op.Draw, or(strategy.Burst, rate.Limit()))
	case traffik.TokenBucketWithDebt:
		s.bucket(&op.Draw, min(or(strategy.Burst, rate.Limit()), traffik.MaxUnits-strategy.MaxDebt)+strategy.MaxDebt)
	case traffik.LeakyBucket:
		s.bucket(&op.Draw, or(strategy.Capacity, rate.Limit()))
	case traffik.LeakyBucketWithQueue:
		s.bucket(&op.Draw, or(strategy.Capacity, rate.Limit()))
		s.flags |= flagQueue
	case traffik.GCRA:
		s.bucket(&op.Draw, or(strategy.Burst, 1))
	case Scripted:
		s.family = b.custom.family(strategy.RedisScript())
		s.arguments = strategy.RedisArguments(&op.Draw)
	default:
		return s, false
	}
	if s.size = shortSpec; s.cost < 0 || s.family >= familyLog {
		s.size = longSpec
	}
	return s, true
}

// or returns units, or the default if units is 0.
func or(units, otherwise int64) int64 {
	if units == 0 {
		return otherwise
	}
	return units
}

func (s *drawSpec) bucket(d *traffik.Draw, capacity int64) {
	s.family, s.limit, s.period = familyBucket, capacity, s.micros
	if d.Cost < 0 {
		s.arguments[1], s.arguments[2] = float64(d.FreeAt), float64(d.TakenAt.Add(d.Delay))
	}
}

// append appends s as the script reads it.
func (s *drawSpec) append(dst []byte) []byte {
	dst = append(binary.LittleEndian.AppendUint16(dst, s.family), s.flags)
	a := &s.arguments
	for i, v := range [...]float64{
		float64(s.cost), float64(s.limit), float64(s.period), float64(s.units),
		float64(s.takenAt), a[0], a[1], a[2], a[3], float64(s.micros),
	} {
		if s.size == shortSpec && i == 4 {
			break
		}
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}
