package main

import (
	"fmt"

	traffik "github.com/traffik-go/traffik/core"
)

// frameworks serve the same API, each with separate counters.
var frameworks = []string{"gin", "echo", "chi"}

// limits holds all limits of the demo, by framework or by WebSocket mode.
type limits struct {
	items    map[string]traffik.Limiter // 5 per 10 s
	search   map[string]traffik.Limiter // 3 per second and 20 per minute, both or neither
	messages map[string]traffik.Limiter // 5 per 10 s
}

func newLimits(backend traffik.Backend) (*limits, error) {
	l := &limits{items: map[string]traffik.Limiter{}, search: map[string]traffik.Limiter{}, messages: map[string]traffik.Limiter{}}
	throttle := func(uid, rate string) (*traffik.Throttle, error) {
		t, err := traffik.New(uid, rate, traffik.WithBackend(backend))
		if err != nil {
			return nil, fmt.Errorf("the demo's limits: %w", err)
		}
		return t, nil
	}
	for _, framework := range frameworks {
		items, err := throttle(framework+":items", "5/10s")
		if err != nil {
			return nil, err
		}
		second, err := throttle(framework+":search:second", "3/s")
		if err != nil {
			return nil, err
		}
		minute, err := throttle(framework+":search:minute", "20/min")
		if err != nil {
			return nil, err
		}
		l.items[framework] = items
		l.search[framework] = traffik.All(second, minute)
	}
	for mode := range modes {
		messages, err := throttle("ws:messages:"+mode, "5/10s")
		if err != nil {
			return nil, err
		}
		l.messages[mode] = messages
	}
	return l, nil
}
