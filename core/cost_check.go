package traffik

// checkCost refuses a fixed cost that can never be admitted at a fixed rate. The strategy
// itself is asked, on an untouched state, so that no second form of its capacity exists. One
// that admits no cost at all is meant so.
func (s *settings) checkCost() {
	if s.rateOf != nil || s.rate.IsUnlimited() || s.costOf != nil || s.cost <= 1 || s.fits(s.cost) || !s.fits(1) {
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

// fits reports whether a draw of cost units can ever be admitted, in any class.
func (s *settings) fits(cost int64) bool {
	classes := []string{""}
	if s.classOf != nil {
		classer, ok := s.strategy.(Classer)
		if !ok {
			return true // nobody knows
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
