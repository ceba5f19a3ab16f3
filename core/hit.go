package traffik

import (
	"context"
	"errors"
	"fmt"

	"github.com/traffik-go/traffik/core/internal/count"
)

// Subject is a [Throttle] applied to one caller: a request or a plain key. It is a small
// value: make a new one for each use, at no cost.
type Subject struct {
	throttle *Throttle
	request  *Request // nil for a plain key
	id       string   // of a plain key
}

// defaultCost stands for the cost that the throttle is configured with.
const defaultCost = -1

// Hit takes the throttle's cost if the limit admits it. A denial is a Result, not an
// error. Hit blocks as long as the backend does.
//
// If ctx had ended before the call, or its caller cancels it, the error is the cause, and
// nothing counts. Other errors wrap [ErrUsage], or come from a failure under the policy
// [Propagate]. A deadline that passes during the store call is a failure, which the policy
// decides about: its error wraps [ErrBackend] and [context.DeadlineExceeded], and the store
// may have charged or not.
func (s Subject) Hit(ctx context.Context) (res Result, err error) {
	err = s.take(ctx, defaultCost, false, &res)
	return res, err
}

// HitN takes n units instead of the throttle's cost. With 0 the caller passes uncounted,
// and the identity is not computed. A cost that the strategy can never admit is denied with
// RetryAfter [Never]. An n below 0 is an error wrapping [ErrUsage]; other errors are those
// of [Subject.Hit].
func (s Subject) HitN(ctx context.Context, n int64) (res Result, err error) {
	if n, err = units("HitN", n); err == nil {
		err = s.take(ctx, n, false, &res)
	}
	return res, err
}

// Check returns what [Subject.HitN] would return, and takes nothing. It waits up to five
// seconds for the store. An n below 0 is an error wrapping [ErrUsage]; other errors are
// those of [Subject.Hit].
func (s Subject) Check(ctx context.Context, n int64) (res Result, err error) {
	if n, err = units("Check", n); err == nil {
		err = s.take(ctx, n, true, &res)
	}
	return res, err
}

// Stat returns the state of the counter and takes nothing. It waits up to five seconds for
// the store. Errors are those of [Subject.Hit].
func (s Subject) Stat(ctx context.Context) (res Result, err error) {
	err = s.take(ctx, 0, true, &res)
	return res, err
}

// Reset forgets what was counted for the identity of the request or for the plain key.
// Nothing is counted for an exempt request, so Reset does nothing then. A plain key must be
// the whole identity, such as "value.user:alice": take it from [Result.Identity] or build
// it with [IdentityOf]. Resetting a key that was never counted is not an error. A later
// refund of a draw made before the reset may lower what was drawn since, never below zero.
//
// It waits up to five seconds for the store. The error wraps [ErrBackend] if the store
// failed or was too slow, [ErrIdentity] if the identifier failed, or [ErrUsage]. If ctx had
// ended before the call, or its caller cancelled it, the error is the cause.
func (s Subject) Reset(ctx context.Context) error {
	set, key, err := s.key(ctx)
	if errors.Is(err, Exempted) {
		return nil
	}
	if err != nil {
		return err
	}
	bounded, cancel := set.bounded(ctx)
	defer cancel()
	if err = set.backend.Reset(bounded, key); err != nil {
		_, err = storeError(ctx, err)
	}
	return err
}

// Describe returns the meaning of the stored state as a typed value for dashboards, such as
// [WindowInfo] or [BucketInfo], and takes nothing. It waits up to five seconds for the
// store. The error wraps [errors.ErrUnsupported] if the backend is not a [StateReader], the
// strategy is not a [Describer], or the rate is [Unlimited]. Other errors are those of
// [Subject.Reset], and [Exempted] for an exempt request.
func (s Subject) Describe(ctx context.Context) (any, error) {
	set, err := s.throttle.use(ctx)
	if err != nil {
		return nil, err
	}
	reader, readable := set.backend.(StateReader)
	describer, describable := set.strategy.(Describer)
	if !readable || !describable {
		return nil, fmt.Errorf("traffik: describing %s on %T: %w", set.strategy.ID(), set.backend, errors.ErrUnsupported)
	}
	set, key, err := s.key(ctx)
	if err != nil {
		return nil, err
	}
	rate, err := set.rateFor(s.request)
	if err != nil {
		return nil, err
	}
	if rate == Unlimited {
		return nil, fmt.Errorf("traffik: describing an unlimited rate: %w", errors.ErrUnsupported)
	}
	bounded, cancel := set.bounded(ctx)
	defer cancel()
	states, now, err := reader.ReadStates(bounded, []Key{key}, nil)
	if err != nil {
		_, err = storeError(ctx, err)
		return nil, err
	}
	return describer.Describe(states[0], &Draw{Rate: rate, Now: now, Class: set.classFor(s.request)}), nil
}

