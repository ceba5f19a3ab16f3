package traffik

import (
	"sync"
	"sync/atomic"
)

// RateFunc finds the rate for a request: by plan, tenant or route. It must be
// safe for concurrent use. An error is decided by the throttle's error policy.
// A plain key (see [Throttle.Key]) calls it with an empty Request.
//
// Its rates should have one period. Strategies that count in windows count in that of
// the rate at hand, and a short one forgets what was counted under a long one.
type RateFunc func(*Request) (Rate, error)

// RateSource is what [New] takes as a rate: text, a value, or a function.
type RateSource interface {
	string | Rate | RateFunc | func(*Request) (Rate, error)
}

// Throttle is one named limit: a rate, a way of counting, a store and an idea
// of who is who. It is made by [New], and safe for concurrent use.
type Throttle struct {
	settings atomic.Pointer[settings]
}

// sharedMemory is the backend of all throttles without one of their own.
var sharedMemory = sync.OnceValue(func() *Memory {
	m, err := NewMemory()
	if err != nil {
		panic(err) // not reached: there is no option to be wrong
	}
	return m
})

// New makes a throttle. The uid names it, in keys and in answers; throttles
// with one uid and strategy on one backend share their counters. The rate is
// text for [ParseRate], a [Rate] or a [RateFunc].
//
// Without options it counts client addresses in a [FixedWindow] on a [Memory]
// backend shared by the process. New does no I/O. The error wraps [ErrConfig], one
// about the rate [ErrRate] too, all that is wrong joined.
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

// defaultIdentifier is one for all throttles, so that a request's address is
// found once.
var defaultIdentifier = sync.OnceValue(func() *Identifier { return ClientIP() })

// MustNew is [New] for throttles known at compile time; it panics on an error.
func MustNew[R RateSource](uid string, rate R, opts ...Option) *Throttle {
	t, err := New(uid, rate, opts...)
	if err != nil {
		panic(err)
	}
	return t
}

func (s *settings) setRate(rate any) {
	switch rate := rate.(type) {
	case string:
		parsed, err := ParseRate(rate)
		if err != nil {
			s.wrong(err)
			parsed = Unlimited // the error is enough; the rate is not used
		}
		s.rate = parsed
	case Rate:
		s.rate = rate
	case RateFunc:
		s.rateOf = rate
	case func(*Request) (Rate, error):
		s.rateOf = rate
	}
	if s.rateOf == nil && s.rate.IsZero() {
		if _, isRate := rate.(Rate); !isRate {
			s.rate = Unlimited
			s.refuse("the rate function is nil; give a function, a Rate or text such as \"100/min\"")
		}
	}
}

// loaded returns what t knows, nil if t is nil or zero.
func (t *Throttle) loaded() *settings {
	if t == nil {
		return nil
	}
	return t.settings.Load()
}

// UID returns the name given to [New].
func (t *Throttle) UID() string {
	set := t.loaded()
	if set == nil {
		panic(errNoThrottle.Error())
	}
	return set.uid
}

// For returns the throttle as it applies to a request. The Request is not
// changed except for what is remembered in it. Of a nil one nothing is known.
func (t *Throttle) For(r *Request) Subject { return Subject{throttle: t, request: orEmpty(r)} }

// Key returns the throttle as it applies to an identity that the application names. Any
// text is accepted; "" is a counter like others.
//
// Identifiers make identities of the form "scheme:value", such as "ip:192.0.2.1" or
// "user:alice", and Key addresses the same counters if it is given the same text: the
// counter of alice under ByValue("user") is Key("value.user:alice"), and Key("alice") is
// another. Take the text from [Result.Identity] or [Identifier.Identity], or build it with
// [IdentityOf], which escapes and hashes as identifiers do; do so with all text that a client
// chose.
//
// Functions of the request are called with an empty one, and what they can't tell is
// decided by the error policy: look at Outcome and Err to tell a failure from a denial.
func (t *Throttle) Key(identity string) Subject { return Subject{throttle: t, id: identity} }
