package traffik

import (
	"fmt"
	"time"
)

// Unlimited is the rate without a limit. A throttle whose rate is Unlimited
// admits everything and touches no backend.
var Unlimited = Rate{units: unlimited}

// unlimited marks the absence of a limit in Rate.units, where no arguments of Per put it:
// a limit of -1 is an error.
const unlimited = -1

// Rate is a limit: at most Limit units in each Period. It is comparable. The zero Rate is
// invalid, so a forgotten rate is an error and never "no limit" or "nothing allowed".
//
// Build one with [Per], [ParseRate] or [MustParseRate]. As text, in flags, JSON,
// environment or YAML, it is what ParseRate reads.
type Rate struct {
	limit  int64
	period time.Duration
	// units over micros is limit over period in lowest terms, both 0 in an invalid rate.
	// They follow from limit and period, so equal rates are equal under ==.
	units, micros int64
}

// Per returns the rate of limit units in each period. The limit is 1 to 2^53; the period is
// a whole number of microseconds, 1 to 2^53 of them. Other values make an invalid rate,
// which [New] and [Rate.Validate] report.
func Per(limit int64, period time.Duration) Rate {
	r := Rate{limit: limit, period: period}
	if r.check() != nil {
		return r
	}
	us := int64(period / time.Microsecond)
	d := gcd(limit, us)
	r.units, r.micros = limit/d, us/d
	return r
}

// Limit returns the number of units per period, 0 for Unlimited.
func (r Rate) Limit() int64 { return r.limit }

// Period returns the length of a period, 0 for Unlimited.
func (r Rate) Period() time.Duration { return r.period }

// Fraction returns the rate in lowest terms, units per micros microseconds. Both are 0 for
// Unlimited and for an invalid rate.
func (r Rate) Fraction() (units, micros int64) {
	if r.micros == 0 {
		return 0, 0
	}
	return r.units, r.micros
}

// IsUnlimited reports whether r is [Unlimited].
func (r Rate) IsUnlimited() bool { return r == Unlimited }

// IsZero reports whether r is the zero Rate, which is invalid.
func (r Rate) IsZero() bool { return r == Rate{} }

// Validate returns nil for a usable rate, Unlimited included, and otherwise an error
// wrapping [ErrRate] that names what was given and what is accepted.
func (r Rate) Validate() error {
	if r == Unlimited || r.micros > 0 {
		return nil
	}
	return r.check()
}

func (r Rate) check() error {
	switch {
	case r.IsZero():
		return fmt.Errorf("%w: it is the zero Rate; give a limit and a period, such as Per(100, time.Minute) or \"100/min\"", ErrRate)
	case r.limit < 1 || r.limit > MaxUnits:
		return fmt.Errorf("%w: the limit is %d; accepted is 1 to 2^53 (%d)", ErrRate, r.limit, int64(MaxUnits))
	case r.period <= 0:
		return fmt.Errorf("%w: the period is %v; accepted is a positive one", ErrRate, r.period)
	case r.period/time.Microsecond > MaxUnits:
		return fmt.Errorf("%w: the period is %v; accepted is at most 2^53 µs, about 285 years", ErrRate, r.period)
	case r.period%time.Microsecond != 0:
		return fmt.Errorf("%w: the period is %v; accepted are whole microseconds", ErrRate, r.period)
	}
	return nil
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
