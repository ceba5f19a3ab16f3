package traffik

import (
	"context"
	"errors"
	"fmt"

	"github.com/traffik-go/traffik/core/internal/count"
)

// Subject is a [Throttle] as it applies to one caller: a request or a plain
// key. It is a small value, made anew for each use; making one costs nothing.
type Subject struct {
	throttle *Throttle
	request  *Request // nil for a plain key
	id       string   // of a plain key
}

// defaultCost stands for the cost that the throttle is configured with.
const defaultCost = -1

// Hit takes the throttle's cost, if the limit admits it. Being over the limit
// is a Result. The error is the cause of ctx's end if ctx had ended before or its caller
// cancels it, in which case nothing counts; an error that the policy Propagate lets through;
// or one wrapping [ErrUsage]. A deadline that passes while the store is asked is an error
// for the policy: it wraps [ErrBackend] and [context.DeadlineExceeded], and the store may or may
// not have charged. Hit blocks as long as the backend does.
func (s Subject) Hit(ctx context.Context) (res Result, err error) {
	err = s.take(ctx, defaultCost, false, &res)
	return res, err
}

// HitN takes n units instead of the throttle's cost; 0 passes untouched and without asking
// for the identity, and more than the strategy can ever admit are denied with RetryAfter
// [Never]. An n below 0 is an error wrapping [ErrUsage]; other errors are those of
// [Subject.Hit].
func (s Subject) HitN(ctx context.Context, n int64) (res Result, err error) {
	if err = checkUnits("HitN", n); err != nil {
		return Result{}, err
	}
	err = s.take(ctx, n, false, &res)
	return res, err
}

// Check tells what [Subject.HitN] would answer and takes nothing. It waits for the store
// for five seconds at most, after which the store has failed. An n below 0 is an error
// wrapping [ErrUsage]; other errors are those of [Subject.Hit].
func (s Subject) Check(ctx context.Context, n int64) (res Result, err error) {
	if err = checkUnits("Check", n); err != nil {
		return Result{}, err
	}
	err = s.take(ctx, n, true, &res)
	return res, err
}

// Stat tells how the counter stands and takes nothing. It waits for the store for five
// seconds at most, after which the store has failed. Errors are those of [Subject.Hit].
func (s Subject) Stat(ctx context.Context) (res Result, err error) {
	err = s.take(ctx, 0, true, &res)
	return res, err
}

