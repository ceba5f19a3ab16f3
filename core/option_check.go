package traffik

import (
	"errors"
	"fmt"
	"strings"

	"github.com/traffik-go/traffik/core/internal/escape"
)

// complete validates the settings and derives the fields that depend on several of them.
func (s *settings) complete() error {
	if strings.TrimSpace(s.uid) == "" {
		s.refuse("the uid is empty: %q; give the throttle a name, such as \"api:items\"", s.uid)
	}
	if s.rateOf == nil {
		if err := s.rate.Validate(); err != nil {
			s.wrong(err)
		}
	}
	if s.identifier.err != nil {
		s.errs = append(s.errs, s.identifier.err)
	}
	if v, ok := s.strategy.(Validator); ok {
		if err := v.Validate(); err != nil {
			s.wrong(err)
		}
	}
	if len(s.errs) == 0 {
		s.checkStateSize()
		s.checkCost()
	}
	if err := errors.Join(s.errs...); err != nil {
		return fmt.Errorf("throttle %q: %w", s.uid, err)
	}
	s.memory, _ = s.backend.(*Memory)
	s.scope = escape.Scope(s.uid, s.strategy.ID())
	if s.memory != nil && s.rateOf == nil && s.rate != Unlimited {
		s.counting = countingOf(s.scope, s.strategy, s.rate)
	}
	s.plain = s.counting != nil && s.costOf == nil && s.classOf == nil && s.cost > 0
	return nil
}

// checkStateSize refuses a strategy whose states the backend can't store.
func (s *settings) checkStateSize() {
	sizer, sized := s.strategy.(StateSizer)
	bounder, bounded := s.backend.(StateBounder)
	if !sized || !bounded || s.rateOf == nil && s.rate == Unlimited {
		return
	}
	rate := s.rate.String()
	if s.rateOf != nil {
		rate = "any rate" // and s.rate is the zero Rate
	}
	if need, most := sizer.MaxStateBytes(s.rate), bounder.MaxStateBytes(); need > most {
		s.refuse("%s at %s needs up to %d bytes of state, and the backend stores at most %d", s.strategy.ID(), rate, need, most)
	}
}

// checkCost refuses a fixed cost that is never admitted at a fixed rate. It asks the
// strategy on an untouched state, so that no second form of its capacity exists. If a
// strategy admits no cost at all, that is its purpose.
func (s *settings) checkCost() {
	if s.rateOf != nil || s.rate == Unlimited || s.costOf != nil || s.cost <= 1 || s.fits(s.cost) || !s.fits(1) {
		return
	}
	most, never := int64(1), s.cost
	for never-most > 1 {
		if middle := most + (never-most)/2; s.fits(middle) {
			most = middle
		} else {
			never = middle
		}
	}
	s.refuse("WithCost(%d): %s at %s never admits more than %d at once; accepted is a cost of 0 to %d, or a strategy with a larger capacity",
		s.cost, s.strategy.ID(), s.rate, most, most)
}

// fits reports whether a draw of cost units can be admitted at some time, in any class.
func (s *settings) fits(cost int64) bool {
	classes := []string{""}
	if s.classOf != nil {
		classer, ok := s.strategy.(Classer)
		if !ok {
			return true // its capacity may depend on classes that it doesn't list
		}
		classes = append(classes, classer.Classes()...)
	}
	for _, class := range classes {
		d := Draw{Rate: s.rate, Cost: cost, Now: Instant(wallNanos() / 1000), Class: class}
		if _, dec := s.strategy.Decide(nil, nil, &d); dec.Allowed || dec.RetryAfter != Never {
			return true
		}
	}
	return false
}
