package advanced

import (
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// A call looks the local hour up; a denied one also looks for the next hour with room.

// TimeOfDay multiplies the limit by a factor that depends on the local hour and counts like
// [traffik.FixedWindow]. Hours are hours on the wall clock, even on the days when summer time
// begins or ends.
//
// A window that spans a change of the factor has one count, which each draw compares with
// the limit at its instant. Each window admits at most the limit under the largest factor.
// RetryAfter may be later than ResetAfter.
type TimeOfDay struct {
	// Location is the time zone of the hours; nil means UTC.
	Location *time.Location
	// Hours are the factors; together they cover each hour of the day once.
	Hours []Hours
}

// Hours is a factor for the local hours from From up to, but not including, To. From 22 to
// 6 spans midnight. If From equals To, it is the whole day.
type Hours struct {
	// From is 0 to 23; To is 0 to 24.
	From, To int
	// Factor multiplies the limit, 1 ppm or more. The product is rounded down and at least
	// 1.
	Factor PPM
}

// timeOfDayTag marks the layout t, n.
const timeOfDayTag = 'D'

// lookAhead is how far edges are looked for. Two days and an hour contain each hour of the
// day, also one that the change to summer time leaves out once.
const lookAhead = 49 * int64(time.Hour/time.Microsecond)

// ID implements [traffik.Strategy].
func (TimeOfDay) ID() string { return "time_of_day.1" }

// MaxStateBytes implements [traffik.StateSizer].
func (TimeOfDay) MaxStateBytes(traffik.Rate) int { return windowCountBytes }

// Decide implements [traffik.Strategy].
func (s TimeOfDay) Decide(dst, state []byte, d *traffik.Draw) (next []byte, dec traffik.Decision) {
	c := readCount(state, timeOfDayTag, d)
	next, dec = c.decide(dst, timeOfDayTag, d, s.limitAt(int64(d.Now), d.Rate))
	if !dec.Allowed {
		dec.RetryAfter = s.retryAfter(&c, d)
	}
	return next, dec
}

// retryAfter is the time until the cost fits beside the count of this window or, after the
// window's end, alone.
func (s TimeOfDay) retryAfter(c *windowCount, d *traffik.Draw) time.Duration {
	if d.Cost > s.largest(d.Rate) {
		return traffik.Never
	}
	now := int64(d.Now)
	if at, ok := s.edgeWithRoom(now, min(c.End, now+lookAhead), c.N, d); ok {
		return micros(at - now)
	}
	if d.Cost <= s.limitAt(c.End, d.Rate) {
		return micros(c.End - now)
	}
	at, _ := s.edgeWithRoom(c.End, c.End+lookAhead, 0, d)
	return micros(at - now)
}

// edgeWithRoom returns the first edge after from and before until at which the cost fits
// beside n used units, or until.
func (s TimeOfDay) edgeWithRoom(from, until, n int64, d *traffik.Draw) (at int64, ok bool) {
	for at = s.edgeAfter(from); at < until; at = s.edgeAfter(at) {
		if d.Cost <= s.limitAt(at, d.Rate)-n {
			return at, true
		}
	}
	return until, false
}

// edgeAfter returns the next instant after t at which the local hour may change: a full
// hour, or a change of the zone's offset.
func (s TimeOfDay) edgeAfter(t int64) int64 {
	local := s.local(t)
	sinceHour := time.Duration(local.Minute())*time.Minute + time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
	edge := t + (time.Hour - sinceHour).Microseconds()
	// On the last day of a leap year ZoneBounds ends a zone that follows a yearly rule a
	// day early, before t. Taking that end would loop for ever.
	if _, end := local.ZoneBounds(); !end.IsZero() && end.UnixMicro() > t {
		edge = min(edge, end.UnixMicro())
	}
	return edge
}

func (s TimeOfDay) local(t int64) time.Time {
	if s.Location == nil {
		return time.UnixMicro(t).UTC()
	}
	return time.UnixMicro(t).In(s.Location)
}

func (s TimeOfDay) limitAt(t int64, r traffik.Rate) int64 {
	return scaled(r, s.hoursAt(t).Factor)
}

// hoursAt returns the entry for the local hour at t, the whole day if there is none.
func (s TimeOfDay) hoursAt(t int64) Hours {
	hour := s.local(t).Hour()
	for _, h := range s.Hours {
		if h.holds(hour) {
			return h
		}
	}
	return Hours{To: 24, Factor: Whole}
}

func (s TimeOfDay) largest(r traffik.Rate) (limit int64) {
	if len(s.Hours) == 0 {
		return r.Limit()
	}
	for _, h := range s.Hours {
		limit = max(limit, scaled(r, h.Factor))
	}
	return limit
}

func (h Hours) holds(hour int) bool {
	if h.From < h.To {
		return h.From <= hour && hour < h.To
	}
	return hour >= h.From || hour < h.To
}

// Validate returns an error wrapping [traffik.ErrConfig] for an hour or a factor out of
// range, and unless Hours cover each hour of the day once.
func (s TimeOfDay) Validate() error {
	for _, h := range s.Hours {
		if h.From < 0 || h.From > 23 || h.To < 0 || h.To > 24 {
			return fmt.Errorf("%w: TimeOfDay.Hours from %d to %d; accepted is from 0..23 to 0..24", traffik.ErrConfig, h.From, h.To)
		}
		if h.Factor < 1 || h.Factor > traffik.MaxUnits {
			return fmt.Errorf("%w: TimeOfDay.Hours from %d to %d has a factor of %d ppm; accepted is 1 to 2^53 ppm",
				traffik.ErrConfig, h.From, h.To, int64(h.Factor))
		}
	}
	for hour := range 24 {
		times := 0
		for _, h := range s.Hours {
			if h.holds(hour) {
				times++
			}
		}
		if times != 1 {
			return fmt.Errorf("%w: TimeOfDay.Hours cover hour %d %d times; accepted is once", traffik.ErrConfig, hour, times)
		}
	}
	return nil
}

// HoursInfo describes a key counted by [TimeOfDay]; see [traffik.Subject.Describe].
type HoursInfo struct {
	// WindowInfo describes the window; its Limit is the limit at this instant.
	traffik.WindowInfo
	// Hours is the entry in force at this instant.
	Hours Hours
}

// Describe implements [traffik.Describer] with an [HoursInfo].
func (s TimeOfDay) Describe(state []byte, d *traffik.Draw) any {
	c, hours := readCount(state, timeOfDayTag, d), s.hoursAt(int64(d.Now))
	return HoursInfo{WindowInfo: windowInfo(c.Window, scaled(d.Rate, hours.Factor), c.N), Hours: hours}
}