// units returns n, clamped to what strategies count, or an error if it is below 0.
func units(call string, n int64) (int64, error) {
	if n < 0 {
		return 0, fmt.Errorf("%w: %s(%d); accepted is 0 or more units", ErrUsage, call, n)
	}
	return count.ClampCost(n), nil
}

// key returns the key that s counts on.
func (s Subject) key(ctx context.Context) (*settings, Key, error) {
	set, err := s.throttle.use(ctx)
	if err != nil {
		return nil, Key{}, err
	}
	if ctx.Err() != nil {
		return nil, Key{}, context.Cause(ctx)
	}
	id := s.id
	if s.request != nil {
		id, err = set.identity(s.request)
	}
	return set, Key{Scope: set.scope, ID: id}, err
}

// take takes units, or with peek finds what taking them would return. It writes to res
// instead of returning it, since each step would copy it.
//
// Most calls are hits in process at a fixed cost. They need no more than the identity.
func (s Subject) take(ctx context.Context, units int64, peek bool, res *Result) error {
	set, err := s.throttle.use(ctx)
	if err != nil {
		return err
	}
	before, id := ctx.Err(), s.id
	if set.plain && !peek && units != 0 && before == nil && !set.memory.closed.Load() {
		if s.request != nil {
			if id, err = set.identity(s.request); err == nil {
				err = ctx.Err() // which may have ended while the request was read
			}
		}
		cost := units
		if cost == defaultCost {
			cost = set.cost
		}
		if err == nil && set.memory.hit(id, set.counting, cost, &res.Decision) {
			res.hit(set, id, cost)
			res.answer()
			return nil
		}
	}
	return set.take(ctx, before, s.request, s.id, units, peek, res)
}

// take is [Subject.take] in every other case. before is the error of ctx when the use began.
func (s *settings) take(ctx context.Context, before error, r *Request, id string, units int64, peek bool, res *Result) error {
	rate, err := s.prepare(ctx, before, r, id, units, peek, res)
	if err != nil || rate.IsZero() || s.memory != nil && ctx.Err() == nil && s.takeKnown(ctx, r, rate, peek, res) {
		return err
	}
	results := [1]Result{*res}
	err = askAll(ctx, r, []Rate{rate}, peek, results[:])
	*res = results[0]
	return err
}

// takeKnown takes what res says if the in-process store knows the key, as it nearly always
// does. Otherwise it reports false and has done nothing.
func (s *settings) takeKnown(ctx context.Context, r *Request, rate Rate, peek bool, res *Result) (done bool) {
	if s.memory.closed.Load() {
		return false
	}
	if s.counting != nil && !peek && s.memory.hit(res.id, s.counting, res.cost, &res.Decision) {
		res.answer()
		return true
	}
	op := res.op(rate)
	longest := op.boundDelay(ctx, r)
	if !s.memory.takeKnown(op.Key, op.Strategy, op.counting, &op.Draw, &res.Decision, !peek) {
		return false
	}
	res.answer()
	if longest != anyDelay {
		res.delayWithin(longest, &op)
	}
	if peek {
		res.cost = 0
	}
	return true
}

