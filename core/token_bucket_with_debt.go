package traffik

import (
	"time"

	"github.com/traffik-go/traffik/core/internal/count"
)

// bucket.go has the algorithm; the capacity is Burst + MaxDebt.

// TokenBucketWithDebt is a [TokenBucket] whose tokens may fall below zero, to -MaxDebt: a
// caller may overdraw, and then waits until the refill has repaid enough of the debt. It
// admits at most Burst + MaxDebt + floor(length*limit/period) units in any interval.
//
// Decision.Limit and Remaining count Burst + MaxDebt; Describe shows the tokens. A refund
// restores what [TokenBucket] would.
type TokenBucketWithDebt struct {
	// Burst is the number of tokens in a full bucket; 0 means the rate's limit.
	Burst int64
	// MaxDebt is how far below zero the tokens may fall; 0 means no debt. A cost above
	// Burst + MaxDebt is never admitted.
	MaxDebt int64
}

// ID implements [Strategy].
func (TokenBucketWithDebt) ID() string { return "token_bucket_with_debt.1" }

// Decide implements [Strategy].
func (b TokenBucketWithDebt) Decide(dst, state []byte, d *Draw) (next []byte, dec Decision) {
	next = decideBucket(dst, state, d, b.capacity(d.Rate), &dec)
	return next, dec
}

// Validate returns an error wrapping [ErrConfig] unless Burst, MaxDebt and their sum are
// 0 to 2^53.
func (b TokenBucketWithDebt) Validate() error {
	if err := validCapacity("TokenBucketWithDebt.Burst", b.Burst); err != nil {
		return err
	}
	if err := validCapacity("TokenBucketWithDebt.MaxDebt", b.MaxDebt); err != nil {
		return err
	}
	if b.Burst > MaxUnits-b.MaxDebt {
		return configError("TokenBucketWithDebt.Burst %d and MaxDebt %d are more than 2^53 together", b.Burst, b.MaxDebt)
	}
	return nil
}

// MaxStateBytes implements [StateSizer].
func (TokenBucketWithDebt) MaxStateBytes(Rate) int { return count.BucketStateBytes }

// capacity stops at 2^53, which only the default Burst of an enormous limit can pass.
func (b TokenBucketWithDebt) capacity(r Rate) int64 {
	return count.Add(orLimit(b.Burst, r), b.MaxDebt)
}

// DebtInfo describes a key counted by [TokenBucketWithDebt]; see [Subject.Describe].
type DebtInfo struct {
	// Burst and MaxDebt are the parameters in force.
	Burst, MaxDebt int64
	// Tokens is Burst minus the units in use, rounded down. It is negative in debt, and
	// below -MaxDebt after a forced charge or a lowered limit.
	Tokens int64
	// FullAt is when the bucket will be full again, the present if it is full.
	FullAt time.Time
}

// Describe implements [Describer] with a [DebtInfo].
func (b TokenBucketWithDebt) Describe(state []byte, d *Draw) any {
	info := describeBucket(state, d, b.capacity(d.Rate))
	burst := orLimit(b.Burst, d.Rate)
	return DebtInfo{Burst: burst, MaxDebt: b.MaxDebt, Tokens: burst - info.Level, FullAt: info.EmptyAt}
}
