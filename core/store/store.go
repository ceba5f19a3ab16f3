package store

import (
	"context"
	"errors"
	"time"

	traffik "github.com/traffik-go/traffik/core"
)

// Store reads values and replaces a value if nobody changed it since. Implement it for your
// store, and [New] makes a [traffik.Backend] from it. Methods must be safe for concurrent
// use. Wrap their errors in [traffik.ErrBackend]. A method that returns late after ctx has
// ended delays Close, but no other call.
type Store interface {
	// Read sets State of each entry to a new slice, and the other fields that the store
	// uses. It returns the store's time or, if the store has no clock, the time of this
	// process.
	Read(ctx context.Context, entries []*Entry) (now traffik.Instant, err error)
	// Write carries out e.Action if the entry is still as Read found it, and returns
	// [ErrConflict] otherwise.
	Write(ctx context.Context, e *Entry) error
}

// MultiWriter is an optional power of a [Store]: it writes several entries at once, which
// makes a Take over several keys atomic. Without it, the backend writes one key after the
// other and refunds the earlier ones if a later write fails.
type MultiWriter interface {
	// WriteAll is Write for all entries or none. It doesn't write entries whose Action is
	// Keep, but returns [ErrConflict] if one of them has changed.
	WriteAll(ctx context.Context, entries []*Entry) error
}

// ErrConflict is returned by a [Store] if an entry has changed since it was read and
// nothing was written.
var ErrConflict = errors.New("traffik: the key was changed by another process")

// Action tells a [Store] what to do with an [Entry].
type Action uint8

const (
	// Keep changes nothing.
	Keep Action = iota
	// ExtendExpiry extends the expiry of State to Entry.For.
	ExtendExpiry
	// Replace stores Entry.Next and keeps it for Entry.For.
	Replace
	// Delete removes the entry.
	Delete
)

// Entry is one key of a Take. Read sets the first group of fields, the backend the second.
type Entry struct {
	// Key names the entry in every call.
	Key traffik.Key

	// State is the stored state, nil for an untouched key.
	State []byte
	// Latest is the At that was set when State was written. Set it if processes share the
	// store without a common clock: the key is then never decided at an earlier time.
	Latest traffik.Instant
	// Kept is how long the store will keep State: less than 0 if its expiry was lost,
	// [traffik.Never] if it has none. A denial then extends an expiry that is too short.
	// With 0 only draws set expiries.
	Kept time.Duration
	// Data belongs to the store. Keep the version in it, for example. It starts as nil.
	Data any

	// Action says how the entry changes.
	Action Action
	// Next is the next state, nil to delete. It is valid until Write returns.
	Next []byte
	// For is the least time to keep Next, or State under ExtendExpiry.
	For time.Duration
	// At is the time at which the entry was decided.
	At traffik.Instant
	// Refunds reports that the change contains a refund. Don't send it a second time, even
	// if the first answer was lost.
	Refunds bool
}

func (e *Entry) changed() bool { return e.Action != Keep }

// begin prepares e, as it was read, for a decision at now.
func (e *Entry) begin(now traffik.Instant) {
	e.Action, e.Next, e.For, e.Refunds = Keep, e.State, e.Kept, false
	e.At = max(now.Add(0), e.Latest) // within what an Instant may be
}

// apply adds the change of a decided op to e.
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
