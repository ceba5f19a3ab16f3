package traffikredis

import (
	"context"
	"errors"
	"testing"
	"time"
)

// idle returns a Backend that makes no round trips: all calls wait.
func idle(t *testing.T) *Backend {
	t.Helper()
	b := new(Backend)
	b.life, b.end = context.WithCancel(t.Context())
	t.Cleanup(b.end)
	return b
}

// leave has the caller of c leave.
func leave(t *testing.T, c *call) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.wait(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("a caller that left got %v", err)
	}
}

// The memory of a queue is bounded: callers beyond that fail, and those that have left
// make room.
func TestWaitingCallsAreBounded(t *testing.T) {
	t.Parallel()
	b, q := idle(t), new(queue)
	all := make([]*call, maxWaiting)
	for i := range all {
		all[i] = new(call)
		if err := q.submit(t.Context(), b, all[i]); err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if err := q.submit(t.Context(), b, new(call)); !errors.Is(err, ErrTimeout) {
		t.Errorf("one more: %v, want ErrTimeout", err)
	}
	leave(t, all[0])
	last := new(call)
	if err := q.submit(t.Context(), b, last); err != nil {
		t.Errorf("one more after one has left: %v", err)
	}
	for i := range all[1:] {
		leave(t, all[1+(i*7919)%(len(all)-1)]) // in any order; 7919 is a prime
		if q.waiting > len(all)-1-i {
			t.Fatalf("%d wait after %d have left", q.waiting, 1+i)
		}
	}
	if next := q.next(nil, false); len(next) != 1 || next[0] != last || q.first != nil || q.last != nil || q.waiting != 0 {
		t.Errorf("%d go next, want the one that stayed", len(next))
	}
}

// A call that has waited too long for a round trip is not sent.
func TestLateCallsAreNotSent(t *testing.T) {
	t.Parallel()
	b, q := idle(t), new(queue)
	late, soon := &call{done: make(chan struct{}, 1)}, new(call)
	for _, c := range []*call{late, soon} {
		if err := q.submit(t.Context(), b, c); err != nil {
			t.Fatal(err)
		}
	}
	late.since = late.since.Add(-maxWait - time.Second)
	if next := q.next(nil, false); len(next) != 1 || next[0] != soon {
		t.Errorf("%d go next, want the one that came just now", len(next))
	}
	if err := late.wait(t.Context()); err != nil || !errors.Is(late.err, ErrTimeout) {
		t.Errorf("the other got %v and %v, want ErrTimeout", err, late.err)
	}
}
