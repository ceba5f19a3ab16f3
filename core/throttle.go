package traffik

import (
	"context"
	"sync"
	"sync/atomic"
)

// RateFunc returns the rate of a request: by plan, tenant or route. It must be safe for
// concurrent use. The throttle's error policy decides about an error. A plain key (see
// [Throttle.Key]) calls it with an empty Request.
//
// Use one period for all its rates: a window checked at a per-minute rate forgets what it
// counted per hour.
type RateFunc func(*Request) (Rate, error)

// RateSource is what [New] accepts as a rate: text, a value, or a function.
type RateSource interface {
	string | Rate | RateFunc | func(*Request) (Rate, error)
}

// Throttle is one named limit: a rate, a strategy, a store of counters, and an identifier.
// Make it with [New]. It is safe for concurrent use.
type Throttle struct {
	settings atomic.Pointer[settings]
}

// sharedMemory is the backend of all throttles without WithBackend.
var sharedMemory = sync.OnceValue(func() *Memory {
	m, err := NewMemory()
	if err != nil {
		panic(err) // not reached: there is no option to be wrong
	}
	return m
})

// New makes a throttle. The uid names it in keys and answers; throttles with one uid and
// strategy on one backend share their counters. The rate is text for [ParseRate], a [Rate]
// or a [RateFunc].
//
// Without options it counts client addresses in a [FixedWindow] on a [Memory] backend that
// the process shares. New does no I/O. The error joins everything that is wrong and wraps
// [ErrConfig], for a rate [ErrRate] too.
func New[R RateSource](uid string, rate R, opts ...Option) (*Throttle, error) {
	s := &settings{
		uid:      uid,
		cost:     1,
		strategy: FixedWindow{},
		policy:   func(error) ErrorPolicy { return DefaultPolicy },
		headers:  XRateLimitHeaders,
		warner:   new(warner),
	}
	s.setRate(rate)
	for i, opt := range opts {
		if isNil(opt) {
			s.refuse("option %d of %d is nil; leave it out", i+1, len(opts))
			continue
		}
		opt.apply(s)
	}
	if s.backend == nil {
		s.backend = sharedMemory()
	}
	if s.identifier == nil {
		s.identifier = defaultIdentifier()
	}
	if err := s.complete(); err != nil {
		return nil, err
	}
	t := new(Throttle)
	s.owner = t
	t.settings.Store(s)
	return t, nil
}

// defaultIdentifier is one for all throttles, so that a request's address is computed
// once.
var defaultIdentifier = sync.OnceValue(func() *Identifier { return ClientIP() })

// MustNew is [New] for throttles known at compile time. It panics on an error.
func MustNew[R RateSource](uid string, rate R, opts ...Option) *Throttle {
	t, err := New(uid, rate, opts...)
	if err != nil {
		panic(err)
	}
	return t
}

func (s *settings) setRate(rate any) {
	if f, ok := rate.(func(*Request) (Rate, error)); ok {
		rate = RateFunc(f)
	}
	switch rate := rate.(type) {
	case string:
		parsed, err := ParseRate(rate)
		if s.rate = parsed; err != nil {
			s.wrong(err)
			s.rate = Unlimited // one error is enough
		}
	case Rate:
		s.rate = rate
	case RateFunc:
		if s.rateOf = rate; rate == nil {
			s.refuse("the rate function is nil; give a function, a Rate or text such as \"100/min\"")
			s.rate = Unlimited
		}
	}
}

// use returns the settings for a use with ctx, or an error that says what is wrong with it.
func (t *Throttle) use(ctx context.Context) (set *settings, err error) {
	if t != nil {
		set = t.settings.Load()
	}
	switch {
	case set == nil:
		return nil, errNoThrottle
	case ctx == nil:
		return nil, errNoContext
	}
	return set, nil
}

// UID returns the name given to [New].
func (t *Throttle) UID() string {
	set, err := t.use(context.Background())
	if err != nil {
		panic(err.Error())
	}
	return set.uid
}

// For returns the throttle as it applies to a request. It changes nothing in the Request
// except what the Request remembers. A nil Request is an empty one.
func (t *Throttle) For(r *Request) Subject { return Subject{throttle: t, request: orEmpty(r)} }

// Key returns the throttle as it applies to an identity that the application names. Any
// text is accepted, and "" is a key like any other.
//
// Identifiers make identities of the form "scheme:value", such as "ip:192.0.2.1", and Key
// finds the same counters by the same text: alice's counter under ByValue("user") is
// Key("value.user:alice"), and Key("alice") is another. Use the text of [Result.Identity] or
// [Identifier.Identity], or build it with [IdentityOf], which escapes it. Always use
// IdentityOf for text that a client chose.
//
// Functions of the request get an empty one. If such a function fails, the error policy
// decides: Outcome and Err distinguish a failure from a denial.
func (t *Throttle) Key(identity string) Subject { return Subject{throttle: t, id: identity} }
