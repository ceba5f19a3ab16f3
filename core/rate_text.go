package traffik

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rateUnits holds every period unit from long to short; String writes the first name of
// each. Microseconds are there so that String of any valid rate can be read back.
var rateUnits = []struct {
	length time.Duration
	names  []string
}{
	{7 * 24 * time.Hour, []string{"w", "week", "weeks"}},
	{24 * time.Hour, []string{"d", "day", "days"}},
	{time.Hour, []string{"h", "hr", "hour", "hours"}},
	{time.Minute, []string{"min", "m", "minute", "minutes"}},
	{time.Second, []string{"s", "sec", "second", "seconds"}},
	{time.Millisecond, []string{"ms", "millisecond", "milliseconds"}},
	{time.Microsecond, []string{"us", "µs", "μs", "microsecond", "microseconds"}},
}

const rateGrammar = `accepted is a limit of 1 to 2^53, "/" or "per", and a period, such as "100/min", "5/10s", ` +
	`"100 per 5 minutes", "100 per 5m30s" with the units ms, s, min, h, d, w; or "unlimited"`

// ParseRate reads a rate from text. It ignores outer space, and case except for the unit
// "M", which it refuses because it may mean months:
//
//	<limit>/<period><unit>      5/s  100/min  5/10s
//	<limit>/<period> <unit>     5/10 seconds
//	<limit> per <period> <unit> 100 per 5 minutes
//	unlimited
//
// The period is an optional positive integer, 1 if left out, and may be a sum of units in
// falling order, as a time.Duration prints it ("100 per 5m30s"). Units are ms,
// millisecond(s); s, sec, second(s); m, min, minute(s); h, hr, hour(s); d, day(s); w,
// week(s); and us, microsecond(s). Errors wrap [ErrRate], quote the text and say what is
// accepted.
func ParseRate(text string) (Rate, error) {
	s := strings.TrimSpace(text)
	if strings.EqualFold(s, "unlimited") {
		return Unlimited, nil
	}
	limitText, periodText, ok := cutRate(s)
	if !ok {
		return Rate{}, rateError(text, "a limit and a period are both needed")
	}
	limit, err := strconv.ParseUint(limitText, 10, 64)
	if err != nil || limit < 1 || limit > MaxUnits {
		return Rate{}, rateError(text, "the limit %q is not an integer from 1 to 2^53", limitText)
	}
	period, err := parsePeriod(periodText)
	if err != nil {
		return Rate{}, rateError(text, "%w", err)
	}
	rate := Per(int64(limit), period)
	if rate.Validate() != nil {
		return Rate{}, rateError(text, "the period %q is longer than 2^53 µs, about 285 years", periodText)
	}
	return rate, nil
}

// MustParseRate is [ParseRate] for texts known at compile time. It panics on an error.
func MustParseRate(text string) Rate {
	r, err := ParseRate(text)
	if err != nil {
		panic(err)
	}
	return r
}

// cutRate splits at the "/" or at the word "per".
func cutRate(s string) (limit, period string, ok bool) {
	if limit, period, ok = strings.Cut(s, "/"); !ok {
		fields := strings.Fields(s)
		if len(fields) < 3 || !strings.EqualFold(fields[1], "per") {
			return "", "", false
		}
		limit, period = fields[0], strings.Join(fields[2:], " ")
	}
	return strings.TrimSpace(limit), strings.TrimSpace(period), true
}

// parsePeriod reads "min", "5min", "5 min" or "5m30s".
func parsePeriod(s string) (time.Duration, error) {
	var total time.Duration
	previous := time.Duration(math.MaxInt64)
	for first := true; first || s != ""; first = false {
		digits, name, rest := cutPeriodPart(s, first)
		unit, ok := unitLength(strings.ToLower(name))
		switch {
		case name == "M":
			return 0, fmt.Errorf("the period unit %q may mean minutes or months; write \"min\" for minutes", name)
		case !ok:
			return 0, fmt.Errorf("the period unit %q is unknown", name)
		case first && rest != "" && strings.Contains(s, " "):
			return 0, fmt.Errorf("the period %q is a sum with a space in it", s)
		case digits == "" && rest != "":
			return 0, fmt.Errorf("the period unit %q has no number, but more follows", name)
		case unit >= previous:
			return 0, fmt.Errorf("the period unit %q follows a shorter or equal one", name)
		}
		count, err := parseCount(digits, first)
		if err != nil {
			return 0, err
		}
		if count > (math.MaxInt64-int64(total))/int64(unit) {
			return 0, fmt.Errorf("the period part %q makes it longer than 2^53 µs, about 285 years", s)
		}
		total += time.Duration(count) * unit
		previous, s = unit, rest
	}
	return total, nil
}

// cutPeriodPart takes a number and a unit off s. The first part may have a space between
// them.
func cutPeriodPart(s string, first bool) (digits, name, rest string) {
	const decimal = "0123456789"
	name = strings.TrimLeft(s, decimal)
	digits = s[:len(s)-len(name)]
	if first {
		name = strings.TrimLeft(name, " ")
	}
	if end := strings.IndexAny(name, decimal); end >= 0 {
		name, rest = name[:end], name[end:]
	}
	return digits, name, rest
}

// parseCount reads the number before a unit, 1 if there is none. Only later parts may be
// zero: time.Duration prints five minutes as "5m0s".
func parseCount(digits string, first bool) (int64, error) {
	if digits == "" {
		return 1, nil
	}
	count, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || count < 1 && first {
		return 0, fmt.Errorf("the period %q is not a positive integer", digits)
	}
	return count, nil
}

func unitLength(name string) (time.Duration, bool) {
	for _, unit := range rateUnits {
		if slices.Contains(unit.names, name) {
			return unit.length, true
		}
	}
	return 0, false
}

func rateError(text, format string, args ...any) error {
	return fmt.Errorf("%w %q: %w; %s", ErrRate, text, fmt.Errorf(format, args...), rateGrammar)
}

// String returns the text of r in its longest whole unit, such as "100/min" or "5/10s", and
// "unlimited" for Unlimited. [ParseRate] reads it back to the same rate. An invalid rate is
// "invalid rate (…)", which ParseRate refuses.
func (r Rate) String() string {
	if r == Unlimited {
		return "unlimited"
	}
	if r.Validate() != nil {
		return fmt.Sprintf("invalid rate (%d per %v)", r.limit, r.period)
	}
	unit, count := rateUnits[0], ""
	for i := 1; r.period%unit.length != 0; i++ { // a valid period is whole microseconds, the last unit
		unit = rateUnits[i]
	}
	if n := int64(r.period / unit.length); n > 1 {
		count = strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(r.limit, 10) + "/" + count + unit.names[0]
}

// MarshalText implements [encoding.TextMarshaler], and with it JSON. An invalid rate is an
// error.
func (r Rate) MarshalText() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return []byte(r.String()), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler], and with it JSON. It reads what
// [ParseRate] reads; on an error r keeps its value.
func (r *Rate) UnmarshalText(text []byte) error {
	return r.Set(string(text))
}

// Set implements [flag.Value]. It reads what [ParseRate] reads; on an error r keeps its
// value.
func (r *Rate) Set(text string) error {
	parsed, err := ParseRate(text)
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
