package traffik

import (
	"errors"
	"fmt"
	"reflect"
	"unique"
)

// settings is everything a throttle knows. It is never changed once published,
// so that one load per request sees all of it or none.
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
	limitText  numberText // of the limit that headers tell
	onDenied   func(*Request, Verdict)
	warner     *warner

	// plain means that a hit on a plain key needs nothing but these settings:
	// the case worth a short way.
	plain bool
	errs  []error // of the options, until New has returned them
}

// Option configures [New].
type Option interface {
	apply(s *settings)
}

type optionFunc func(s *settings)

func (f optionFunc) apply(s *settings) { f(s) }

func (s *settings) refuse(format string, args ...any) {
	s.errs = append(s.errs, configError(format, args...))
}

// wrong notes what others found wrong.
func (s *settings) wrong(err error) {
	if !errors.Is(err, ErrConfig) {
		err = fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.errs = append(s.errs, err)
}

// WithBackend sets where the score is kept. The default is one [Memory] backend
// shared by all throttles of the process. The backend is closed by who made it.
func WithBackend(backend Backend) Option {
	return optionFunc(func(s *settings) {
		if isNil(backend) {
			s.refuse("WithBackend(nil); give a backend, or leave the option out for the shared in-process one")
			return
		}
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
	return optionFunc(func(s *settings) {
		if isNil(strategy) {
			s.refuse("WithStrategy(nil); give a strategy such as TokenBucket{}")
			return
		}
		s.strategy = valueOf(strategy)
	})
}

// valueOf returns what strategy points to if that is one of this package: backends and New
// know those by their types.
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

// WithIdentifier sets who a request counts for; the default is [ClientIP]
// without any trusted proxy.
func WithIdentifier(identifier *Identifier) Option {
	return optionFunc(func(s *settings) {
		if identifier == nil {
			s.refuse("WithIdentifier(nil); give an identifier such as ClientIP()")
			return
		}
		if identifier.isZero() {
			s.refuse("WithIdentifier of a zero Identifier; give one such as ClientIP()")
			return
		}
		s.identifier = identifier
	})
}

// WithCost sets how many units one hit takes, 0 to 2^53; the default is 1. With 0 every
// request passes untouched, and its identity is not asked. [New] refuses a cost that the
// strategy can never admit at a fixed rate, whatever the class; mind that [GCRA] has a
// capacity of 1 unless Burst says otherwise.
func WithCost(units int64) Option {
	return optionFunc(func(s *settings) {
		if units < 0 || units > MaxUnits {
			s.refuse("WithCost(%d); accepted is 0 to 2^53", units)
		}
		s.cost, s.costOf = units, nil
	})
}

// WithCostFunc computes the cost of each request: 0 lets it pass untouched, a
// negative one is an error under the error policy, as is an error of the
// function. It must be safe for concurrent use. A plain key (see
// [Throttle.Key]) calls it with an empty Request.
func WithCostFunc(cost func(*Request) (units int64, err error)) Option {
	return optionFunc(func(s *settings) {
		if cost == nil {
			s.refuse("WithCostFunc(nil); give a function")
		}
		s.costOf = cost
	})
}

// WithClass computes the tier or priority of a caller for strategies that know
// classes. It must be safe for concurrent use. A plain key (see
// [Throttle.Key]) calls it with an empty Request.
func WithClass(class func(*Request) string) Option {
	return optionFunc(func(s *settings) {
		if class == nil {
			s.refuse("WithClass(nil); give a function")
		}
		s.classOf = class
	})
}

// WithReportOnly counts as if the limit were enforced, and never blocks, not
// even on errors: Outcome tells what would have been, and Allowed is true.
func WithReportOnly() Option {
	return optionFunc(func(s *settings) { s.reportOnly = true })
}

// WithErrorPolicy sets what to make of errors; see [DefaultPolicy] for what
// holds without it.
func WithErrorPolicy(policy ErrorPolicy) Option {
	return optionFunc(func(s *settings) {
		if policy > Propagate {
			s.refuse("WithErrorPolicy(%d); accepted are DefaultPolicy, FailOpen, FailClosed and Propagate", policy)
		}
		s.policy = func(error) ErrorPolicy { return policy }
	})
}

// WithErrorFunc asks a function what to make of each error. It must be safe for
// concurrent use.
func WithErrorFunc(policy func(err error) ErrorPolicy) Option {
	return optionFunc(func(s *settings) {
		if policy == nil {
			s.refuse("WithErrorFunc(nil); give a function")
			return
		}
		s.policy = policy
	})
}

// WithHeaders sets which response headers tell clients about this limit; the
// default is [XRateLimitHeaders].
func WithHeaders(headers HeaderSet) Option {
	return optionFunc(func(s *settings) { s.headers = headers })
}

// WithDeniedHandler replaces the answer that a client gets when this throttle
// denies; r.Writer takes it, with the headers already set. An adapter's own
// denied handler goes before it. It must be safe for concurrent use; nil is refused.
func WithDeniedHandler(answer func(r *Request, v Verdict)) Option {
	return optionFunc(func(s *settings) {
		if answer == nil {
			s.refuse("WithDeniedHandler(nil); give a function")
		}
		s.onDenied = answer
	})
}
