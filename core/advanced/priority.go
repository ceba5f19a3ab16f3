package advanced

import (
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/internal/count"
)

// Classes of [Priority].
const (
	Low      = "LOW"
	Normal   = "NORMAL"
	High     = "HIGH"
	Critical = "CRITICAL"
)

// State: the time of the last write and a count per class, 41 bytes.

// Priority shares one limit among four classes, [Low], [Normal], [High] and [Critical]. A
// class, together with the classes below it, may use up to its ceiling, a share of the
// limit. So a flood of one class leaves the classes above it at least the limit minus that
// ceiling. All classes together admit the limit in each window.
//
// Any other class counts as Normal, and so does the empty one. A limit of 1 has no reserve:
// every ceiling is at least 1.
type Priority struct {
	// Low, Normal and High are the ceilings as shares of the limit, rounded down; the
	// ceiling of Critical is the limit. 0 means 50, 75 and 90 percent.
	Low, Normal, High PPM
}

// priorityTag marks the layout t, n0, n1, n2, n3.
const priorityTag = 'P'

// levels is the number of classes.
const levels = 4

// ID implements [traffik.Strategy].
func (Priority) ID() string { return "priority.1" }

// MaxStateBytes implements [traffik.StateSizer].
func (Priority) MaxStateBytes(traffik.Rate) int { return 1 + (1+levels)*8 }

// Validate returns an error wrapping [traffik.ErrConfig] unless the shares, defaults
// included, grow up to the whole.
func (s Priority) Validate() error {
	shares := s.shares()
	for i, field := range []string{"Priority.Low", "Priority.Normal", "Priority.High"} {
		if err := shares[i].check(field); err != nil {
			return err
		}
		if shares[i] > shares[i+1] {
			return fmt.Errorf("%w: %s is %d ppm, more than the %d ppm of the class above; accepted are growing shares",
				traffik.ErrConfig, field, int64(shares[i]), int64(shares[i+1]))
		}
	}
	return nil
}

func (s Priority) shares() [levels]PPM {
	return [levels]PPM{orElse(s.Low, Percent(50)), orElse(s.Normal, Percent(75)), orElse(s.High, Percent(90)), Whole}
}

func levelOf(class string) int {
	switch class {
	case Low:
		return 0
	case High:
		return 2
	case Critical:
		return 3
	}
	return 1
}

// Classes implements [traffik.Classer].
func (Priority) Classes() []string { return []string{Low, Normal, High, Critical} }

// Decide implements [traffik.Strategy].
func (s Priority) Decide(dst, state []byte, d *traffik.Draw) (next []byte, dec traffik.Decision) {
	c, level, ceilings := readLevels(state, d), levelOf(d.Class), s.ceilings(d.Rate)
	c.N = c.used[level]
	write := c.draw(d, c.N+c.room(level, &ceilings), &dec)
	c.used[level], dec.Limit = c.N, ceilings[level]
	if !dec.Allowed && d.Cost > dec.Limit {
		dec.RetryAfter = traffik.Never
	}
	if c.used == [levels]int64{} {
		return dst, dec
	}
	dec.ResetAfter = c.untilEnd(d)
	if write {
		dst = count.AppendState(dst, priorityTag, int64(dec.At), c.used[0], c.used[1], c.used[2], c.used[3])
	}
	return dst, dec
}

func (s Priority) ceilings(r traffik.Rate) (units [levels]int64) {
	for i, share := range s.shares() {
		units[i] = scaled(r, share)
	}
	return units
}

// levelCount is a count for each class, and in n the one that is drawn on.
type levelCount struct {
	windowCount
	used [levels]int64
}

func readLevels(state []byte, d *traffik.Draw) (c levelCount) {
	now, p := int64(d.Now), periodMicros(d.Rate)
	if !count.ReadState(state, priorityTag, &c.T, &c.used[0], &c.used[1], &c.used[2], &c.used[3]) || c.used == [levels]int64{} {
		c.T, c.used = now, [levels]int64{}
	}
	if c.Window = count.WindowAt(c.T, now, p); c.Rolled > 0 {
		c.used = [levels]int64{}
	}
	return c
}

// room returns how much level may still draw before the sum of the classes up to some
// ceiling at or above it passes that ceiling. It is negative when one is passed.
func (c *levelCount) room(level int, ceilings *[levels]int64) int64 {
	var sum int64 // at most 2^55
	room := int64(count.MaxUnits)
	for i := range levels {
		sum += c.used[i]
		if i >= level {
			room = min(room, ceilings[i]-sum)
		}
	}
	return room
}

// PriorityInfo describes a key counted by [Priority]; see [traffik.Subject.Describe].
type PriorityInfo struct {
	// WindowInfo describes the window; Limit and Used are those of all classes together.
	traffik.WindowInfo
	// Low, Normal, High and Critical are the classes.
	Low, Normal, High, Critical LevelInfo
}

// LevelInfo describes one class of a key.
type LevelInfo struct {
	// Ceiling is what the class and those below it may use together.
	Ceiling int64
	// Used is what the class has used.
	Used int64
}

// Describe implements [traffik.Describer] with a [PriorityInfo].
func (s Priority) Describe(state []byte, d *traffik.Draw) any {
	c, ceilings := readLevels(state, d), s.ceilings(d.Rate)
	var used int64
	for _, n := range c.used {
		used = count.Add(used, n)
	}
	level := func(i int) LevelInfo { return LevelInfo{Ceiling: ceilings[i], Used: c.used[i]} }
	return PriorityInfo{
		WindowInfo: windowInfo(c.Window, ceilings[levels-1], used),
		Low:        level(0), Normal: level(1), High: level(2), Critical: level(3),
	}
}
