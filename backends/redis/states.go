package traffikredis

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/store"
)

// states reads whole states and replaces them if nobody changed them in between. The
// engine of core/store decides with it what only Go can decide.
type states struct{ *servers }

// Read implements [store.Store].
func (s states) Read(ctx context.Context, entries []*store.Entry) (traffik.Instant, error) {
	answer, err := s.run(ctx, readScript, false, s.names(entries))
	if err != nil {
		return 0, err
	}
	list, _ := answer.([]any)
	if len(list) != 1+2*len(entries) {
		return 0, fmt.Errorf("%w: it answered %.80v", ErrScript, answer)
	}
	for i, e := range entries {
		state, _ := list[1+2*i].(string) // nil where there is none
		e.State = []byte(state)
		kept, _ := list[2+2*i].(int64) // a script's numbers are integers
		switch {
		case kept >= longest.Milliseconds()/2: // as good as for ever
			e.Kept = traffik.Never
		case kept >= 0: // Redis rounds down
			e.Kept = time.Duration(kept+1) * time.Millisecond
		default: // the expiry was lost
			e.Kept = -1
		}
	}
	if s.clock != nil {
		return s.clock.Now(), nil
	}
	text, _ := list[0].(string)
	now, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		err = fmt.Errorf("%w: its time is %q", ErrScript, text)
	}
	return traffik.Instant(now), err
}

// Write implements [store.Store].
func (s states) Write(ctx context.Context, e *store.Entry) error {
	return s.WriteAll(ctx, []*store.Entry{e})
}

// WriteAll implements [store.MultiWriter].
func (s states) WriteAll(ctx context.Context, entries []*store.Entry) error {
	args := make([]any, 0, 4*len(entries))
	refunds := false
	for _, e := range entries {
		action := [...]string{store.Keep: "", store.ExtendExpiry: "PEXPIRE", store.Replace: "SET", store.Delete: "UNLINK"}[e.Action]
		args = append(args, e.State, action, e.Next, s.keep(e.For))
		refunds = refunds || e.Refunds
	}
	swapped, err := s.run(ctx, swapScript, refunds, s.names(entries), args...)
	if err == nil && swapped != int64(1) {
		err = store.ErrConflict
	}
	return err
}

func (s states) names(entries []*store.Entry) []string {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = string(s.appendKey(nil, e.Key))
	}
	return names
}

// longest is for how long a key is kept that never resets; Redis refuses what overflows.
const longest = (1 << 53) / 1000 * time.Millisecond

// keep returns for how many milliseconds Redis is to keep a state.
func (s states) keep(reset time.Duration) int64 {
	spare := time.Millisecond
	if s.clock != nil { // keys expire by the clock of Redis all the same
		spare += time.Hour
	}
	return (max(0, min(reset, longest)) + time.Millisecond - 1 + spare).Milliseconds()
}

// readKeys bounds how many keys one script reads when nobody waits for them together.
const readKeys = 1000

// ReadStates implements [traffik.StateReader]. A thousand keys of one slot are read at
// once; further keys, and those of other slots of a Cluster, one read after the other. The
// instant is the earliest.
func (b *Backend) ReadStates(ctx context.Context, keys []traffik.Key, dst [][]byte) ([][]byte, traffik.Instant, error) {
	if err := b.enter(ctx); err != nil {
		return dst, 0, err
	}
	defer b.users.leave()
	entries := make([]*store.Entry, len(keys))
	slots := map[slot][]*store.Entry{}
	for i, key := range keys {
		entries[i] = &store.Entry{Key: key}
		where := b.slotOfKey(key)
		slots[where] = append(slots[where], entries[i])
	}
	var parts [][]*store.Entry
	for _, of := range slots {
		parts = slices.AppendSeq(parts, slices.Chunk(of, readKeys))
	}
	if len(parts) == 0 {
		parts = append(parts, nil) // for the instant
	}
	var now traffik.Instant
	for i := 0; i < len(parts); i++ {
		var at traffik.Instant
		err := b.engine.Do(ctx, func(ctx context.Context) (err error) {
			at, err = states{b.servers}.Read(ctx, parts[i])
			return err
		})
		if len(parts[i]) > 1 && moving(err) {
			parts = slices.AppendSeq(parts, slices.Chunk(parts[i], 1))
			continue
		}
		if err != nil {
			return dst, 0, ended(ctx, err)
		}
		if at = at.Add(0); now == 0 || at < now { // within what an Instant may be
			now = at
		}
	}
	for _, e := range entries {
		if len(e.State) == 0 {
			e.State = nil
		}
		dst = append(dst, e.State)
	}
	return dst, now, nil
}
