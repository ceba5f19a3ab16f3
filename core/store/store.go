package store

import (
	"context"
	"errors"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Store is what the author of a backend writes: it reads values, and it replaces a value
// if nobody changed it in between. [New] makes a [traffik.Backend] of it. All methods must
// be safe for concurrent use.
//
// Wrap errors in [traffik.ErrBackend]. A method may return late when ctx ends: callers
// don't wait for it then.
type Store interface {
	// Read fills State of each entry, with memory of its own, and the other fields that
	// the store needs. It returns the store's time, or that of this process for a store
	// that tells none.
	Read(ctx context.Context, entries []*Entry) (now traffik.Instant, err error)
	// Write does what e.Action says if the entry is still as Read found it, and returns
	// [ErrConflict] if it is not.
	Write(ctx context.Context, e *Entry) error
}

// MultiWriter is an optional power of a [Store] that writes several entries at once. A
// Take over several keys is then atomic. Without it the keys are written one after the
// other, and what was drawn is refunded when a later write fails.
type MultiWriter interface {
	// WriteAll is Write for all entries or none. Entries whose Action is Keep are not
	// written, but have to be as they were read.
	WriteAll(ctx context.Context, entries []*Entry) error
}

// ErrConflict says that an entry was changed after it was read, and that nothing is written.
var ErrConflict = errors.New("traffik: the key was changed by another process")

// Action tells a [Store] what to do with an [Entry].
type Action uint8

const (
	// Keep leaves the entry alone.
	Keep Action = iota
	// ExtendExpiry keeps the stored state for Entry.For.
	ExtendExpiry
	// Replace stores Entry.Next for Entry.For.
	Replace
	// Delete forgets the key.
	Delete
)

// Entry is one key of a Take.
type Entry struct {
	// Key is the key; it is set before Read.
	Key traffik.Key

	// State is set by Read: the stored state, nil for an untouched key.
	State []byte
	// Latest may be set by Read: the key is decided at this time if the time that Read
	// returns is earlier. A store that several processes share without a common clock
	// stores At with each state and sets Latest to it.
	Latest traffik.Instant
	// Kept may be set by Read: for how long the state will be kept, less than 0 if its
	// expiry was lost. A denial then extends an expiry that is too short. 0 leaves
	// expiries to draws.
	Kept time.Duration
	// Data is for the store: a version, for example. It is nil before the first Read.
	Data any

	// Action, Next, For and At are set before Write: what to do, the next state, for how
	// long to keep it at least, and the time of the decision. Next is valid during the call.
	Action Action
	Next   []byte
	For    time.Duration
	At     traffik.Instant
	// Refunds reports that the change contains a refund. A store must not send it again
	// when the answer to the first attempt was lost.
	Refunds bool
}

func (e *Entry) changed() bool { return e.Action != Keep }

// begin sets e to what was read, to be decided at now.
func (e *Entry) begin(now traffik.Instant) {
	e.Action, e.Next, e.For, e.Refunds = Keep, e.State, e.Kept, false
	e.At = max(now.Add(0), e.Latest) // within what an Instant may be
}

// apply makes a decided op part of the change to e.
func (e *Entry) apply(c *Change, cost int64, dec *traffik.Decision) {
	switch {
	case c.Write:
		e.Action, e.Next, e.For = Replace, c.State, dec.ResetAfter
	case c.Delete && (len(e.State) > 0 || e.Action == Replace):
		e.Action, e.Next, e.For = Delete, nil, 0
	case len(e.Next) > 0 && e.For < dec.ResetAfter && (e.Kept != 0 || e.Action == Replace):
		// The expiry was lost, or is that of a rate with a shorter period.
		e.Action, e.For = max(e.Action, ExtendExpiry), dec.ResetAfter
	}
	e.Refunds = e.Refunds || cost < 0
}
