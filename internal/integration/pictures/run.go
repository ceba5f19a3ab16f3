package main

import (
	"context"
	"fmt"
	"time"

	traffik "github.com/traffik-go/traffik/core"
	"github.com/traffik-go/traffik/core/traffiktest"
)

const (
	// limit and period are what every picture shows: ten in ten seconds.
	limit  = 10
	period = 10 * time.Second
	// length of a run, unless a subject has its own.
	length = 40 * time.Second
)

// start is a multiple of the period, so that windows begin at the left edge.
var start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// arrival is one request of a run.
type arrival struct {
	at     time.Duration
	row    string // where it is drawn: its class, if there are several
	caller string
	cost   int64
}

// mark is a request with its answer.
type mark struct {
	arrival
	admitted bool
	delay    time.Duration
}

// run collects arrivals.
type run []arrival

// every adds an arrival each step from one instant until another.
func (r run) every(step, from, to time.Duration, a arrival) run {
	for at := from; at < to; at += step {
		a.at = at
		r = append(r, a)
	}
	return r
}

// common is the run of most pictures: a trickle of one each second, a burst just
// before the first boundary and another just after it, silence, and then three
// each second, more than the limit.
func common(a arrival) run {
	a.cost = 1
	return run{}.
		every(time.Second, 500*time.Millisecond, 4500*time.Millisecond, a).
		every(90*time.Millisecond, 9*time.Second, 9900*time.Millisecond, a).
		every(90*time.Millisecond, 10100*time.Millisecond, 11*time.Second, a).
		every(333*time.Millisecond, 22*time.Second, length, a)
}

// play lets the strategy decide each arrival of the run.
func (s subject) play() ([]mark, error) {
	begin := s.start
	if begin.IsZero() {
		begin = start
	}
	clock := traffiktest.NewClock(begin)
	backend, err := traffik.NewMemory(traffik.WithClock(clock))
	if err != nil {
		return nil, err
	}
	throttle, err := traffik.New(s.name, traffik.Per(limit, period), traffik.WithBackend(backend), traffik.WithStrategy(s.strategy),
		traffik.WithIdentifier(traffik.ByHeader("Caller")),
		traffik.WithClass(func(r *traffik.Request) string { return r.Header.Get("Class") }))
	if err != nil {
		return nil, err
	}
	var marks []mark
	for _, a := range s.arrivals() {
		clock.Set(traffik.InstantOf(begin).Add(a.at))
		request := traffik.Request{Header: map[string][]string{"Caller": {"caller " + a.caller}, "Class": {a.row}}}
		res, err := throttle.For(&request).HitN(context.Background(), a.cost)
		if err != nil {
			return nil, fmt.Errorf("at %v: %w", a.at, err)
		}
		marks = append(marks, mark{arrival: a, admitted: res.Allowed, delay: res.Delay})
	}
	return marks, nil
}