// prepare reads what the draw needs into res and returns the rate. The zero Rate means that
// no store has to be asked, and that res is complete: exempt, unlimited, or decided by the
// error policy. Propagate's error is returned, as is the cause of an end of ctx.
func (s *settings) prepare(ctx context.Context, before error, r *Request, id string, units int64, peek bool, res *Result) (rate Rate, err error) {
	res.settings = s
	free := units == 0 || units == defaultCost && s.costOf == nil && s.cost == 0
	if unlimited := s.rateOf == nil && s.rate == Unlimited; unlimited || free && !peek {
		res.limit, res.period = s.rate.limit, s.rate.period
		res.pass(unlimited)
		return Rate{}, nil
	}
	if before != nil || errors.Is(ctx.Err(), context.Canceled) {
		return Rate{}, context.Cause(ctx)
	}
	if res.id = id; r != nil {
		res.id, err = s.identity(r)
	}
	if errors.Is(err, Exempted) {
		res.pass(false)
		return Rate{}, nil
	}
	if err != nil {
		return Rate{}, s.requestFailed(ctx, r, readingIdentity, err, res)
	}
	if rate = s.rate; s.rateOf != nil {
		if rate, err = s.rateFor(r); err != nil {
			return Rate{}, s.requestFailed(ctx, r, readingRate, err, res)
		}
	}
	res.limit, res.period = rate.limit, rate.period
	if rate == Unlimited {
		res.pass(true)
		return Rate{}, nil
	}
	if res.cost = units; units == defaultCost {
		res.cost = s.cost
		if s.costOf != nil {
			if res.cost, err = s.costFor(r); err != nil {
				return Rate{}, s.requestFailed(ctx, r, readingCost, err, res)
			}
		}
	}
	if res.cost == 0 && !peek {
		res.pass(false)
		return Rate{}, nil
	}
	if s.classOf != nil {
		res.class = s.classFor(r)
	}
	return rate, nil
}

// pass makes r a result that needs no store: unlimited, or else exempt.
func (r *Result) pass(unlimited bool) {
	r.Outcome, r.Allowed, r.cost = Exempt, true, 0
	if unlimited {
		r.Outcome = NoLimit
	}
}

// identity returns the identity that r counts for.
func (s *settings) identity(r *Request) (string, error) {
	memo := r.memo()
	before := memo.ignored
	name, err := s.identifier.answer(r)
	if err != nil {
		var anonymous bool
		if name, anonymous, err = s.identifier.orAnonymous(name, err); anonymous {
			s.warnOfAnonymous(r)
		}
	}
	if header := memo.ignored; header != 0 && (before == 0 || s.identifier.trusts != "") {
		s.warnOfProxy(r, header)
	}
	return name, err
}

func (s *settings) rateFor(r *Request) (Rate, error) {
	if s.rateOf == nil {
		return s.rate, nil
	}
	rate, err := s.rateOf(orEmpty(r))
	if err == nil {
		err = rate.Validate()
	}
	if err != nil {
		return Rate{}, fmt.Errorf("traffik: rate function of %q: %w", s.uid, err)
	}
	return rate, nil
}

func (s *settings) costFor(r *Request) (int64, error) {
	cost, err := s.costOf(orEmpty(r))
	if err == nil && cost < 0 {
		err = fmt.Errorf("%w: a cost of %d; accepted is 0 or more", ErrUsage, cost)
	}
	if err != nil {
		return 0, fmt.Errorf("traffik: cost function of %q: %w", s.uid, err)
	}
	return count.ClampCost(cost), nil
}

func (s *settings) classFor(r *Request) string {
	if s.classOf == nil {
		return ""
	}
	return s.classOf(orEmpty(r))
}

// orEmpty returns r, or an empty request for nil: functions of the application never get
// nil.
func orEmpty(r *Request) *Request {
	if r == nil {
		return new(Request)
	}
	return r
}

// These name what could not be read from a request in the log.
const (
	readingIdentity = "identity"
	readingRate     = "rate"
	readingCost     = "cost"
)

// requestFailed applies the policy for what could not be read from the request. If the
// client of r gave up meanwhile, that is no failure, and the cause is returned. A deadline
// that passed is a failure.
func (s *settings) requestFailed(ctx context.Context, r *Request, reading string, err error, res *Result) error {
	if r != nil {
		if ended := r.context().Err(); ended != nil && !errors.Is(ended, context.DeadlineExceeded) {
			return context.Cause(r.context())
		}
	}
	return s.failed(ctx, s.requestPolicy(err), reading, err, res)
}

// failed makes res the result of err under policy, and logs it. reading names what could
// not be read from the request, "" if the store failed.
func (s *settings) failed(ctx context.Context, policy ErrorPolicy, reading string, err error, res *Result) error {
	res.cost = 0
	if s.reportOnly {
		policy = FailOpen // a throttle that only reports stops nobody
	}
	s.warnOfContention(ctx, err)
	if policy == Propagate {
		res.Err = err
		return err
	}
	res.fail(policy, err)
	s.warnOfDecision(ctx, res, reading)
	return nil
}
