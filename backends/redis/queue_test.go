package traffikredis

import (
	"errors"
	"testing"
)

// The memory of a queue is bounded: callers beyond that fail, and those that
// have left make room.
func TestWaitingCallsAreBounded(t *testing.T) {
	t.Parallel()
	q := &queue{backend: &Backend{}} // no round trips at once: all wait
	all := make([]*call, maxWaiting)
	for i := range all {
		all[i] = &call{}
		if done, err := q.submit(t.Context(), all[i]); done || err != nil {
			t.Fatalf("call %d: %v, %v", i, done, err)
		}
	}
	if _, err := q.submit(t.Context(), &call{}); !errors.Is(err, ErrTimeout) {
		t.Errorf("one more: %v, want ErrTimeout", err)
	}
	q.leave(all[0])
	last := &call{}
	if _, err := q.submit(t.Context(), last); err != nil {
		t.Errorf("one more after one has left: %v", err)
	}
	for i, c := range all[1:] {
		q.leave(c)
		if stay := len(all) - 1 - i; len(q.waiting) > 2*stay+2 {
			t.Fatalf("%d are kept for %d that wait", len(q.waiting), stay)
		}
	}
	if next := q.next(nil); len(next) != 1 || next[0] != last {
		t.Errorf("%d go next, want the one that stayed", len(next))
	}
}

// What has waited too long for a round trip goes with none.
func TestLateCallsAreNotSent(t *testing.T) {
	t.Parallel()
	q := &queue{backend: &Backend{}}
	late, soon := &call{done: make(chan struct{}, 1)}, &call{}
	for _, c := range []*call{late, soon} {
		if _, err := q.submit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	late.beats.Store(maxBeats + 1)
	if next := q.next(nil); len(next) != 1 || next[0] != soon {
		t.Errorf("%d go next, want the one that came just now", len(next))
	}
	if err := late.wait(t.Context(), q); err != nil || !errors.Is(late.err, ErrTimeout) {
		t.Errorf("the other got %v and %v, want ErrTimeout", err, late.err)
	}
}
