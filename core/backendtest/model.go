package backendtest

import (
	"slices"

	traffik "github.com/traffik-go/traffik/core"
)

// model is the contract of Backend written down as plainly as possible: one
// map, no concurrency, no bound. Random traces compare a backend with it.
type model struct {
	features Features
	now      traffik.Instant
	states   map[traffik.Key][]byte
	resets   map[traffik.Key]traffik.Instant // when each state expires
	latest   map[traffik.Key]traffik.Instant // the time of each key, see Features.LatestTime
}

func newModel(features Features) *model {
	return &model{
		features: features, now: epoch,
		states: map[traffik.Key][]byte{}, resets: map[traffik.Key]traffik.Instant{}, latest: map[traffik.Key]traffik.Instant{},
	}
}

// forget makes key untouched, and its time unknown.
func (m *model) forget(key traffik.Key) {
	m.empty(key)
	delete(m.latest, key)
}

// empty makes key untouched.
func (m *model) empty(key traffik.Key) {
	delete(m.states, key)
	delete(m.resets, key)
}

// run decides all ops, decides again as looks those that fit beside a denial, and only then
// stores. It is the reference for the order that every backend must keep.
func (m *model) run(ops []traffik.Op, commit bool) []traffik.Decision {
	out := make([]traffik.Decision, len(ops))
	next := make([][]byte, len(ops))
	draws := make([]traffik.Draw, len(ops))
	decide := func(i int) {
		state := slices.Clone(m.states[ops[i].Key])
		draws[i].Now = max(m.now, m.latest[ops[i].Key])
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
		if commit {
			m.commit(ops[i].Key, &draws[i], next[i], out[i])
		}
	}
	if m.features.LatestTime {
		for i := range out {
			m.tell(draws[i].Now, &out[i])
		}
	}
	return out
}

// commit stores the outcome of one op. Under LatestTime nothing needs repair, so looks and
// denials store nothing. A key that had no state and gets none keeps no time either.
func (m *model) commit(key traffik.Key, draw *traffik.Draw, next []byte, dec traffik.Decision) {
	stored := len(m.states[key]) > 0
	switch {
	case m.features.LatestTime && (draw.Cost == 0 || !dec.Allowed):
		return
	case len(next) > 0:
		m.states[key] = next
		m.resets[key] = draw.Now.Add(dec.ResetAfter)
	case draw.Cost < 0:
		m.empty(key)
	}
	if m.features.LatestTime && (len(next) > 0 || stored) {
		m.latest[key] = draw.Now
	}
}

// tell turns dec, decided at the latest time, into an answer at the clock's time.
func (m *model) tell(at traffik.Instant, dec *traffik.Decision) {
	dec.Ahead = at.Sub(m.now)
	dec.ResetAfter += dec.Ahead
	if dec.RetryAfter > 0 && dec.RetryAfter != traffik.Never {
		dec.RetryAfter += dec.Ahead
	}
}
