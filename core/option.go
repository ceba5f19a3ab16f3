package traffik

import (
	"errors"
	"fmt"
	"reflect"
	"unique"
)

// settings is everything that a throttle knows. It never changes once published, so one
// load per request sees all of it or none.
type settings struct {
	owner    *Throttle
	uid      string
	rate     Rate // fixed, unless rateOf is set
	rateOf   RateFunc
	cost     int64 // fixed, unless costOf is set
	costOf   func(*Request) (int64, error)
	classOf  func(*Request) string
	strategy Strategy
	backend  Backend
	// counting is how memory counts a fixed rate in place, nil if it does not.
	counting   *counting
	memory     *Memory // backend, if it is of that type: called directly
	scope      unique.Handle[string]
	identifier *Identifier
	policy     func(error) ErrorPolicy
	reportOnly bool
	headers    HeaderSet
	onDenied   func(*Request, Verdict)
	warner     *warner

	// plain means that a hit on a plain key needs nothing but these settings, and so takes
	// the short path.
	plain bool
	errs  []error // of the options, until New has returned them
}

// Option configures [New]. For a nil Option, or one with a nil argument, New returns an
// error wrapping [ErrConfig].
type Option interface {
	apply(s *settings)
}

type optionFunc func(s *settings)

func (f optionFunc) apply(s *settings) { f(s) }

// given makes an option whose argument must not be nil. accepted is the cure in the error.
func given(name string, arg any, accepted string, set func(s *settings)) Option {
	return optionFunc(func(s *settings) {
		if isNil(arg) {
			s.refuse("%s(nil); give %s", name, accepted)
			return
		}
		set(s)
	})
}

// isNil reports whether v is nil, or a nil pointer or function inside an interface.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	value := reflect.ValueOf(v)
	return (value.Kind() == reflect.Pointer || value.Kind() == reflect.Func) && value.IsNil()
}

// refuse keeps a configuration error.
func (s *settings) refuse(format string, args ...any) {
	s.errs = append(s.errs, configError(format, args...))
}

// wrong keeps an error of a rate or a strategy as a configuration error.
func (s *settings) wrong(err error) {
	if !errors.Is(err, ErrConfig) {
		err = fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.errs = append(s.errs, err)
}

// WithBackend sets the store of the counters. The default is one [Memory] backend shared by
// all throttles of the process. Close it yourself when you are done: a throttle never does.
func WithBackend(backend Backend) Option {
	return given("WithBackend", backend, "a backend, or leave the option out for the shared in-process one", func(s *settings) {
		if !reflect.ValueOf(backend).Comparable() {
			s.refuse("WithBackend(%T): this value can't be compared; give a pointer", backend)
			return
		}
		if m, ok := backend.(*Memory); ok && m.clock == nil {
			s.refuse("WithBackend of a zero Memory; make it with NewMemory")
			return
		}
		s.backend = backend
	})
}

// WithStrategy sets how to count; the default is [FixedWindow].
func WithStrategy(strategy Strategy) Option {
	return given("WithStrategy", strategy, "a strategy such as TokenBucket{}", func(s *settings) { s.strategy = valueOf(strategy) })
}

// valueOf returns what strategy points to if that is a strategy of this package: backends
// and New know those by their types.
func valueOf(strategy Strategy) Strategy {
	pointer := reflect.ValueOf(strategy)
	if pointer.Kind() != reflect.Pointer || pointer.Type().Elem().PkgPath() != reflect.TypeFor[FixedWindow]().PkgPath() {
		return strategy
	}
	if value, ok := pointer.Elem().Interface().(Strategy); ok {
		return value
	}
	return strategy
}

// WithIdentifier sets the identity that a request counts for; the default is [ClientIP]
// without trusted proxies.
func WithIdentifier(identifier *Identifier) Option {
	return given("WithIdentifier", identifier, "an identifier such as ClientIP()", func(s *settings) {
		if identifier.isZero() {
			s.refuse("WithIdentifier of a zero Identifier; give one such as ClientIP()")
			return
		}
		s.identifier = identifier
	})
}

// WithCost sets how many units one hit takes, 0 to 2^53; the default is 1. With 0 every
// request passes uncounted, and its identity is not computed. At a fixed rate [New] refuses
// a cost that the strategy never admits; [GCRA] has a capacity of 1 unless Burst is set.
func WithCost(units int64) Option {
	return optionFunc(func(s *settings) {
		if units < 0 || units > MaxUnits {
			s.refuse("WithCost(%d); accepted is 0 to 2^53", units)
		}
		s.cost, s.costOf = units, nil
	})
}

// WithCostFunc computes the cost of each request. 0 lets the request pass uncounted; the
// error policy decides about a negative cost and an error. The function must be safe for
// concurrent use. A plain key (see [Throttle.Key]) calls it with an empty Request.
func WithCostFunc(cost func(*Request) (units int64, err error)) Option {
	return given("WithCostFunc", cost, "a function", func(s *settings) { s.costOf = cost })
}

// WithClass computes the tier or priority of a caller for strategies that know classes.
// The function must be safe for concurrent use. A plain key (see [Throttle.Key]) calls it
// with an empty Request.
func WithClass(class func(*Request) string) Option {
	return given("WithClass", class, "a function", func(s *settings) { s.classOf = class })
}

// WithReportOnly counts as if the limit were enforced and never blocks, not even on errors:
// Outcome says what would have happened, and Allowed is true.
func WithReportOnly() Option {
	return optionFunc(func(s *settings) { s.reportOnly = true })
}

// WithErrorPolicy sets what happens on errors; the default is [DefaultPolicy].
func WithErrorPolicy(policy ErrorPolicy) Option {
	return optionFunc(func(s *settings) {
		if policy > Propagate {
			s.refuse("WithErrorPolicy(%d); accepted are DefaultPolicy, FailOpen, FailClosed and Propagate", policy)
		}
		s.policy = func(error) ErrorPolicy { return policy }
	})
}

// WithErrorFunc asks a function for the policy of each error. It must be safe for
// concurrent use.
func WithErrorFunc(policy func(err error) ErrorPolicy) Option {
	return given("WithErrorFunc", policy, "a function", func(s *settings) { s.policy = policy })
}

// WithHeaders sets which response headers tell clients about this limit; the default is
// [XRateLimitHeaders].
func WithHeaders(headers HeaderSet) Option {
	return optionFunc(func(s *settings) { s.headers = headers })
}

// WithDeniedHandler replaces the answer that a client gets when this throttle denies. Write
// it to r.Writer, which has the headers already. An adapter's OnDenied takes precedence. It
// must be safe for concurrent use.
func WithDeniedHandler(answer func(r *Request, v Verdict)) Option {
	return given("WithDeniedHandler", answer, "a function", func(s *settings) { s.onDenied = answer })
}
