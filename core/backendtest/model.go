package backendtest

import (
	"slices"

	traffik "github.com/traffik-go/traffik/core"
)

// model is the contract of Backend written down as plainly as possible: one
// map, no concurrency, no bound. Random traces compare a backend with it.
type model struct {
	now    traffik.Instant
	states map[traffik.Key][]byte
	resets map[traffik.Key]traffik.Instant // when each state expires
}

func newModel() *model {
	return &model{now: epoch, states: map[traffik.Key][]byte{}, resets: map[traffik.Key]traffik.Instant{}}
}

func (m *model) forget(key traffik.Key) {
	delete(m.states, key)
	delete(m.resets, key)
}

func (m *model) run(ops []traffik.Op, commit bool) []traffik.Decision {
	out := make([]traffik.Decision, len(ops))
	next := make([][]byte, len(ops))
	draws := make([]traffik.Draw, len(ops))
	decide := func(i int) {
		state := slices.Clone(m.states[ops[i].Key])
		draws[i].Now = m.now
		next[i], out[i] = ops[i].Strategy.Decide(nil, state, &draws[i])
	}
	stopped := false
	for i := range ops {
		draws[i] = ops[i].Draw
		decide(i)
		stopped = stopped || !out[i].Allowed && !ops[i].Advisory
	}
	for i := range ops {
		if stopped && out[i].Allowed {
			draws[i].Cost = 0
			decide(i)
		}
	}
	for i := range ops {
		switch {
		case !commit:
		case len(next[i]) > 0:
			m.states[ops[i].Key] = next[i]
			m.resets[ops[i].Key] = m.now.Add(out[i].ResetAfter)
		case draws[i].Cost < 0:
			m.forget(ops[i].Key)
		}
	}
	return out
}
