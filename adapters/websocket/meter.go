package traffikws

import (
	"context"
	"sync"

	traffik "github.com/traffik-go/traffik/core"
)

// Meter charges the messages of one connection, whatever library carries them
// and whichever way they go. It is what the wrappers are made of, and safe for
// concurrent use.
type Meter struct {
	sender *sender
	choose func(Message) traffik.Limiter

	mu     sync.Mutex
	latest traffik.Limiter
	gate   *traffik.Gate // of latest
}

// NewMeter returns a meter that charges limit for each message of from. The
// identities of from are found at the first message and kept for the connection,
// save those that depend on the message (see [MessageOf]), are absent or failed.
// Several limits, as one per connection, one per user and one for all, are
// joined by [traffik.All]. It panics if limit or from is nil.
func NewMeter(from *traffik.Request, limit traffik.Limiter) *Meter {
	return newMeter(newSender(from), always(limit))
}

// NewMeterFunc returns a meter that charges each message to the limit chosen
// for it, or to none if that is nil, be it a nil [traffik.Throttle] or
// [traffik.Gate]. Choose is called once for each Allow, and at the same time for
// those at the same time. It panics if from or choose is nil.
func NewMeterFunc(from *traffik.Request, choose func(Message) traffik.Limiter) *Meter {
	if choose == nil {
		panic("traffikws: the function that chooses the limit of a message is nil")
	}
	return newMeter(newSender(from), choose)
}

func newMeter(from *sender, choose func(Message) traffik.Limiter) *Meter {
	return &Meter{sender: from, choose: choose}
}

// always chooses limit, which must not be nil, for each message.
func always(limit traffik.Limiter) func(Message) traffik.Limiter {
	joined := traffik.All(limit)
	return func(Message) traffik.Limiter { return joined }
}

// isNil reports whether there is no limit, of all [traffik.Limiter]s there are.
func isNil(limit traffik.Limiter) bool {
	switch limit := limit.(type) {
	case *traffik.Throttle:
		return limit == nil
	case *traffik.Gate:
		return limit == nil
	}
	return limit == nil
}

// Allow charges one message. Being over the limit is a Verdict; errors are those
// of [traffik.Subject.Hit], one that wraps [traffik.ErrUsage] for a nil context and a nil
// or zero Meter among them. Control frames and messages without a limit are
// free. It blocks as long as the backend does, at most until ctx ends.
func (m *Meter) Allow(ctx context.Context, message Message) (traffik.Verdict, error) {
	if err := m.misused(ctx); err != nil {
		return traffik.Verdict{}, err
	}
	return m.charge(ctx, message, m.gateOf(message))
}

// gateOf returns what message is charged to, nil if it is free.
func (m *Meter) gateOf(message Message) *traffik.Gate {
	if message.control() {
		return nil
	}
	limit := m.choose(message)
	if isNil(limit) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if limit != m.latest {
		m.latest, m.gate = limit, traffik.All(limit)
	}
	return m.gate
}

func (m *Meter) charge(ctx context.Context, message Message, gate *traffik.Gate) (traffik.Verdict, error) {
	if gate == nil {
		return traffik.Verdict{}, nil
	}
	r := m.sender.request(message)
	v, err := gate.For(r).Hit(ctx)
	m.sender.learn(r)
	return v, err
}