// Reset forgets what was counted for the identity that [Throttle.Key] was given or that
// the request of [Throttle.For] has; of an exempt request nothing was. A plain key has to be
// the whole identity, such as "value.user:alice", which [Result.Identity] tells and
// [IdentityOf] builds: one that was never counted is reset without an error. A later refund
// of a draw made before the reset may lower what was drawn since, never below zero.
//
// It waits for the store for five seconds at most. An error wraps [ErrBackend] if the store
// failed or was too slow, [ErrIdentity] if the identifier failed, or [ErrUsage], or is the cause
// of the end of a ctx that had ended before or that its caller cancelled.
func (s Subject) Reset(ctx context.Context) error {
	set := s.throttle.loaded()
	if err := set.misused(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	key, err := s.key(set)
	if errors.Is(err, Exempted) {
		return nil
	}
	if err != nil {
		return err
	}
	own, cancel := set.bounded(ctx)
	defer cancel()
	if err = set.backend.Reset(own, key); err != nil {
		_, err = storeError(ctx, err)
	}
	return err
}

// Describe returns what the stored state means as a typed value for dashboards,
// such as [WindowInfo] or [BucketInfo], and takes nothing. It waits for the store for five
// seconds at most. The error wraps [errors.ErrUnsupported] if the backend is no [StateReader]
// or the strategy no [Describer], or if the rate is [Unlimited]; others are those of
// [Subject.Reset].
func (s Subject) Describe(ctx context.Context) (any, error) {
	set := s.throttle.loaded()
	if err := set.misused(ctx); err != nil {
		return nil, err
	}
	reader, readable := set.backend.(StateReader)
	describer, describable := set.strategy.(Describer)
	if !readable || !describable {
		return nil, fmt.Errorf("traffik: describing %s on %T: %w", set.strategy.ID(), set.backend, errors.ErrUnsupported)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	key, err := s.key(set)
	if err != nil {
		return nil, err
	}
	rate, err := set.rateFor(s.request)
	if err != nil {
		return nil, err
	}
	if rate.IsUnlimited() {
		return nil, fmt.Errorf("traffik: describing an unlimited rate: %w", errors.ErrUnsupported)
	}
	own, cancel := set.bounded(ctx)
	defer cancel()
	states, now, err := reader.ReadStates(own, []Key{key}, nil)
	if err != nil {
		_, err = storeError(ctx, err)
		return nil, err
	}
	return describer.Describe(states[0], &Draw{Rate: rate, Now: now, Class: set.classFor(s.request)}), nil
}

func checkUnits(call string, n int64) error {
	if n >= 0 {
		return nil
	}
	return fmt.Errorf("%w: %s(%d); accepted is 0 or more units", ErrUsage, call, n)
}

func (s Subject) key(set *settings) (Key, error) {
	id, err := set.identity(s.request, s.id)
	return Key{Scope: set.scope, ID: id}, err
}

// take takes units, or with peek tells what taking them would answer, into res, which is
// not returned as a value: each step would copy it.
func (s Subject) take(ctx context.Context, units int64, peek bool, res *Result) error {
	set := s.throttle.loaded()
	if err := set.misused(ctx); err != nil {
		return err
	}
	before, id := ctx.Err(), s.id
	if set.plain && !peek && units != 0 && before == nil && !set.memory.closed.Load() {
		var err error
		if s.request != nil {
			if id, err = set.identity(s.request, ""); err == nil {
				err = ctx.Err() // which may have ended while the request was read
			}
		}
		cost := set.costOr(units)
		if err == nil && set.memory.hit(id, set.counting, cost, &res.Decision) {
			res.hit(set, id, cost)
			res.answer()
			return nil
		}
	}
	return s.takeAny(ctx, before, units, peek, res)
}

// takeAny is take for all that isn't a hit in process at a fixed cost. before is the error
// of ctx when the use began.
func (s Subject) takeAny(ctx context.Context, before error, units int64, peek bool, res *Result) error {
	set, r := s.throttle.loaded(), s.request
	rate, ask, err := set.prepare(ctx, before, r, s.id, units, peek, res)
	if !ask {
		return err
	}
	if set.memory != nil && ctx.Err() == nil && set.takeKnown(ctx, r, rate, peek, res) {
		return nil
	}
	g := newGateTake(peek)
	defer g.release()
	g.add(ctx, r, res, rate, 0)
	results := [1]Result{*res} // not res itself, which would escape
	_, err = g.ask(ctx, results[:], 0, 1)
	*res = results[0]
	return err
}

// takeKnown takes what res says if an in-process store knows the key, which is true of most
// calls. It reports false, and has done nothing, if it does not.
func (s *settings) takeKnown(ctx context.Context, r *Request, rate Rate, peek bool, res *Result) (done bool) {
	if s.memory.closed.Load() {
		return false
	}
	if s.counting != nil && !peek && s.memory.hit(res.id, s.counting, res.cost, &res.Decision) {
		res.answer()
		return true
	}
	op := res.op(rate)
	longest := r.boundDelay(ctx, &op)
	if !s.memory.takeKnown(op.Key, op.Strategy, op.counting, &op.Draw, &res.Decision, !peek) {
		return false
	}
	res.answer()
	res.delayWithin(longest, &op)
	if peek {
		res.cost = 0
	}
	return true
}

// costOr is the cost of units, or the throttle's fixed cost.
func (s *settings) costOr(units int64) int64 {
	if units == defaultCost {
		return s.cost
	}
	return count.ClampCost(units)
}

// prepare finds all that the draw needs, the rate included, and reports true, or finds the
// result without a backend: exempt, unlimited, or failed under the error policy, whose
// Propagate is the error returned, as is the cause of an end of ctx.
func (s *settings) prepare(ctx context.Context, before error, r *Request, id string, units int64, peek bool, res *Result) (rate Rate, ask bool, err error) {
	res.settings = s
	if outcome := s.passes(units, peek); outcome != Undecided {
		res.limit, res.period = s.rate.limit, s.rate.period
		return rate, false, res.pass(outcome)
	}
	if before != nil || errors.Is(ctx.Err(), context.Canceled) {
		return rate, false, context.Cause(ctx)
	}
	if res.id, err = s.identity(r, id); err != nil {
		if errors.Is(err, Exempted) {
			return rate, false, res.pass(Exempt)
		}
		return rate, false, s.requestFailed(ctx, r, readingIdentity, err, res)
	}
	if rate, err = s.rateFor(r); err != nil {
		return rate, false, s.requestFailed(ctx, r, readingRate, err, res)
	}
	res.limit, res.period = rate.limit, rate.period
	if rate.IsUnlimited() {
		return rate, false, res.pass(NoLimit)
	}
	if res.cost, err = s.costFor(r, units); err != nil {
		return rate, false, s.requestFailed(ctx, r, readingCost, err, res)
	}
	if res.cost == 0 && !peek {
		return rate, false, res.pass(Exempt)
	}
	res.class = s.classFor(r)
	return rate, true, nil
}

// passes returns the outcome of a draw that passes whoever asks, which is found without
// asking who: NoLimit under a fixed rate, Exempt for no units; else Undecided.
func (s *settings) passes(units int64, peek bool) Outcome {
	switch {
	case s.rateOf == nil && s.rate.IsUnlimited():
		return NoLimit
	case peek:
	case units == 0, units == defaultCost && s.costOf == nil && s.cost == 0:
		return Exempt
	}
	return Undecided
}

// pass makes r a result that no backend was asked for. It returns no error.
func (r *Result) pass(outcome Outcome) error {
	r.Outcome, r.Allowed, r.cost = outcome, true, 0
	return nil
}

// identity is who r counts for, or the plain key's id if there is no request.
func (s *settings) identity(r *Request, id string) (string, error) {
	if r == nil {
		return id, nil
	}
	before := r.memo().ignored
	name, anonymous, err := s.identifier.resolve(r)
	if anonymous {
		s.warnOfAnonymous(r)
	}
	if header := r.memo().ignored; header != 0 && (before == 0 || s.identifier.trusts != "") {
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

func (s *settings) costFor(r *Request, units int64) (int64, error) {
	if units != defaultCost || s.costOf == nil {
		return s.costOr(units), nil
	}
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

// orEmpty is what the functions of the application get: never nil.
func orEmpty(r *Request) *Request {
	if r == nil {
		return new(Request)
	}
	return r
}

// What prepare reads from a request, for the log.
const (
	readingIdentity = "identity"
	readingRate     = "rate"
	readingCost     = "cost"
)

// requestFailed applies the policy for what could not be read from the request. When
// the caller of r gave up meanwhile that is no failure: the cause is returned. A deadline
// that passed is one.
func (s *settings) requestFailed(ctx context.Context, r *Request, reading string, err error, res *Result) error {
	if r != nil {
		own := r.context()
		if ended := own.Err(); ended != nil && !errors.Is(ended, context.DeadlineExceeded) {
			return context.Cause(own)
		}
	}
	return s.failed(ctx, s.requestPolicy(err), reading, err, res)
}

// failed makes res the result of err under policy, and logs it. Reading is what of the
// request could not be read, "" if it is the store that failed.
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
